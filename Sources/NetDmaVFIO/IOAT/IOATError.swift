// SPDX-License-Identifier: Apache-2.0

/// What a channel's registers said when something went wrong.
public struct ChannelSnapshot: Hashable, Sendable, CustomStringConvertible {
  /// CHANSTS.
  public var status: CompletionWord
  /// CHANERR.
  public var error: ChannelError
  /// CHANCTRL.
  public var control: UInt16
  /// DMACOUNT.
  public var count: UInt16
  /// CHAINADDR.
  public var chainAddress: UInt64

  /// Register values on one line, each under its name.
  public var description: String {
    "CHANSTS \(hex(status.rawValue)) (\(status.state)), CHANERR \(error), "
      + "CHANCTRL \(hex(control)), DMACOUNT \(count), CHAINADDR \(hex(chainAddress))"
  }
}

/// What can go wrong between the IOAT provider and its engine.
public enum IOATError: DiagnosticError, Equatable {
  /// The transport failed.
  case transport(VFIOError)
  /// The device is not an IOAT engine that this driver knows.
  case notIOAT(device: String, vendor: UInt16, deviceID: UInt16)
  /// The engine's version is older than 3.0, which has no DMACOUNT ring.
  case unsupportedVersion(device: String, version: CBVersion, platform: String)
  /// CHANCNT reads 0: firmware disabled or locked the function.
  case disabledByFirmware(device: String)
  /// A register holds a value that no engine of this class has.
  case implausibleRegister(device: String, register: String, value: UInt64)
  /// CHANCTRL does not keep what is written: firmware locked the channel.
  case channelLocked(device: String, channel: Int, snapshot: ChannelSnapshot)
  /// The channel did not reach a state in time.
  case timedOut(
    device: String, channel: Int, waitingFor: String, milliseconds: Int, snapshot: ChannelSnapshot)
  /// The channel did not come out of a reset in HALTED without errors.
  case resetFailed(device: String, channel: Int, snapshot: ChannelSnapshot)
  /// Neither a reset of the channel nor one of the device brought the engine back.
  case deviceDead(device: String, state: String)
  /// The kernel reported an uncorrectable error of the device.
  case errorReported(device: String)
  /// There is no such channel, or somebody has it.
  case channelUnavailable(device: String, channel: Int)

  private var parts: (what: String, why: String, remedy: String) {
    switch self {
    case .transport(let error): (error.what, error.why, error.remedy)
    case .notIOAT(let device, let vendor, let id):
      (
        "\(device) is not an IOAT engine that this driver knows.",
        "Its vendor and device id are \(hex(vendor)):\(hex(id)).",
        "List the engines of this machine with: netdma-probe list"
      )
    case .unsupportedVersion(let device, let version, let platform):
      (
        "\(device) (\(platform)) is a CB \(version) engine, which this driver refuses.",
        "Versions below 3.0 have no descriptor count register and work by another protocol.",
        "Use an engine of CB 3.0 to 3.4 (Nehalem to Ice Lake)."
      )
    case .disabledByFirmware(let device):
      (
        "\(device) has no channel.",
        "CHANCNT reads 0: the firmware disabled or locked the function.",
        "Enable I/OAT (CBDMA) in the firmware setup."
      )
    case .implausibleRegister(let device, let register, let value):
      (
        "\(device) reads \(hex(value)) in \(register).",
        "No engine of this class has that value; all-ones means that the device is gone or asleep.",
        "Look at lspci -vv for the device, reset or rescan it, and look at dmesg."
      )
    case .channelLocked(let device, let channel, let snapshot):
      (
        "Channel \(channel) of \(device) does not keep what is written to CHANCTRL.",
        "The firmware locked it, or another owner has it (\(snapshot)).",
        "Enable I/OAT in the firmware setup and make sure nobody else uses the function."
      )
    case .timedOut(let device, let channel, let waitingFor, let milliseconds, let snapshot):
      (
        "Channel \(channel) of \(device) did not reach \(waitingFor) within \(milliseconds) ms.",
        "Its registers read: \(snapshot).",
        "Reset the device, and look at dmesg for IOMMU faults (DMAR)."
      )
    case .resetFailed(let device, let channel, let snapshot):
      (
        "Channel \(channel) of \(device) did not come out of its reset.",
        "Its registers read: \(snapshot).",
        "Reset the function, or power-cycle the machine if that does not help."
      )
    case .deviceDead(let device, let state):
      (
        "\(device) does not work any more.",
        "It made no progress after its channel and then the device was reset (\(state)).",
        "Look at dmesg for PCIe and IOMMU errors; power-cycle the machine if it stays so."
      )
    case .errorReported(let device):
      (
        "\(device) had an uncorrectable error.",
        "The PCIe error handling of the kernel reported it.",
        "Look at dmesg for AER messages, close the device and open it again."
      )
    case .channelUnavailable(let device, let channel):
      (
        "Channel \(channel) of \(device) cannot be had.",
        "It does not exist or is allocated already.", "Free it first, or use another channel."
      )
    }
  }

  /// What failed, and on which device.
  public var what: String { parts.what }
  /// The cause, as far as it is known.
  public var why: String { parts.why }
  /// The command or change that helps.
  public var remedy: String { parts.remedy }
}

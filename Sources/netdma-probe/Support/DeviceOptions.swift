// SPDX-License-Identifier: Apache-2.0

import ArgumentParser
import Logging
import NetDmaMock
import NetDmaVFIO

/// Which device a command works on: exactly one of the three.
struct DeviceOptions: ParsableArguments {
  @OptionGroup var choice: DeviceChoice

  func validate() throws {
    guard choice.isMade else {
      throw ValidationError("Name one device: --device ADDRESS, --vfio-user PATH or --mock.")
    }
  }

  /// Opens it; a mock is made with `channels` channels.
  func open(logger: Logger, channels: Int? = nil) throws -> any DeviceTransport {
    try choice.open(logger: logger, channels: channels)
  }
}

/// At most one of three kinds of device, for commands that can do something without.
struct DeviceChoice: ParsableArguments {
  @Option(
    name: .customLong("device"),
    help: ArgumentHelp(
      "A PCI function like 0000:00:04.0, see list and bind.", valueName: "address"))
  var address: String?

  @Option(
    name: .customLong("vfio-user"),
    help: ArgumentHelp("The socket of a vfio-user server, see emulate.", valueName: "path"),
    completion: .file())
  var socket: String?

  @Flag(name: .customLong("mock"), help: "The device model in this process.")
  var usesMock = false

  @Option(
    name: .customLong("model"),
    help: ArgumentHelp(
      "With --mock: \(DeviceProfile.names.joined(separator: ", ")).", valueName: "name"),
    completion: .list(DeviceProfile.names))
  var model: String?

  @Flag(name: .customLong("raid"), help: "With --mock: as when firmware enabled RAID.")
  var hasRAID = false

  private var count: Int { [address != nil, socket != nil, usesMock].count { $0 } }

  /// Whether a device was named.
  var isMade: Bool { count == 1 }

  func validate() throws {
    guard count <= 1 else {
      throw ValidationError("Name one device: --device ADDRESS, --vfio-user PATH or --mock.")
    }
    guard usesMock || model == nil && !hasRAID else {
      throw ValidationError("--model and --raid describe the device of --mock.")
    }
    _ = try profile()
    try ArgumentValue.requirePath(socket, of: "--vfio-user")
    try address.map { _ = try pciAddress($0) }
  }

  /// What the device model is, as fast as this machine can.
  private func profile(channels: Int? = nil) throws -> DeviceProfile {
    try ModelChoice(name: model, hasRAID: hasRAID, channels: channels, timing: .fast)
      .profile(function: 0)
  }

  /// Opens it; without a choice the mock, which is made with `channels` channels.
  func open(logger: Logger, channels: Int? = nil) throws -> any DeviceTransport {
    if let address = address.flatMap({ PCIAddress($0) }) {
      return try openKernelDevice(address: address, logger: logger)
    }
    if let socket {
      return try VFIOUserClient.connect(path: socket, timeout: .seconds(5), logger: logger)
    }
    return try MockTransport(profile: try profile(channels: channels))
  }
}

/// The address that an argument names.
func pciAddress(_ text: String) throws -> PCIAddress {
  guard let address = PCIAddress(text) else {
    throw ValidationError(
      "'\(text)' is not a PCI address; write it like 0000:00:04.0 (see netdma-probe list).")
  }
  return address
}

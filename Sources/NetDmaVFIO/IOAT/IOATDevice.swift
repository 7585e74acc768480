// SPDX-License-Identifier: Apache-2.0

public import Logging
import Synchronization

/// One IOAT function: its identity, its limits and its channels' registers.
///
/// Opening it enables memory decoding and bus mastering; `close()`, or the last reference, turns
/// bus mastering off again, after which the engine can touch no memory. Thread-safe.
public final class IOATDevice: Sendable {
  /// How the device is reached.
  public let transport: any DeviceTransport
  let registers: RegisterWindow
  let logger: Logger
  /// What messages call the device.
  public let name: String
  /// PCI vendor id.
  public let vendorID: UInt16
  /// PCI device id.
  public let deviceID: UInt16
  /// CBVER as the register reads.
  public let version: CBVersion
  /// DMACAPABILITY as the register reads.
  public let capabilities: DMACapability
  /// CHANCNT: channels of this function, at least 1.
  public let channelCount: Int
  /// 2^XFERCAP: bytes that one descriptor may transfer, 4096 to 2^31.
  public let maximumTransferSize: Int
  /// Bits of an address that the engine can use (40, 46 or 48 by version).
  public let addressWidth: Int
  /// MSI-X vectors, 0 when the function has none.
  public let vectorCount: Int
  /// How the channels can interrupt, best first; empty when they can only be polled.
  public let interruptStyles: [IOATInterruptStyle]
  /// Bit 15 of INTRDELAY: interrupts can be delayed and merged.
  public let canCoalesceInterrupts: Bool
  private let connected = Mutex<(style: IOATInterruptStyle, eventFDs: [CInt])?>(nil)

  /// Identifies the function behind `transport` and makes it ready for DMA.
  ///
  /// - Throws: `IOATError.notIOAT`, `.unsupportedVersion`, `.disabledByFirmware`,
  ///   `.implausibleRegister`, `.transport`.
  public init(_ transport: any DeviceTransport, logger: Logger) throws(IOATError) {
    self.transport = transport
    self.logger = logger
    name = transport.name
    let configuration = PCIConfiguration(transport)
    let classCode: UInt16
    do throws(VFIOError) {
      vendorID = try configuration.read16(at: 0x00)
      deviceID = try configuration.read16(at: 0x02)
      classCode = try configuration.read16(at: 0x0a)
    } catch { throw .transport(error) }
    if vendorID == .max { throw .transport(.deviceGone(device: name)) }
    // Before anything of it is touched. An id that the table lacks may still be an engine of this
    // class: its registers decide.
    guard vendorID == IOATDeviceID.vendor, classCode >> 8 == 0x08 else {
      throw .notIOAT(device: name, vendor: vendorID, deviceID: deviceID)
    }
    let facts: Facts
    do throws(VFIOError) { facts = try Facts(transport) } catch { throw .transport(error) }
    guard facts.version != .max else {
      throw .implausibleRegister(device: name, register: "CBVER", value: UInt64(facts.version))
    }
    version = CBVersion(rawValue: facts.version)
    guard version >= .v3_0 else {
      throw .unsupportedVersion(
        device: name, version: version, platform: IOATDeviceID.platformName(deviceID))
    }
    guard version.rawValue < 0x40 else {
      throw .implausibleRegister(device: name, register: "CBVER", value: UInt64(facts.version))
    }
    channelCount = Int(facts.channels & 0x1f)
    guard channelCount > 0 else { throw .disabledByFirmware(device: name) }
    let exponent = Int(facts.transferCap & 0x1f)
    guard exponent >= 12 else {
      throw .implausibleRegister(
        device: name, register: "XFERCAP", value: UInt64(facts.transferCap))
    }
    maximumTransferSize = 1 << exponent
    capabilities = DMACapability(rawValue: facts.capabilities)
    // Jasper Forest reports 3.2 but addresses 40 bits.
    let isJasperForest = (0x3710...0x3719).contains(deviceID)
    addressWidth = version < .v3_2 || isJasperForest ? 40 : version == .v3_2 ? 46 : 48
    canCoalesceInterrupts = facts.interruptDelay & 0x8000 != 0
    registers = facts.registers
    vectorCount = facts.vectors
    interruptStyles = IOATInterruptStyle.offered(
      channels: channelCount, vectors: facts.vectors, others: facts.otherInterrupts)
  }

  /// What an engine's registers say.
  private struct Facts {
    let registers: RegisterWindow
    let channels: UInt8
    let transferCap: UInt8
    let version: UInt8
    let interruptDelay: UInt16
    let capabilities: UInt32
    let vectors: Int
    /// MSI and the pin, as far as the function has them.
    let otherInterrupts: [IRQIndex]

    init(_ transport: any DeviceTransport) throws(VFIOError) {
      try PCIConfiguration(transport).enableMemory()
      registers = try RegisterWindow(transport)
      version = try registers.read8(IOATRegister.cbver)
      channels = try registers.read8(IOATRegister.chancnt)
      transferCap = try registers.read8(IOATRegister.xfercap)
      interruptDelay = try registers.read16(IOATRegister.intrdelay)
      capabilities = try registers.read32(IOATRegister.dmacapability)
      vectors = try transport.interruptCount(.msix)
      var others: [IRQIndex] = []
      for index in [IRQIndex.msi, .intx] where try transport.interruptCount(index) > 0 {
        others.append(index)
      }
      otherInterrupts = others
    }
  }

  deinit {
    stopMastering()
  }

  /// Channel `index` of this function (0 ..< channelCount).
  public func channel(_ index: Int) throws(IOATError) -> IOATChannel {
    guard (0..<channelCount).contains(index) else {
      throw .channelUnavailable(device: name, channel: index)
    }
    return IOATChannel(device: self, index: index)
  }

  // MARK: - The function as a whole

  /// Lets the engine reach memory and send messages; relaxed ordering is turned off, so that a
  /// completion word cannot overtake its data.
  public func startMastering() throws(IOATError) {
    do throws(VFIOError) {
      let configuration = PCIConfiguration(transport)
      try configuration.clearRelaxedOrdering()
      try configuration.setBusMaster(true)
    } catch { throw .transport(error) }
  }

  /// Takes the engine off the bus; errors are logged, because there is nothing left to try.
  public func stopMastering() {
    do throws(VFIOError) {
      try PCIConfiguration(transport).setBusMaster(false)
    } catch .disconnected, .deviceGone {
      // A device that is gone masters nothing.
    } catch {
      logger.warning(
        "bus mastering stays on", metadata: ["device": "\(name)", "reason": "\(error)"])
    }
  }

  /// Connects the interrupts of `style`: vector n to eventFDs[n], or the one that is shared to the
  /// first, and lets the function raise them.
  ///
  /// The caller keeps the eventfds open until `disableInterrupts()`.
  public func enableInterrupts(
    _ style: IOATInterruptStyle, eventFDs: [CInt]
  ) throws(IOATError) {
    var control: InterruptControl = .masterInterruptEnable
    if style == .vectorForEachChannel { control.insert(.msixVectorControl) }
    do throws(VFIOError) {
      try transport.enableInterrupts(style.index, eventFDs: eventFDs)
      if style == .shared(.intx) { try PCIConfiguration(transport).setPin(true) }
      try registers.write8(IOATRegister.intrctrl, control.rawValue)
    } catch { throw .transport(error) }
    connected.withLock { $0 = (style, eventFDs) }
  }

  /// How interrupts come now, nil while none are connected.
  public var interruptStyle: IOATInterruptStyle? { connected.withLock { $0?.style } }

  /// Disconnects what was connected; nothing when nothing was.
  public func disableInterrupts() throws(IOATError) { try disableInterrupts(inRegisters: true) }

  /// As `disableInterrupts()`; a function without power has no registers to do it in.
  func disableInterrupts(inRegisters hasRegisters: Bool) throws(IOATError) {
    let before = connected.withLock { connected in
      defer { connected = nil }
      return connected
    }
    guard let before else { return }
    do throws(VFIOError) {
      if hasRegisters { try registers.write8(IOATRegister.intrctrl, 0) }
      if before.style == .shared(.intx) { try PCIConfiguration(transport).setPin(false) }
      try transport.disableInterrupts(before.style.index)
    } catch { throw .transport(error) }
  }

  /// Takes a shared interrupt: bit n is set when channel n raised one since the last call.
  ///
  /// Reading INTRCTRL disables further interrupts until `releaseSharedInterrupt`; reading ATTNSTATUS
  /// clears it. What INTRCTRL says does not matter: who else read it took the enable along, and it
  /// has to come back.
  func takeSharedInterrupt() throws(IOATError) -> UInt32 {
    do throws(VFIOError) {
      _ = try registers.read8(IOATRegister.intrctrl)
      return try registers.read32(IOATRegister.attnstatus)
    } catch { throw .transport(error) }
  }

  /// Lets the next shared interrupt come; what was raised meanwhile comes at once.
  func releaseSharedInterrupt(_ index: IRQIndex) throws(IOATError) {
    do throws(VFIOError) {
      try registers.write8(
        IOATRegister.intrctrl, InterruptControl.masterInterruptEnable.rawValue)
      if index == .intx { try transport.unmaskPin() }
    } catch { throw .transport(error) }
  }

  /// Resets the function and brings it back to the state after opening: memory decoding and bus
  /// mastering on, interrupts connected.
  ///
  /// Every channel is HALTED afterwards.
  public func reset() throws(IOATError) {
    guard transport.supportsReset else {
      throw .transport(.missingFeature(device: name, feature: "function reset"))
    }
    do throws(VFIOError) {
      try transport.reset()
      try PCIConfiguration(transport).enableMemory()
    } catch { throw .transport(error) }
    try startMastering()
    try reconnectInterrupts()
  }

  /// Connects the vectors again after the function forgot them.
  func reconnectInterrupts() throws(IOATError) {
    guard let before = connected.withLock({ $0 }) else { return }
    try enableInterrupts(before.style, eventFDs: before.eventFDs)
  }

  // MARK: - Quirks

  /// What the engine can do: DMACAPABILITY, without RAID on ids whose silicon lacks it.
  public var usableCapabilities: DMACapability {
    IOATDeviceID(vendor: vendorID, device: deviceID)?.hasRAID == false
      ? capabilities.subtracting([.xor, .pq, .raid16SS]) : capabilities
  }

  /// CHANERR_INT mirrors channel errors in configuration space and, below 3.3, keeps a HALTED
  /// channel from starting; the newer engines have it too or read zero.
  ///
  /// Where it cannot be reached (256-byte configuration space) CHANERR and CHANSTS alone decide.
  func acknowledgeConfigurationErrors() {
    let configuration = PCIConfiguration(transport)
    for register in [IOATConfigRegister.chanerrInt]
      + (deviceID == 0x3430
        ? [IOATConfigRegister.dmauncerrsts] : [])
    {
      guard let value = try? configuration.read32(at: register), value != 0, value != .max else {
        continue
      }
      try? configuration.write32(value, at: register)
    }
  }

  /// Briarwood and Broadwell-DE clear their MSI-X table with a channel reset; connecting the
  /// vectors again writes it anew.
  func restoreInterruptsAfterChannelReset() throws(IOATError) {
    guard (0x0c50...0x0c53).contains(deviceID) || (0x6f50...0x6f53).contains(deviceID) else {
      return
    }
    try reconnectInterrupts()
  }
}

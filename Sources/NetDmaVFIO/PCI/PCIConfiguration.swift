// SPDX-License-Identifier: Apache-2.0

/// Numbers of capabilities in the standard list (PCI Local Bus Specification, appendix H).
public enum PCICapabilityID {
  /// Power management.
  public static let powerManagement: UInt16 = 0x01
  /// Message signalled interrupts.
  public static let msi: UInt16 = 0x05
  /// PCI Express.
  public static let express: UInt16 = 0x10
  /// Message signalled interrupts from a table.
  public static let msix: UInt16 = 0x11
}

/// Numbers of capabilities in extended configuration space (PCI Express Base Specification).
public enum PCIExtendedCapabilityID {
  /// Advanced error reporting.
  public static let advancedErrorReporting: UInt16 = 0x0001
}

/// COMMAND, 16 bit at 0x04.
public struct PCICommand: OptionSet, Hashable, Sendable {
  /// The register's value.
  public let rawValue: UInt16
  /// A set from the register's value.
  public init(rawValue: UInt16) { self.rawValue = rawValue }
  /// Bit 0: I/O ports are decoded.
  public static let ioSpace = Self(rawValue: 1 << 0)
  /// Bit 1: memory BARs are decoded; without it an access to a mapped BAR raises SIGBUS.
  public static let memorySpace = Self(rawValue: 1 << 1)
  /// Bit 2: the function may start transfers; without it there is no DMA and no MSI-X.
  public static let busMaster = Self(rawValue: 1 << 2)
  /// Bit 10: the interrupt pin stays silent.
  public static let interruptDisable = Self(rawValue: 1 << 10)
}

/// Offsets in the header that every function has.
public enum PCIConfigRegister {
  /// VENDOR, 16 bit, RO; 0xffff when no function answers.
  public static let vendor: UInt64 = 0x00
  /// COMMAND, 16 bit, RW; see `PCICommand`.
  public static let command: UInt64 = 0x04
  /// STATUS, 16 bit; bit 4, there is a capability list.
  public static let status: UInt64 = 0x06
  /// CAPABILITIES, 8 bit, RO: offset of the first capability.
  public static let capabilities: UInt64 = 0x34
  /// The first extended capability.
  public static let extendedCapabilities: UInt64 = 0x100
  /// DEVCTL, 16 bit, RW, relative to the PCI Express capability.
  public static let deviceControl: UInt64 = 0x08
  /// DEVCTL bit 4: the function may let writes overtake one another.
  public static let relaxedOrdering: UInt16 = 1 << 4
}

/// A function's configuration space, through whatever transport reaches it.
///
/// Accesses are 1, 2 or 4 bytes wide and naturally aligned; IOAT functions misbehave on wider ones.
/// No locking: one thread at a time changes a register.
public struct PCIConfiguration: Sendable {
  private let transport: any DeviceTransport

  /// The configuration space of the transport's device.
  public init(_ transport: any DeviceTransport) { self.transport = transport }

  /// Bytes that can be reached: 256, or 4096 with extended configuration space.
  public var size: UInt64 {
    get throws(VFIOError) { min(try transport.regionInfo(.configuration).size, 4096) }
  }

  // MARK: - Registers

  /// Reads 8 bits.
  public func read8(at offset: UInt64) throws(VFIOError) -> UInt8 {
    UInt8(truncatingIfNeeded: try transport.read(.configuration, at: offset, width: .byte))
  }

  /// Reads 16 bits.
  public func read16(at offset: UInt64) throws(VFIOError) -> UInt16 {
    UInt16(truncatingIfNeeded: try transport.read(.configuration, at: offset, width: .word))
  }

  /// Reads 32 bits.
  public func read32(at offset: UInt64) throws(VFIOError) -> UInt32 {
    UInt32(truncatingIfNeeded: try transport.read(.configuration, at: offset, width: .dword))
  }

  /// Writes 8 bits.
  public func write8(_ value: UInt8, at offset: UInt64) throws(VFIOError) {
    try transport.write(.configuration, at: offset, width: .byte, value: UInt64(value))
  }

  /// Writes 16 bits.
  public func write16(_ value: UInt16, at offset: UInt64) throws(VFIOError) {
    try transport.write(.configuration, at: offset, width: .word, value: UInt64(value))
  }

  /// Writes 32 bits.
  public func write32(_ value: UInt32, at offset: UInt64) throws(VFIOError) {
    try transport.write(.configuration, at: offset, width: .dword, value: UInt64(value))
  }

  // MARK: - Registers that may be absent

  /// Reads 32 bits, nil where the register cannot be reached: beyond `size`, refused by the
  /// transport, or all-ones, which no register in use here can be.
  ///
  /// Extended configuration space is often out of reach, for example of a function in a guest
  /// without PCI Express.
  public func readIfPresent(at offset: UInt64) throws(VFIOError) -> UInt32? {
    guard offset % 4 == 0, try size >= 4, try offset <= size - 4 else { return nil }
    do throws(VFIOError) {
      let value = try read32(at: offset)
      return value == .max ? nil : value
    } catch .invalidAccess, .refused {
      return nil
    }
  }

  /// Clears every bit that is set in a 32-bit W1C register and returns what was set, nil where the
  /// register cannot be reached.
  ///
  /// Writing back what was read clears exactly that, so an error that comes in between is kept.
  @discardableResult
  public func acknowledge(at offset: UInt64) throws(VFIOError) -> UInt32? {
    guard let value = try readIfPresent(at: offset) else { return nil }
    if value != 0 { try write32(value, at: offset) }
    return value
  }

  // MARK: - COMMAND

  /// The COMMAND register.
  ///
  /// - Throws: `VFIOError.deviceGone` when it reads all-ones.
  public func command() throws(VFIOError) -> PCICommand {
    let value = try read16(at: PCIConfigRegister.command)
    guard value != 0xffff else { throw .deviceGone(device: transport.name) }
    return PCICommand(rawValue: value)
  }

  /// Sets and clears bits of COMMAND and reads back that they are so.
  ///
  /// - Throws: `VFIOError.configurationRefused` when a bit did not take, `.deviceGone`.
  public func updateCommand(
    setting set: PCICommand = [], clearing clear: PCICommand = []
  ) throws(VFIOError) {
    let old = try command()
    let wanted = old.union(set).subtracting(clear)
    if wanted != old { try write16(wanted.rawValue, at: PCIConfigRegister.command) }
    let found = try command()
    guard found.isSuperset(of: set), found.isDisjoint(with: clear) else {
      throw .configurationRefused(
        device: transport.name, register: PCIConfigRegister.command,
        wanted: UInt32(wanted.rawValue), found: UInt32(found.rawValue))
    }
  }

  /// Lets the memory BARs be decoded, and silences the interrupt pin.
  public func enableMemory() throws(VFIOError) {
    try updateCommand(setting: .memorySpace)
    try setPin(false)
  }

  /// Lets the function use its interrupt pin, or silences it.
  ///
  /// A wish: a function without a pin may keep INTERRUPT_DISABLE as it is.
  public func setPin(_ isOn: Bool) throws(VFIOError) {
    let old = try command()
    let new = isOn ? old.subtracting(.interruptDisable) : old.union(.interruptDisable)
    if new != old { try write16(new.rawValue, at: PCIConfigRegister.command) }
  }

  /// Lets the function start transfers, or forbids it.
  public func setBusMaster(_ isOn: Bool) throws(VFIOError) {
    if isOn {
      try updateCommand(setting: .busMaster)
    } else {
      try updateCommand(clearing: .busMaster)
    }
  }

  // MARK: - Capabilities

  /// The standard capabilities, in the order of the list.
  ///
  /// Bounded: each offset is visited once, and a list that leaves its 256 bytes ends there.
  public func capabilities() throws(VFIOError) -> [PCICapability] {
    try PCICapabilityList.standard { (offset) throws(VFIOError) in
      try transport.read(.configuration, at: offset, width: .word)
    }
  }

  /// The extended capabilities, empty where extended configuration space is out of reach.
  public func extendedCapabilities() throws(VFIOError) -> [PCICapability] {
    let end = try size
    guard end > PCIConfigRegister.extendedCapabilities else { return [] }
    return try PCICapabilityList.extended(end: end) { (offset) throws(VFIOError) in
      try readIfPresent(at: offset)
    }
  }

  /// Where a standard capability is, nil when the function has none.
  public func offset(ofCapability id: UInt16) throws(VFIOError) -> UInt64? {
    try capabilities().first { $0.id == id }?.offset
  }

  /// The MSI-X capability, nil when the function has none.
  public func msix() throws(VFIOError) -> MSIXCapability? {
    guard let offset = try offset(ofCapability: PCICapabilityID.msix) else { return nil }
    return MSIXCapability(
      offset: offset, control: try read16(at: offset + 2), table: try read32(at: offset + 4),
      pendingBits: try read32(at: offset + 8))
  }

  /// Clears DEVCTL's relaxed ordering bit, so that a completion word cannot overtake the data.
  ///
  /// Returns whether the function has a PCI Express capability and the bit is clear now.
  @discardableResult
  public func clearRelaxedOrdering() throws(VFIOError) -> Bool {
    guard let express = try offset(ofCapability: PCICapabilityID.express) else { return false }
    let register = express + PCIConfigRegister.deviceControl
    let value = try read16(at: register)
    guard value & PCIConfigRegister.relaxedOrdering != 0 else { return true }
    try write16(value & ~PCIConfigRegister.relaxedOrdering, at: register)
    return try read16(at: register) & PCIConfigRegister.relaxedOrdering == 0
  }
}

/// How capability lists are walked, whoever reads the bytes.
package enum PCICapabilityList {
  /// The list that the header points to; `read` gives 16 bits at an even offset below 256.
  package static func standard<E: Error>(
    _ read: (UInt64) throws(E) -> UInt64
  ) throws(E) -> [PCICapability] {
    var list: [PCICapability] = []
    let status = try read(PCIConfigRegister.status)
    guard status & 0x10 != 0, status != 0xffff else { return list }
    var next = try read(PCIConfigRegister.capabilities) & 0xfc
    var visited = Set<UInt64>()
    // Entries are 4 bytes apart at least and lie behind the header.
    while next >= 0x40, visited.insert(next).inserted {
      let header = try read(next)
      let id = UInt16(header & 0xff)
      if id == 0xff { break }
      // Id 0 is a null capability: skipped, its link still counts.
      if id != 0 { list.append(PCICapability(id: id, offset: next, isExtended: false)) }
      next = header >> 8 & 0xfc
    }
    return list
  }

  /// The list from 0x100; `read` gives 32 bits at a multiple of 4, nil where there is no register.
  package static func extended<E: Error>(
    end: UInt64, _ read: (UInt64) throws(E) -> UInt32?
  ) throws(E) -> [PCICapability] {
    var list: [PCICapability] = []
    var next = PCIConfigRegister.extendedCapabilities
    var visited = Set<UInt64>()
    while next >= PCIConfigRegister.extendedCapabilities, next + 4 <= end,
      visited.insert(next).inserted
    {
      guard let header = try read(next), header != 0 else { break }
      let id = UInt16(header & 0xffff)
      if id != 0 { list.append(PCICapability(id: id, offset: next, isExtended: true)) }
      next = UInt64(header >> 20) & ~3
    }
    return list
  }
}

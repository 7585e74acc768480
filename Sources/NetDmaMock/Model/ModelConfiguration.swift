// SPDX-License-Identifier: Apache-2.0

/// What an emulated function is: everything that differs from part to part below the PCI header.
public struct ModelConfiguration: Hashable, Sendable {
  /// Peculiarities of single parts.
  public struct Quirks: OptionSet, Hashable, Sendable {
    /// The set's bits; of this model, not of any hardware.
    public let rawValue: UInt32
    /// A set from its bits.
    public init(rawValue: UInt32) { self.rawValue = rawValue }
    /// A channel RESET wipes the MSI-X table and pending bits (Briarwood, Broadwell-DE).
    public static let resetWipesMSIX = Quirks(rawValue: 1)
    /// CHANCNT reads 0 and CHANCTRL is read-only: firmware disabled the function.
    public static let lockedByFirmware = Quirks(rawValue: 2)
  }

  /// Harassment that shows mistakes of a driver; off on silicon.
  public struct Poison: OptionSet, Hashable, Sendable {
    /// The set's bits.
    public let rawValue: UInt32
    /// A set from its bits.
    public init(rawValue: UInt32) { self.rawValue = rawValue }
    /// A copy's destination is filled with 0xdb before the data arrives, so that reading it before
    /// the completion shows.
    public static let destinations = Poison(rawValue: 1)
  }

  /// PCI device id.
  public var deviceID: UInt16
  /// CBVER: major and minor nibble, 0x30 to 0x34.
  public var cbVersion: UInt8
  /// Channels of the function, 1 to 31.
  public var channelCount: Int
  /// XFERCAP: log2 of the bytes that one descriptor may move; 0 for 4 GiB, else 12 to 31.
  public var transferCapability: UInt8
  /// DMACAPABILITY; bits that the model does not implement read 0.
  public var capabilities: UInt32
  /// INTRDELAY bit 15: interrupts can be coalesced.
  public var supportsInterruptDelay: Bool
  /// Bits of address that the engine drives: 40, 46 or 48.
  public var addressWidth: Int
  /// DMA_COMP: bit 0 compatible with version 1, bit 1 with version 2.
  public var compatibility: UInt16
  /// Interrupt messages that the function has; channel n uses vector n while there are enough.
  public var vectorCount: Int
  /// Offset of the MSI-X table in BAR0; the table's owner answers there.
  public var msixTableOffset: Int
  /// Offset of the MSI-X pending bits in BAR0.
  public var msixPendingOffset: Int
  /// What is peculiar.
  public var quirks: Quirks
  /// What is made harder.
  public var poison: Poison
  /// How fast it is.
  public var timing: EngineTiming

  /// A function; the defaults are one channel of a Skylake server with the memory operations that the
  /// field's drivers use.
  public init(
    deviceID: UInt16 = 0x2021, cbVersion: UInt8 = 0x33, channelCount: Int = 1,
    transferCapability: UInt8 = 20, capabilities: UInt32 = 0x41,
    supportsInterruptDelay: Bool = true, addressWidth: Int = 48, compatibility: UInt16 = 2,
    vectorCount: Int? = nil, msixTableOffset: Int = 0x2000, msixPendingOffset: Int = 0x3000,
    quirks: Quirks = [], poison: Poison = [], timing: EngineTiming = .skylake
  ) {
    self.deviceID = deviceID
    self.cbVersion = cbVersion
    self.channelCount = min(max(channelCount, 1), ModelRegister.maximumChannels)
    self.transferCapability =
      transferCapability == 0 ? 0 : min(max(transferCapability, 12), 31)
    self.capabilities = capabilities & CapabilityBit.implemented
    self.supportsInterruptDelay = supportsInterruptDelay
    self.addressWidth = min(max(addressWidth, 32), 64)
    self.compatibility = compatibility
    self.vectorCount = min(max(vectorCount ?? self.channelCount, 1), 256)
    self.msixTableOffset = min(max(msixTableOffset, 0), ModelRegister.windowSize)
    self.msixPendingOffset = min(max(msixPendingOffset, 0), ModelRegister.windowSize)
    self.quirks = quirks
    self.poison = poison
    self.timing = timing
  }

  /// With every field forced into its range.
  var normalized: ModelConfiguration {
    ModelConfiguration(
      deviceID: deviceID, cbVersion: cbVersion, channelCount: channelCount,
      transferCapability: transferCapability, capabilities: capabilities,
      supportsInterruptDelay: supportsInterruptDelay, addressWidth: addressWidth,
      compatibility: compatibility, vectorCount: vectorCount, msixTableOffset: msixTableOffset,
      msixPendingOffset: msixPendingOffset, quirks: quirks, poison: poison, timing: timing)
  }

  /// The most bytes that one descriptor may move.
  public var maximumTransfer: UInt64 {
    transferCapability == 0 ? UInt64(UInt32.max) : 1 << UInt64(transferCapability)
  }

  /// Whether the channel errors' mirror in configuration space keeps a halted channel from starting.
  var errorMirrorBlocksStart: Bool { cbVersion < 0x33 }
  /// Whether the registers of version 3.4 exist.
  var hasVersion34Registers: Bool { cbVersion >= 0x34 }

  func has(_ capability: UInt32) -> Bool { capabilities & capability != 0 }

  /// The highest address that the engine drives.
  var highestAddress: UInt64 {
    addressWidth >= 64 ? .max : (1 << UInt64(addressWidth)) - 1
  }

  /// Whether `count` bytes (1 or more) from `address` lie below the address limit.
  func reaches(_ address: UInt64, count: UInt64) -> Bool {
    let (last, overflow) = address.addingReportingOverflow(count &- 1)
    return !overflow && last <= highestAddress
  }
}

// SPDX-License-Identifier: Apache-2.0

/// One emulated PCI function: whose chip it is part of, its identity, and its engine.
///
/// Made by name (`DeviceProfile(named: "skylake")`) or by PCI device id; both take `Options`.
public struct DeviceProfile: Hashable, Sendable {
  /// The ways in which a function can interrupt.
  public struct InterruptKinds: OptionSet, Hashable, Sendable {
    /// The set's bits; of this model, not of any hardware.
    public let rawValue: UInt8
    /// A set from its bits.
    public init(rawValue: UInt8) { self.rawValue = rawValue }
    /// A table of messages, as every version 3 part has.
    public static let msix = InterruptKinds(rawValue: 1)
    /// One message, as parts before version 3 have.
    public static let msi = InterruptKinds(rawValue: 2)
    /// The INTx pin.
    public static let pin = InterruptKinds(rawValue: 4)
  }

  /// What may be chosen beside the part.
  public struct Options: Hashable, Sendable {
    /// The function of the chip, 0 to 7 (0 to 3 on Briarwood and Broadwell-DE): chooses id, pin,
    /// and RAID.
    ///
    /// With a device id that names one function it is ignored.
    public var function = 0
    /// Firmware enabled RAID: functions 0 and 1 take their RAID ids, or, on parts with one id for
    /// both, advertise XOR and P+Q.
    public var raid = false
    /// CHANCNT instead of 1; 1 to 31.
    public var channels: Int?
    /// CBVER instead of the part's: major and minor nibble.
    public var cbVersion: UInt8?
    /// DMACAPABILITY instead of the part's.
    public var capabilities: DMACapabilities?
    /// Kinds of interrupt instead of the part's.
    public var interrupts: InterruptKinds?
    /// Whether PMCSR's No_Soft_Reset is 1: D3hot keeps the function's state.
    public var keepsStateInD3 = true
    /// How fast the engines are.
    public var timing = EngineTiming.skylake
    /// Nothing chosen.
    public init() {}
  }

  /// The profile's name, "8086:1234" for an id that no chip has.
  public let name: String
  /// The function of its chip.
  public let function: Int
  /// REVISION, configuration space 0x08.
  public var revision: UInt8
  /// SUBSYSTEM VENDOR, configuration space 0x2c.
  public var subsystemVendor: UInt16 = 0x8086
  /// SUBSYSTEM ID, configuration space 0x2e.
  public var subsystemID: UInt16 = 0
  /// How the function can interrupt.
  public let interrupts: InterruptKinds
  /// Whether D3hot keeps the function's state.
  public let keepsStateInD3: Bool
  /// Whether extended configuration space holds CHANERR_INT and its companions (0x148 to 0x18c).
  public let hasErrorRegisters: Bool
  /// Whether every power-on leaves a configuration parity error in DMAUNCERRSTS, which a driver has
  /// to clear.
  public let hasSpuriousParityError: Bool
  /// The engine behind BAR0.
  public var model: ModelConfiguration

  /// INTERRUPT PIN, configuration space 0x3d: 1 to 4 for A to D, 0 for none.
  public var interruptPin: UInt8 {
    interrupts.contains(.pin) ? UInt8(function % 4) + 1 : 0
  }
  /// Entries of the MSI-X table, 0 without MSI-X.
  public var msixVectorCount: Int { interrupts.contains(.msix) ? model.vectorCount : 0 }
  /// Messages of the MSI capability, a power of two up to 32; 0 without MSI.
  public var msiVectorCount: Int {
    guard interrupts.contains(.msi) else { return 0 }
    var count = 1
    while count < min(model.vectorCount, 32) { count *= 2 }
    return count
  }

  /// Every name, oldest part first.
  public static let names = DevicePlatform.all.filter(\.isNamed).map(\.name)

  /// Every PCI device id of an IOAT function, those before version 3 included, oldest part first.
  public static let deviceIDs = DevicePlatform.all.flatMap { $0.deviceIDs + $0.raidIDs }

  /// Functions of the part with that name.
  ///
  /// - Throws: `ProfileError.unknownName`.
  public static func functionCount(named name: String) throws(ProfileError) -> Int {
    try platform(named: name).functionCount
  }

  /// Functions of the part that has the device id; nil for an id of no IOAT function.
  public static func functionCount(deviceID id: UInt16) -> Int? {
    DevicePlatform.all.first { $0.function(of: id) != nil }?.functionCount
  }

  private static func platform(named name: String) throws(ProfileError) -> DevicePlatform {
    guard let platform = DevicePlatform.all.first(where: { $0.isNamed && $0.name == name }) else {
      throw .unknownName(name: name, valid: names)
    }
    return platform
  }

  /// A function of the part with that name.
  ///
  /// - Throws: `ProfileError.unknownName`, `.noSuchFunction`, `.noRAID`, and what concerns
  ///   `options`.
  public init(named name: String, options: Options = Options()) throws(ProfileError) {
    let platform = try Self.platform(named: name)
    if options.raid, platform.raid == .none {
      throw .noRAID(
        profile: name,
        valid: DevicePlatform.all.filter { $0.isNamed && $0.raid != .none }.map(\.name))
    }
    guard platform.functions.contains(options.function) else {
      throw .noSuchFunction(
        profile: name, function: options.function, count: platform.functionCount)
    }
    let identity = platform.identity(function: options.function, raid: options.raid)
    try self.init(
      platform, id: identity.id, function: options.function, hasRAID: identity.hasRAID, options)
  }

  /// The function with a PCI device id of Intel's; RAID ids have RAID whatever the options say.
  ///
  /// - Throws: `ProfileError.unknownDeviceID` for an id of no IOAT function unless
  ///   `options.cbVersion` tells what it shall be, and what concerns `options`.
  public init(deviceID id: UInt16, options: Options = Options()) throws(ProfileError) {
    for platform in DevicePlatform.all {
      guard let found = platform.function(of: id) else { continue }
      let function = found.function ?? options.function
      guard platform.functions.contains(function) else {
        throw .noSuchFunction(
          profile: platform.name, function: function, count: platform.functionCount)
      }
      let hasRAID = found.hasRAID || platform.raid == .sameID && options.raid
      try self.init(platform, id: id, function: function, hasRAID: hasRAID, options)
      return
    }
    guard let version = options.cbVersion else { throw .unknownDeviceID(id: id) }
    let platform = DevicePlatform.unknown(id, version: version)
    guard platform.functions.contains(options.function) else {
      throw .noSuchFunction(
        profile: platform.name, function: options.function, count: platform.functionCount)
    }
    try self.init(platform, id: id, function: options.function, hasRAID: options.raid, options)
  }

  /// The function around an engine that was described by hand, with what its device id suggests.
  public init(model: ModelConfiguration) {
    let found = DevicePlatform.all.lazy.compactMap { platform in
      platform.function(of: model.deviceID).map { (platform, $0.function ?? 0) }
    }.first
    let (platform, function) =
      found ?? (DevicePlatform.unknown(model.deviceID, version: model.cbVersion), 0)
    self.init(
      platform, function: function, interrupts: [.msix, .pin], keepsStateInD3: true,
      model: model.normalized)
  }

  private init(
    _ platform: DevicePlatform, function: Int, interrupts: InterruptKinds, keepsStateInD3: Bool,
    model: ModelConfiguration
  ) {
    name = platform.name
    self.function = function
    revision = platform.revision
    self.interrupts = interrupts
    self.keepsStateInD3 = keepsStateInD3
    hasErrorRegisters = model.cbVersion >= 0x30
    hasSpuriousParityError = model.deviceID == 0x3430
    self.model = model
  }

  private init(
    _ platform: DevicePlatform, id: UInt16, function: Int, hasRAID: Bool, _ options: Options
  ) throws(ProfileError) {
    let channels = options.channels ?? 1
    let channelRange = 1...ModelRegister.maximumChannels
    guard channelRange.contains(channels) else {
      throw .outOfRange(option: "channel count", value: channels, range: channelRange)
    }
    let version = options.cbVersion ?? platform.version
    guard version >= 0x10 else {
      throw .outOfRange(option: "CB version", value: Int(version), range: 0x10...0xff)
    }
    let interrupts = options.interrupts ?? platform.interrupts
    guard !interrupts.isDisjoint(with: [.msix, .msi, .pin]) else {
      throw .noInterrupts(profile: platform.name)
    }
    let capabilities =
      options.capabilities
      ?? (hasRAID ? platform.capabilities.union(platform.raidCapabilities) : platform.capabilities)
    let unmodelled = capabilities.rawValue & ~CapabilityBit.implemented
    guard unmodelled == 0 else { throw .unmodelledCapabilities(bits: unmodelled) }

    self.init(
      platform, function: function, interrupts: interrupts,
      keepsStateInD3: options.keepsStateInD3,
      model: ModelConfiguration(
        deviceID: id, cbVersion: version, channelCount: channels,
        transferCapability: platform.transferCapability, capabilities: capabilities.rawValue,
        supportsInterruptDelay: platform.supportsInterruptDelay,
        addressWidth: platform.addressWidth, compatibility: 2, vectorCount: channels,
        msixTableOffset: platform.resetWipesMSIX ? 0x1000 : 0x2000,
        msixPendingOffset: platform.resetWipesMSIX ? 0x1800 : 0x3000,
        quirks: platform.resetWipesMSIX ? .resetWipesMSIX : [], timing: options.timing))
  }
}

// SPDX-License-Identifier: Apache-2.0

/// What is special about one kind of engine.
public struct IOATQuirks: OptionSet, Hashable, Sendable {
  /// The set's bits; no register has them.
  public let rawValue: UInt32
  /// A set from its bits.
  public init(rawValue: UInt32) { self.rawValue = rawValue }
  /// Linux clears XOR, PQ and RAID16SS in the cached DMACAPABILITY whatever the hardware says.
  public static let raidMasked = Self(rawValue: 1 << 0)
  /// CBVER reads 3.3 but Linux drives the part as 3.2, so CHANERR_INT is cleared there too.
  public static let versionForcedTo32 = Self(rawValue: 1 << 1)
  /// A restart leaves a spurious parity error: 0x10 is written to DMAUNCERRSTS during reset.
  public static let spuriousParityError = Self(rawValue: 1 << 2)
  /// A channel reset wipes the MSI-X table and pending bits in BAR0 (0x1000, 0x1008, 0x1800).
  public static let resetWipesMSIX = Self(rawValue: 1 << 3)
  /// With DMACAPABILITY's write-back of descriptor errors, Linux masks the XOR P and Q errors.
  public static let writeBackMasksRAIDErrors = Self(rawValue: 1 << 4)
  /// Firmware may have put the device behind the wrong VT-d unit.
  public static let wrongIOMMUUnit = Self(rawValue: 1 << 5)
  /// The engine cannot read from device memory, only from RAM.
  public static let noSourceInDeviceMemory = Self(rawValue: 1 << 6)
}

/// One entry of the table of IOAT (QuickData, Crystal Beach) PCI functions.
///
/// Complete with respect to Linux drivers/dma/ioat and FreeBSD's ioat(4), the parts before version
/// 3.0 included, which are recognised in order to be refused by name.
public struct IOATDeviceID: Hashable, Sendable, CustomStringConvertible {
  /// Intel.
  public static let vendor: UInt16 = 0x8086

  /// A family of chips with one kind of engine.
  public struct Platform: Hashable, Sendable {
    /// The short name that drivers use, for example "SKX".
    public let code: String
    /// The chip's name, for example "Skylake-SP".
    public let name: String
    /// The version in silicon, nil before 3.0 where only the major version is known.
    public let version: CBVersion?
    /// Major version, 1...3.
    public let major: Int
    /// Address bits that descriptors may carry.
    public let addressWidth: Int
    /// What is special about every function of the family.
    public let quirks: IOATQuirks
  }

  /// The PCI device id.
  public let device: UInt16
  /// The chip that has it.
  public let platform: Platform
  /// The channel that the id stands for, nil where all functions share one id.
  public let channel: Int?
  /// Whether the function's silicon has XOR and PQ, nil where only DMACAPABILITY tells.
  public let hasRAID: Bool?

  /// What is special about the function.
  public var quirks: IOATQuirks {
    device == 0x3430 ? platform.quirks.union(.spuriousParityError) : platform.quirks
  }

  /// Why the driver refuses the part, nil when it drives it.
  public var refusal: String? {
    platform.major >= 3
      ? nil
      : "\(platform.name) has a version \(platform.major) engine; the driver needs version 3.0 or later."
  }

  /// "Skylake-SP (SKX), CB 3.3".
  public var description: String {
    let version = platform.version.map(\.description) ?? "\(platform.major).x"
    return "\(platform.name) (\(platform.code)), CB \(version)"
  }

  /// The entry of a function, nil when it is no IOAT engine.
  public init?(vendor: UInt16, device: UInt16) {
    guard vendor == Self.vendor, let entry = Self.all.first(where: { $0.device == device }) else {
      return nil
    }
    self = entry
  }

  /// The entry of a function, nil when it is no IOAT engine.
  public init?(_ identity: PCIIdentity) {
    self.init(vendor: identity.vendor, device: identity.device)
  }

  /// What the chip with an Intel device id is called, for messages.
  public static func platformName(_ device: UInt16) -> String {
    all.first { $0.device == device }.map { "\($0.platform.name) (\($0.platform.code))" }
      ?? "unknown chip, device id \(hexDigits(device, 4))"
  }

  private init(_ platform: Platform, _ device: UInt16, channel: Int?, hasRAID: Bool?) {
    self.device = device
    self.platform = platform
    self.channel = channel
    self.hasRAID = hasRAID
  }

  /// Consecutive ids for consecutive channels.
  private static func row(
    _ platform: Platform, _ devices: ClosedRange<UInt16>, firstChannel: Int = 0, hasRAID: Bool?
  ) -> [IOATDeviceID] {
    devices.enumerated().map {
      IOATDeviceID(platform, $0.element, channel: firstChannel + $0.offset, hasRAID: hasRAID)
    }
  }

  /// Eight channels without RAID and, where firmware enables it, two ids that replace channels 0
  /// and 1 with RAID.
  private static func xeon(_ platform: Platform, _ first: UInt16, raid: UInt16) -> [IOATDeviceID] {
    row(platform, first...first + 7, hasRAID: false)
      + row(platform, raid...raid + 1, hasRAID: true)
  }

  /// Every known id, oldest platform first.
  public static let all: [IOATDeviceID] =
    [
      IOATDeviceID(.esb2, 0x1a38, channel: nil, hasRAID: false),
      IOATDeviceID(.cnb, 0x360b, channel: nil, hasRAID: false),
      IOATDeviceID(.scnb, 0x65ff, channel: nil, hasRAID: false),
      IOATDeviceID(.seaburg, 0x402f, channel: nil, hasRAID: false),
    ]
    + row(.tylersburg, 0x3430...0x3433, hasRAID: nil)
    + row(.tylersburg, 0x3429...0x342c, firstChannel: 4, hasRAID: nil)
    + xeon(.jasperForest, 0x3710, raid: 0x3718)
    + xeon(.sandyBridge, 0x3c20, raid: 0x3c2e)
    + xeon(.ivyBridge, 0x0e20, raid: 0x0e2e)
    + xeon(.haswell, 0x2f20, raid: 0x2f2e)
    + xeon(.broadwell, 0x6f20, raid: 0x6f2e)
    + row(.briarwood, 0x0c50...0x0c51, hasRAID: true)
    + row(.briarwoodNoRAID, 0x0c52...0x0c53, firstChannel: 2, hasRAID: false)
    + row(.broadwellDE, 0x6f50...0x6f53, hasRAID: false)
    + [
      IOATDeviceID(.skylake, 0x2021, channel: nil, hasRAID: false),
      IOATDeviceID(.iceLake, 0x0b00, channel: nil, hasRAID: nil),
    ]
}

extension IOATDeviceID.Platform {
  private init(_ code: String, _ name: String, major: Int) {
    self.init(
      code: code, name: name, version: nil, major: major, addressWidth: 40,
      quirks: major == 2 ? .wrongIOMMUUnit : [])
  }

  private init(
    _ code: String, _ name: String, _ version: CBVersion, addressWidth: Int, _ quirks: IOATQuirks
  ) {
    self.init(
      code: code, name: name, version: version, major: 3, addressWidth: addressWidth,
      quirks: quirks)
  }

  /// Xeons of version 3.2: RAID is masked, and the source must be RAM.
  private static let xeon32: IOATQuirks = [.raidMasked, .noSourceInDeviceMemory]

  static let esb2 = Self("ESB2", "ESB2 and 5000 chipset", major: 1)
  static let cnb = Self("CNB", "7300 chipset", major: 1)
  static let scnb = Self("SCNB", "5100 chipset", major: 1)
  /// Linux calls it "SNB", which is not Sandy Bridge.
  static let seaburg = Self("5400", "5400 chipset (Seaburg)", major: 2)
  static let tylersburg = Self(
    "TBG", "Tylersburg", .v3_0, addressWidth: 40, .noSourceInDeviceMemory)
  /// 40 bits by its datasheet, although Linux counts it as 3.2.
  static let jasperForest = Self("JSF", "Jasper Forest", .v3_2, addressWidth: 40, xeon32)
  static let sandyBridge = Self("SNB", "Sandy Bridge-EP", .v3_2, addressWidth: 46, xeon32)
  static let ivyBridge = Self("IVB", "Ivy Bridge-EP/EX", .v3_2, addressWidth: 46, xeon32)
  static let haswell = Self("HSW", "Haswell-EP/EX", .v3_2, addressWidth: 46, xeon32)
  static let broadwell = Self("BDX", "Broadwell-EP/EX", .v3_2, addressWidth: 46, xeon32)
  static let briarwood = Self(
    "BWD", "Briarwood", .v3_3, addressWidth: 48, [.resetWipesMSIX, .writeBackMasksRAIDErrors])
  static let briarwoodNoRAID = Self(
    "BWD", "Briarwood", .v3_3, addressWidth: 48,
    [.resetWipesMSIX, .writeBackMasksRAIDErrors, .raidMasked])
  static let broadwellDE = Self(
    "BDX-DE", "Broadwell-DE", .v3_3, addressWidth: 48,
    [.resetWipesMSIX, .writeBackMasksRAIDErrors, .raidMasked])
  static let skylake = Self(
    "SKX", "Skylake-SP", .v3_3, addressWidth: 48, [.raidMasked, .versionForcedTo32])
  static let iceLake = Self("ICX", "Ice Lake-SP", .v3_4, addressWidth: 48, [])
}

// SPDX-License-Identifier: Apache-2.0

import NetDmaVFIO

/// A chip family with one kind of engine: what its functions have in common, and their ids.
///
/// The device's own table, written from the hardware's description: a driver's table of ids must be
/// tested by it, so it is not shared with one. What no public document tells (revision, which
/// optional operations a part has) is chosen so that the field's drivers use what they know.
struct DevicePlatform: Sendable {
  let name: String
  /// Whether `DeviceProfile(named:)` knows it; the others are found by device id alone.
  let isNamed: Bool
  /// Function n's id without RAID; one entry when all functions share it.
  let deviceIDs: [UInt16]
  /// Ids that replace those of functions 0 and 1 when firmware enables RAID there.
  let raidIDs: [UInt16]
  /// Functions of the chip.
  let functionCount: Int
  let raid: RAIDSupport
  /// CBVER.
  let version: UInt8
  /// XFERCAP: 1 MiB by Jasper Forest's datasheet; the others tell no public document, and drivers
  /// read the register.
  let transferCapability: UInt8 = 20
  /// Bits of address that the engine drives.
  let addressWidth: Int
  let revision: UInt8
  /// DMACAPABILITY of a function without RAID.
  let capabilities: DMACapabilities
  /// What RAID adds.
  let raidCapabilities: DMACapabilities
  let interrupts: DeviceProfile.InterruptKinds
  let supportsInterruptDelay: Bool
  let resetWipesMSIX: Bool

  /// Which functions compute XOR and P+Q.
  enum RAIDSupport: Sendable {
    /// None.
    case none
    /// Functions 0 and 1, when firmware enables it; ids differ.
    case optional
    /// All that firmware enables it for, under the same id.
    case sameID
    /// Functions 0 and 1 always.
    case fixed
  }

  private init(
    _ name: String, isNamed: Bool = true, ids: [UInt16], raidIDs: [UInt16] = [], functions: Int = 8,
    raid: RAIDSupport = .none, version: UInt8, addressWidth: Int, revision: UInt8,
    capabilities: DMACapabilities = [.pageBreak, .fill], raidCapabilities: DMACapabilities = [],
    interrupts: DeviceProfile.InterruptKinds = [.msix, .pin], interruptDelay: Bool = true,
    resetWipesMSIX: Bool = false
  ) {
    self.name = name
    self.isNamed = isNamed
    deviceIDs = ids
    self.raidIDs = raidIDs
    functionCount = functions
    self.raid = raid
    self.version = version
    self.addressWidth = addressWidth
    self.revision = revision
    self.capabilities = capabilities
    self.raidCapabilities = raidCapabilities
    self.interrupts = interrupts
    supportsInterruptDelay = interruptDelay
    self.resetWipesMSIX = resetWipesMSIX
  }

  /// A Xeon with engine version 3.2: eight ids in a row, two more for RAID.
  private static func xeon32(
    _ name: String, _ first: UInt16, raid: UInt16, addressWidth: Int = 46, revision: UInt8
  ) -> DevicePlatform {
    DevicePlatform(
      name, ids: Array(first...first + 7), raidIDs: [raid, raid + 1], raid: .optional,
      version: 0x32, addressWidth: addressWidth, revision: revision, raidCapabilities: [.xor, .pq])
  }

  /// A chipset with an engine before version 3, whose registers differ from what the model has: it
  /// has its identity, so that a driver can refuse it.
  private static func legacy(_ name: String, _ id: UInt16, _ version: UInt8, revision: UInt8)
    -> DevicePlatform
  {
    DevicePlatform(
      name, isNamed: false, ids: [id], functions: 1, version: version, addressWidth: 40,
      revision: revision, capabilities: [], interrupts: [.msi, .pin], interruptDelay: false)
  }

  static let all: [DevicePlatform] = [
    legacy("esb2", 0x1a38, 0x12, revision: 0xb1),
    legacy("cnb", 0x360b, 0x12, revision: 0x01),
    legacy("scnb", 0x65ff, 0x12, revision: 0x90),
    legacy("seaburg", 0x402f, 0x20, revision: 0x20),
    DevicePlatform(
      "nehalem", ids: Array(0x3430...0x3433) + Array(0x3429...0x342c), raid: .sameID, version: 0x30,
      addressWidth: 40, revision: 0x22, raidCapabilities: [.xor, .pq], interruptDelay: false),
    // 40 bits by its datasheet, although it is a 3.2.
    xeon32("jasper-forest", 0x3710, raid: 0x3718, addressWidth: 40, revision: 0x11),
    xeon32("sandy-bridge", 0x3c20, raid: 0x3c2e, revision: 0x07),
    xeon32("ivy-bridge", 0x0e20, raid: 0x0e2e, revision: 0x04),
    xeon32("haswell", 0x2f20, raid: 0x2f2e, revision: 0x02),
    xeon32("broadwell", 0x6f20, raid: 0x6f2e, revision: 0x01),
    DevicePlatform(
      "broadwell-de", ids: Array(0x6f50...0x6f53), functions: 4, version: 0x33, addressWidth: 48,
      revision: 0x05, capabilities: [.pageBreak, .fill, .descriptorWriteBack],
      resetWipesMSIX: true),
    DevicePlatform(
      "briarwood", ids: Array(0x0c50...0x0c53), functions: 4, raid: .fixed, version: 0x33,
      addressWidth: 48, revision: 0x01, capabilities: [.pageBreak, .fill, .descriptorWriteBack],
      // P+Q only: where mismatches are written back into descriptors, Linux masks them in CHANERR
      // and looks for them in P+Q descriptors alone, so that it computes XOR with these.
      raidCapabilities: [.pq, .raid16Sources], resetWipesMSIX: true),
    DevicePlatform(
      "skylake", ids: [0x2021], version: 0x33, addressWidth: 48, revision: 0x04),
    DevicePlatform(
      "ice-lake", ids: [0x0b00], raid: .sameID, version: 0x34, addressWidth: 48, revision: 0x00,
      capabilities: [.pageBreak, .fill, .descriptorPrefetch],
      raidCapabilities: [.xor, .pq, .raid16Sources]),
  ]

  var functions: Range<Int> { 0..<functionCount }

  /// A part that nobody made, with what its version suggests.
  static func unknown(_ id: UInt16, version: UInt8) -> DevicePlatform {
    DevicePlatform(
      "8086:" + hexDigits(id, 4), isNamed: false, ids: [id], raid: .sameID, version: version,
      addressWidth: version < 0x32 ? 40 : version < 0x33 ? 46 : 48, revision: 0,
      raidCapabilities: [.xor, .pq])
  }

  /// Function `function`'s id, and whether it computes XOR and P+Q.
  func identity(function: Int, raid wantsRAID: Bool) -> (id: UInt16, hasRAID: Bool) {
    let plain = deviceIDs.count == 1 ? deviceIDs[0] : deviceIDs[function]
    return switch raid {
    case .none: (plain, false)
    case .fixed: (plain, function < 2)
    case .sameID: (plain, wantsRAID)
    case .optional:
      wantsRAID && function < raidIDs.count ? (raidIDs[function], true) : (plain, false)
    }
  }

  /// The function that an id stands for, with RAID or without; nil when the id is another's.
  func function(of id: UInt16) -> (function: Int?, hasRAID: Bool)? {
    if let index = deviceIDs.firstIndex(of: id) {
      return (deviceIDs.count == 1 ? nil : index, raid == .fixed && index < 2)
    }
    if let index = raidIDs.firstIndex(of: id) { return (index, true) }
    return nil
  }
}

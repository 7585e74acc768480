// SPDX-License-Identifier: Apache-2.0

import NetDmaVFIO
import Testing

/// The table against the ids of Linux drivers/dma/ioat and FreeBSD's ioat(4), written out here.
struct IOATDeviceIDTests {
  private func entry(_ device: UInt16) throws -> IOATDeviceID {
    try #require(IOATDeviceID(vendor: 0x8086, device: device))
  }

  static let known: [(String, [UInt16])] = [
    ("ESB2", [0x1a38]), ("CNB", [0x360b]), ("SCNB", [0x65ff]), ("5400", [0x402f]),
    ("TBG", [0x3430, 0x3431, 0x3432, 0x3433, 0x3429, 0x342a, 0x342b, 0x342c]),
    (
      "JSF",
      [0x3710, 0x3711, 0x3712, 0x3713, 0x3714, 0x3715, 0x3716, 0x3717, 0x3718, 0x3719]
    ),
    (
      "SNB",
      [0x3c20, 0x3c21, 0x3c22, 0x3c23, 0x3c24, 0x3c25, 0x3c26, 0x3c27, 0x3c2e, 0x3c2f]
    ),
    (
      "IVB",
      [0x0e20, 0x0e21, 0x0e22, 0x0e23, 0x0e24, 0x0e25, 0x0e26, 0x0e27, 0x0e2e, 0x0e2f]
    ),
    (
      "HSW",
      [0x2f20, 0x2f21, 0x2f22, 0x2f23, 0x2f24, 0x2f25, 0x2f26, 0x2f27, 0x2f2e, 0x2f2f]
    ),
    (
      "BDX",
      [0x6f20, 0x6f21, 0x6f22, 0x6f23, 0x6f24, 0x6f25, 0x6f26, 0x6f27, 0x6f2e, 0x6f2f]
    ),
    ("BWD", [0x0c50, 0x0c51, 0x0c52, 0x0c53]),
    ("BDX-DE", [0x6f50, 0x6f51, 0x6f52, 0x6f53]),
    ("SKX", [0x2021]), ("ICX", [0x0b00]),
  ]

  @Test("Every id of every platform is known, and no other", arguments: known)
  func ids(code: String, devices: [UInt16]) throws {
    for device in devices { #expect(try entry(device).platform.code == code) }
    #expect(IOATDeviceID.all.filter { $0.platform.code == code }.count == devices.count)
  }

  @Test("The table holds each id once and nothing else")
  func complete() {
    let devices = IOATDeviceID.all.map(\.device)
    #expect(Set(devices).count == devices.count)
    #expect(Set(devices) == Set(Self.known.flatMap(\.1)))
    #expect(IOATDeviceID(vendor: 0x8086, device: 0x2022) == nil)
    #expect(IOATDeviceID(vendor: 0x8087, device: 0x2021) == nil)
  }

  @Test(
    "Each platform has its version and address width",
    arguments: [
      (0x3430, 0x30, 40), (0x3710, 0x32, 40), (0x3c20, 0x32, 46), (0x0e2e, 0x32, 46),
      (0x2f20, 0x32, 46), (0x6f20, 0x32, 46), (0x0c50, 0x33, 48), (0x6f50, 0x33, 48),
      (0x2021, 0x33, 48), (0x0b00, 0x34, 48),
    ] as [(UInt16, UInt8, Int)])
  func versions(device: UInt16, version: UInt8, width: Int) throws {
    let entry = try entry(device)
    #expect(entry.platform.version == CBVersion(rawValue: version))
    #expect(entry.platform.addressWidth == width)
    #expect(entry.refusal == nil)
  }

  @Test(
    "Parts before version 3 are refused by name",
    arguments: [0x1a38, 0x360b, 0x65ff, 0x402f] as [UInt16])
  func oldParts(device: UInt16) throws {
    let entry = try entry(device)
    let refusal = try #require(entry.refusal)
    #expect(refusal.contains(entry.platform.name))
    #expect(refusal.contains("3.0"))
  }

  @Test("Channels follow the ids; RAID variants replace channels 0 and 1")
  func channels() throws {
    #expect(try entry(0x3c20).channel == 0)
    #expect(try entry(0x3c27).channel == 7)
    #expect(try entry(0x3c2e).channel == 0)
    #expect(try entry(0x3c2f).channel == 1)
    #expect(try entry(0x3430).channel == 0)
    #expect(try entry(0x3429).channel == 4)
    #expect(try entry(0x342c).channel == 7)
    #expect(try entry(0x0c53).channel == 3)
    #expect(try entry(0x2021).channel == nil)
    #expect(try entry(0x0b00).channel == nil)
  }

  @Test("RAID is in silicon where the table says so")
  func raid() throws {
    #expect(try entry(0x6f2e).hasRAID == true)
    #expect(try entry(0x6f20).hasRAID == false)
    #expect(try entry(0x0c51).hasRAID == true)
    #expect(try entry(0x0c52).hasRAID == false)
    #expect(try entry(0x6f50).hasRAID == false)
    #expect(try entry(0x0b00).hasRAID == nil)
  }

  @Test("Quirks belong to exactly the parts that have them")
  func quirks() throws {
    func codes(_ quirk: IOATQuirks) -> Set<String> {
      Set(IOATDeviceID.all.filter { $0.quirks.contains(quirk) }.map(\.platform.code))
    }
    #expect(
      IOATDeviceID.all.filter { $0.quirks.contains(.spuriousParityError) }.map(\.device) == [0x3430]
    )
    #expect(codes(.resetWipesMSIX) == ["BWD", "BDX-DE"])
    #expect(codes(.writeBackMasksRAIDErrors) == ["BWD", "BDX-DE"])
    #expect(codes(.versionForcedTo32) == ["SKX"])
    #expect(codes(.wrongIOMMUUnit) == ["5400"])
    #expect(codes(.noSourceInDeviceMemory) == ["TBG", "JSF", "SNB", "IVB", "HSW", "BDX"])
    let masked = Set(IOATDeviceID.all.filter { $0.quirks.contains(.raidMasked) }.map(\.device))
    #expect(masked.contains(0x0c52) && !masked.contains(0x0c51))
    #expect(codes(.raidMasked) == ["JSF", "SNB", "IVB", "HSW", "BDX", "BWD", "BDX-DE", "SKX"])
  }

  @Test("Messages name the chip, or the id of an unknown one")
  func names() throws {
    #expect(IOATDeviceID.platformName(0x2021) == "Skylake-SP (SKX)")
    #expect(IOATDeviceID.platformName(0xbeef).contains("beef"))
    #expect(try entry(0x6f50).description == "Broadwell-DE (BDX-DE), CB 3.3")
    #expect(try entry(0x402f).description.contains("CB 2.x"))
  }
}

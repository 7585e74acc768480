// SPDX-License-Identifier: Apache-2.0

import NetDmaVFIO
import Testing

struct PCIAddressTests {
  @Test(
    "An address is read and written as the kernel writes it",
    arguments: [
      ("0000:00:04.0", 0, 0, 4, 0), ("ffff:ff:1f.7", 0xffff, 0xff, 0x1f, 7),
      ("10000:e1:00.3", 0x10000, 0xe1, 0, 3), ("7fffffff:00:00.0", 0x7fff_ffff, 0, 0, 0),
    ])
  func roundTrip(text: String, domain: Int, bus: Int, device: Int, function: Int) throws {
    let address = try #require(PCIAddress(text))
    #expect(
      (Int(address.domain), Int(address.bus), Int(address.device), Int(address.function))
        == (domain, bus, device, function))
    #expect(address.description == text)
    #expect(address.name == text)
  }

  @Test("Without a domain it is 0, and capitals are read")
  func shortForms() throws {
    #expect(PCIAddress("00:04.0")?.description == "0000:00:04.0")
    #expect(PCIAddress("AF:1F.7")?.description == "0000:af:1f.7")
  }

  @Test(
    "Anything else is refused",
    arguments: [
      "", "0", ":", ".", "00:04", "0000:00:04", "00:04.", "00:04.8", "00:04.00", "00:20.0",
      "00:ff.0", "0:04.0", "000:04.0", "00:4.0", "00:004.0", "000:00:04.0", "00000000f:00:04.0",
      "80000000:00:00.0", "ffffffff:00:00.0", "0000:00:04.0 ", " 0000:00:04.0", "0000:00:04.0\n",
      "0000:00:04:0", "0000.00.04.0", "0000:00.04.0", "0000:00:04.0.0", "0000:0000:00:04.0",
      "0x00:04.0", "+0:04.0", "-1:04.0", "00:g4.0", "0000:00:04.0/..", "../0000:00:04.0",
      "００:04.0", "0000:00:04.-", "pci0000:00", "0000:00:04.a", "::.", "0000:::.0", "0000::04.0",
    ])
  func refusals(text: String) {
    #expect(PCIAddress(text) == nil)
  }

  @Test("Numbers out of range are refused")
  func numbers() {
    #expect(PCIAddress(bus: 0, device: 32, function: 0) == nil)
    #expect(PCIAddress(bus: 0, device: 0, function: 8) == nil)
    #expect(PCIAddress(domain: 0x8000_0000, bus: 0, device: 0, function: 0) == nil)
    #expect(PCIAddress(bus: 255, device: 31, function: 7) != nil)
  }

  @Test("Addresses sort by domain, bus, device and function")
  func order() {
    let sorted = [
      "0000:00:04.0", "0000:00:04.1", "0000:00:05.0", "0000:0a:00.0", "0001:00:00.0",
      "10000:00:00.0",
    ]
    #expect(sorted.reversed().compactMap { PCIAddress($0) }.sorted().map(\.name) == sorted)
  }
}

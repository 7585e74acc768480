// SPDX-License-Identifier: Apache-2.0

import TestSupport
import Testing

@testable import netdma_probe

@Suite("list")
struct ListTests {
  @Test("an engine alone in its group and with vfio-pci is usable, one with ioatdma is not")
  func usable() throws {
    let tree = try SysFSTree()
    try tree.add("0000:00:04.0") {
      $0.driver = "vfio-pci"
      $0.group = 7
    }
    try tree.add("0000:00:04.1") { $0.group = 8 }
    let result = try ProbeProcess.run(["list", "--json", "--sysroot", tree.root])
    #expect(result.status == 0)
    let object = try jsonObject(result)
    #expect(object["schema"] as? String == "netdma-probe/1")
    #expect(object["command"] as? String == "list")
    let devices = try #require(object["devices"] as? [[String: Any]])
    #expect(devices.map { $0["address"] as? String } == ["0000:00:04.0", "0000:00:04.1"])
    #expect(devices[0]["isUsable"] as? Bool == true)
    #expect(devices[0]["iommuGroup"] as? Int == 7)
    #expect(devices[0]["cbVersion"] as? String == "3.3")
    #expect(devices[1]["isUsable"] as? Bool == false)
    #expect(devices[1]["reason"] as? String == "bound to ioatdma")
  }

  @Test("a function of the group with a kernel driver is named as the obstacle")
  func shared() throws {
    let tree = try SysFSTree()
    try tree.add("0000:00:04.0") {
      $0.driver = "vfio-pci"
      $0.group = 7
    }
    try tree.add("0000:00:19.0") {
      $0.device = 0x1533
      $0.classCode = 0x02_00_00
      $0.driver = "igb"
      $0.group = 7
    }
    let result = try ProbeProcess.run(["list"], environment: ["NETDMA_SYSROOT": tree.root])
    #expect(result.status == 0)
    #expect(result.output.contains("group shared with 0000:00:19.0 (igb)"))
    // Only engines are listed unless all functions are asked for.
    #expect(!result.output.contains("\n0000:00:19.0"))
    let all = try ProbeProcess.run(["list", "--all", "--sysroot", tree.root])
    #expect(all.output.contains("\n0000:00:19.0"))
  }

  @Test("the rest of a group is named, whether it stands in the way or not")
  func company() throws {
    let tree = try SysFSTree()
    for (function, driver) in [(0, "vfio-pci"), (1, nil), (2, "pcieport")] {
      try tree.add("0000:00:04.\(function)") {
        $0.driver = driver
        $0.group = 7
      }
    }
    let text = try ProbeProcess.run(["list", "--sysroot", tree.root]).output
    #expect(
      text.contains(
        "\n0000:00:04.0: group 7 also holds 0000:00:04.1 (no driver), 0000:00:04.2 (pcieport)\n"))
    let object = try jsonObject(try ProbeProcess.run(["list", "--json", "--sysroot", tree.root]))
    let first = try #require((object["devices"] as? [[String: Any]])?.first)
    #expect(first["isUsable"] as? Bool == true)
    let others = try #require(first["groupFunctions"] as? [[String: Any]])
    #expect(others.map { $0["driver"] as? String } == [nil, "pcieport"])
    #expect(others.allSatisfy { $0["blocksGroup"] as? Bool == false })
  }

  @Test("what a program reads is whole; a terminal, and COLUMNS, cut and fold")
  func width() throws {
    let tree = try SysFSTree()
    let driver = String(repeating: "driver-", count: 8)
    try tree.add("0000:00:04.0") { $0.driver = driver }
    try tree.add("0000:00:04.1") { $0.group = 8 }
    func lines(
      _ output: ProbeProcess.Sink = .file, _ environment: [String: String] = [:]
    ) throws -> [Substring] {
      try ProbeProcess.run(
        ["list", "--sysroot", tree.root], environment: environment, output: output
      ).output.replacing(/\u{1b}\[[0-9]*m/, with: "").split(separator: "\n")
    }
    let whole = try lines()
    #expect(whole[1].count > 80 && whole[1].hasSuffix("Skylake-SP (SKX), CB 3.3"))
    for narrow in [
      try lines(.terminal(columns: 60)), try lines(.file, ["COLUMNS": "60"]),
      try lines(.terminal(columns: 60), ["COLUMNS": "200"]),
    ] {
      #expect(narrow[1].hasPrefix("0000:00:04.0") && narrow[1].hasSuffix("…"))
      #expect(narrow.allSatisfy { $0.count <= 60 })
    }
    // Only what is to be copied, and a word, is not broken.
    for line in try lines(.terminal(columns: 40))
    where !line.hasPrefix("netdma-probe ") && line.contains(" ") {
      #expect(line.count <= 40, "\(line)")
    }
    #expect(try lines(.file, ["COLUMNS": "wide"]) == whole)
  }

  @Test("a table is never wider than asked for, and says where more would follow")
  func table() {
    var table = TextTable(["NAME", "N", "TEXT"])
    table.add(["alpha", "1", "some words"])
    table.add(["b", "22", ""])
    let whole = table.lines(width: nil)
    #expect(whole == "NAME   N   TEXT\nalpha  1   some words\nb      22  ")
    #expect(table.lines(width: 21) == whole)
    for width in 1..<21 {
      let lines = table.lines(width: width).split(separator: "\n")
      #expect(lines.count == 3)
      for (line, full) in zip(lines, whole.split(separator: "\n")) {
        #expect(line.count <= width)
        #expect(line == full || line.hasSuffix("…") && full.hasPrefix(line.dropLast()))
      }
    }
    #expect(table.lines(width: 12).hasPrefix("NAME   N   …\nalpha  1   …\n"))
  }

  @Test("channels are those that the kernel's driver registered, else those of the part")
  func channels() throws {
    let tree = try SysFSTree()
    try tree.add("0000:00:04.0")
    for channel in 0..<3 {
      try tree.addDMAChannel("dma0chan\(channel)", of: "0000:00:04.0", clients: 0)
    }
    try tree.add("0000:00:04.1") { $0.driver = nil }
    try tree.add("0000:00:04.2") { $0.device = 0x1a38 }
    let object = try jsonObject(try ProbeProcess.run(["list", "--json", "--sysroot", tree.root]))
    let devices = try #require(object["devices"] as? [[String: Any]])
    #expect(devices.map { $0["channels"] as? Int } == [3, 1, nil])
  }

  @Test("a machine without an engine, or without a PCI bus, is an answer and not a failure")
  func nothing() throws {
    let tree = try SysFSTree()
    let empty = try ProbeProcess.run(["list", "--sysroot", tree.root])
    #expect(empty.status == 0)
    #expect(empty.output.contains("no IOAT DMA engine"))
    tree.delete("sys/bus/pci")
    let noBus = try ProbeProcess.run(["list", "--sysroot", tree.root])
    #expect(noBus.status == 0)
    #expect(noBus.output.contains("no PCI bus"))
  }
}

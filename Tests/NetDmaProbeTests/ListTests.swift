// SPDX-License-Identifier: Apache-2.0

import TestSupport
import Testing

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

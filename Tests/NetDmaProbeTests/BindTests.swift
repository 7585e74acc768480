// SPDX-License-Identifier: Apache-2.0

import Glibc
import Logging
import NetDmaVFIO
import Synchronization
import SystemPackage
import TestSupport
import Testing

@testable import netdma_probe

/// A machine with an engine and its neighbours, whose kernel reacts to what is written.
private struct Machine {
  let tree: SysFSTree
  let kernel: ReactingSysFS
  let engine: PCIAddress

  init(_ change: (SysFSTree) throws -> Void = { _ in }) throws {
    tree = try SysFSTree()
    kernel = ReactingSysFS(tree)
    engine = try #require(PCIAddress("0000:00:04.0"))
    try tree.addDriver("vfio-pci")
    try tree.add("0000:00:04.0") { $0.group = 7 }
    kernel.state.withLock { $0.defaultDrivers["0000:00:04.0"] = "ioatdma" }
    try change(tree)
  }

  func action(_ options: BindingOptions = [], isDryRun: Bool = false) -> BindingAction {
    BindingAction(
      paths: tree.paths, files: kernel,
      logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() },
      options: options, isDryRun: isDryRun)
  }

  func driver(_ address: String = "0000:00:04.0") -> String? { tree.driver(address) }
  func override(_ address: String = "0000:00:04.0") -> String? {
    tree.text(SysFSTree.directory(address) + "/driver_override")
  }
}

@Suite("bind and unbind")
struct BindTests {
  @Test("bind takes the function from ioatdma, unbind gives it back")
  func roundTrip() throws {
    let machine = try Machine()
    let bound = try machine.action().bind(machine.engine)
    #expect(machine.driver() == "vfio-pci")
    #expect(machine.override() == "(null)")
    #expect(bound.changed)
    #expect(bound.driver == "vfio-pci")
    #expect(bound.changes.map(\.formerDriver) == ["ioatdma"])
    #expect(
      machine.kernel.writes == [
        "driver_override vfio-pci", "unbind 0000:00:04.0", "drivers_probe 0000:00:04.0",
        "driver_override ",
      ])
    let unbound = try machine.action().unbind(machine.engine)
    #expect(machine.driver() == "ioatdma")
    #expect(unbound.driver == "ioatdma")
    #expect(unbound.changes.map(\.driver) == ["ioatdma"])
  }

  @Test("what is no engine is left alone, unless that is forced")
  func notAnEngine() throws {
    let machine = try Machine { tree in
      try tree.file(SysFSTree.directory("0000:00:04.0") + "/device", "0x1521\n")
    }
    do {
      _ = try machine.action().bind(machine.engine)
      Issue.record("it was bound")
    } catch let error as PCIError {
      guard case .notAnEngine = error else { throw error }
      #expect(error.why.contains("8086:1521"))
    }
    #expect(machine.kernel.writes.isEmpty)
    _ = try machine.action([.force]).bind(machine.engine)
    #expect(machine.driver() == "vfio-pci")
  }

  @Test("a function that had no driver has none after bind and unbind")
  func driverless() throws {
    let machine = try Machine { $0.setDriver("0000:00:04.0", nil) }
    try _ = machine.action().bind(machine.engine)
    #expect(machine.driver() == "vfio-pci")
    try _ = machine.action().unbind(machine.engine)
    #expect(machine.driver() == nil)
  }

  @Test("the second bind and the second unbind do nothing")
  func idempotence() throws {
    let machine = try Machine()
    _ = try machine.action().bind(machine.engine)
    let writes = machine.kernel.writes.count
    #expect(try !machine.action().bind(machine.engine).changed)
    #expect(machine.kernel.writes.count == writes)
    _ = try machine.action().unbind(machine.engine)
    let after = machine.kernel.writes.count
    #expect(try !machine.action().unbind(machine.engine).changed)
    #expect(machine.kernel.writes.count == after)
    #expect(machine.driver() == "ioatdma")
  }

  @Test("a dry run lists the writes and makes none")
  func dryRun() throws {
    let machine = try Machine()
    let report = try machine.action(isDryRun: true).bind(machine.engine)
    #expect(report.dryRun && report.changed)
    #expect(report.changes.first?.commands.count == 4)
    #expect(machine.kernel.writes.isEmpty)
    #expect(machine.driver() == "ioatdma")
  }

  @Test("a DMA channel with clients is not taken away unless forced")
  func inUse() throws {
    let machine = try Machine { try $0.addDMAChannel("dma0chan0", of: "0000:00:04.0", clients: 2) }
    let error = #expect(throws: PCIError.self) { try machine.action().bind(machine.engine) }
    guard case .inUse(_, let users) = error else {
      Issue.record("\(String(describing: error))")
      return
    }
    #expect(users == ["DMA channel dma0chan0 (2 clients)"])
    #expect(machine.driver() == "ioatdma")
    #expect(machine.kernel.writes.isEmpty)
    _ = try machine.action(.force).bind(machine.engine)
    #expect(machine.driver() == "vfio-pci")
  }

  /// An engine that shares its group with a disk.
  private func machineWithDisk(mounted: Bool) throws -> Machine {
    try Machine { tree in
      try tree.add("0000:00:05.0") {
        $0.classCode = 0x01_08_02
        $0.driver = "nvme"
        $0.group = 7
      }
      if mounted {
        try tree.addDisk("nvme0n1", of: "0000:00:05.0", number: "259:0", partition: "259:1")
        try tree.file("proc/self/mountinfo", "36 25 259:1 / /srv rw - ext4 /dev/nvme0n1p1 rw\n")
      }
    }
  }

  @Test("a shared group is refused unless the whole group may be taken, and comes back whole")
  func wholeGroup() throws {
    let machine = try machineWithDisk(mounted: false)
    #expect(
      throws: PCIError.groupShared(
        device: "0000:00:04.0", group: 7, others: ["0000:00:05.0 (nvme)"])
    ) { try machine.action().bind(machine.engine) }
    #expect(machine.kernel.writes.isEmpty)
    let bound = try machine.action(.wholeGroup).bind(machine.engine)
    #expect(bound.changes.map(\.address) == ["0000:00:04.0", "0000:00:05.0"])
    #expect(machine.driver("0000:00:05.0") == "vfio-pci")
    let one = try machine.action().unbind(machine.engine)
    #expect(one.othersWithVFIO == ["0000:00:05.0"])
    #expect(machine.driver("0000:00:05.0") == "vfio-pci")
    _ = try machine.action().bind(machine.engine)
    machine.kernel.state.withLock { $0.defaultDrivers["0000:00:05.0"] = "nvme" }
    _ = try machine.action(.wholeGroup).unbind(machine.engine)
    #expect(machine.driver() == "ioatdma")
    #expect(machine.driver("0000:00:05.0") == "nvme")
  }

  @Test("a group with a mounted disk is refused even then, unless forced")
  func mountedDisk() throws {
    let machine = try machineWithDisk(mounted: true)
    #expect(
      throws: PCIError.inUse(
        device: "0000:00:04.0", users: ["disk nvme0n1 (mounted at /srv) of 0000:00:05.0"])
    ) { try machine.action(.wholeGroup).bind(machine.engine) }
    #expect(machine.driver("0000:00:05.0") == "nvme")
    _ = try machine.action([.wholeGroup, .force]).bind(machine.engine)
    #expect(machine.driver("0000:00:05.0") == "vfio-pci")
  }

  @Test(
    "whichever step fails, the former driver and override are back afterwards",
    arguments: ["driver_override vfio-pci", "unbind 0000:00:04.0", "drivers_probe 0000:00:04.0"])
  func undo(step: String) throws {
    let machine = try Machine()
    machine.kernel.state.withLock { $0.failures[step] = [.ioError] }
    #expect(throws: PCIError.self) { try machine.action().bind(machine.engine) }
    #expect(machine.driver() == "ioatdma")
    #expect(machine.override() == "(null)")
    #expect(machine.tree.text("run/netdma-vfio/0000:00:04.0") == nil)
  }

  @Test("a function that vfio-pci does not take goes back to its driver")
  func refusedProbe() throws {
    let machine = try Machine()
    _ = machine.kernel.state.withLock { $0.refusals.insert("0000:00:04.0 vfio-pci") }
    #expect(
      throws: PCIError.bindFailed(device: "0000:00:04.0", wanted: "vfio-pci", found: nil)
    ) { try machine.action().bind(machine.engine) }
    #expect(machine.driver() == "ioatdma")
  }

  @Test("a function that is unplugged in between is said to have gone")
  func unplugged() throws {
    let machine = try Machine()
    _ = machine.kernel.state.withLock { $0.unplugged.insert("0000:00:04.0") }
    #expect(throws: PCIError.deviceVanished(device: "0000:00:04.0")) {
      try machine.action().bind(machine.engine)
    }
  }

  @Test("the user gets the group's node, and only that")
  func user() throws {
    let machine = try Machine {
      try $0.file("dev/vfio/7", "")
      try $0.file("dev/vfio/vfio", "")
    }
    let path = machine.tree.root + "/dev/vfio/7"
    chmod(path, 0o400)
    let report = try machine.action().bind(
      machine.engine, user: UserAccount(name: "me", id: geteuid()))
    #expect(report.node == path)
    let status = HostFiles().status(of: path)
    #expect(status?.permissions == 0o600)
    #expect(status?.owner == geteuid())
  }

  @Test("when the node cannot be given the function goes back to its driver")
  func userWithoutNode() throws {
    let machine = try Machine()
    let path = machine.tree.root + "/dev/vfio/7"
    #expect(throws: BindError.noNode(device: "0000:00:04.0", path: path)) {
      try machine.action().bind(machine.engine, user: UserAccount(name: "me", id: geteuid()))
    }
    #expect(machine.driver() == "ioatdma")
  }

  @Test("a function that a process has open is not unbound unless forced")
  func openDevice() throws {
    let machine = try Machine()
    _ = try machine.action().bind(machine.engine)
    try machine.tree.addProcess(
      4711, command: "qemu", open: [machine.tree.root + "/dev/vfio/7"])
    #expect(throws: PCIError.inUse(device: "0000:00:04.0", users: ["process 4711 (qemu)"])) {
      try machine.action().unbind(machine.engine)
    }
    #expect(machine.driver() == "vfio-pci")
    _ = try machine.action(.force).unbind(machine.engine)
    #expect(machine.driver() == "ioatdma")
  }
}

@Suite("bind and unbind from outside")
struct BindProcessTests {
  @Test("what the machine lacks is named, with the command that helps")
  func refusals() throws {
    let tree = try SysFSTree()
    try tree.add("0000:00:04.0")
    let noGroup = try ProbeProcess.run(["bind", "0000:00:04.0", "--sysroot", tree.root])
    #expect(noGroup.status == 69)
    #expect(noGroup.errors.contains("intel_iommu=on"))
    try tree.add("0000:00:04.0") { $0.group = 7 }
    let noDriver = try ProbeProcess.run(["bind", "0000:00:04.0", "--sysroot", tree.root])
    #expect(noDriver.status == 69)
    #expect(noDriver.errors.contains("modprobe vfio-pci"))
    let noDevice = try ProbeProcess.run(["unbind", "0000:00:04.7", "--sysroot", tree.root])
    #expect(noDevice.status == 69)
    let noUser = try ProbeProcess.run([
      "bind", "0000:00:04.0", "--user", "nobody-has-this-name", "--sysroot", tree.root,
    ])
    #expect(noUser.status == 67)
    #expect(try ProbeProcess.run(["bind", "4"]).status == 64)
  }

  @Test("a dry run prints the commands and changes nothing")
  func dryRun() throws {
    let tree = try SysFSTree()
    try tree.addDriver("vfio-pci")
    try tree.add("0000:00:04.0") { $0.group = 7 }
    let arguments = ["bind", "0000:00:04.0", "--dry-run", "--sysroot", tree.root]
    let text = try ProbeProcess.run(arguments)
    #expect(text.status == 0)
    #expect(text.output.contains("/sys/bus/pci/devices/0000:00:04.0/driver_override"))
    let object = try jsonObject(try ProbeProcess.run(arguments + ["--json"]))
    #expect(object["dryRun"] as? Bool == true)
    #expect(object["changed"] as? Bool == true)
    #expect((object["changes"] as? [[String: Any]])?.first?["formerDriver"] as? String == "ioatdma")
    #expect(tree.driver("0000:00:04.0") == "ioatdma")
  }

  @Test("binding what is bound gives the user the node, and is no error")
  func boundAlready() throws {
    let tree = try SysFSTree()
    try tree.addDriver("vfio-pci")
    try tree.add("0000:00:04.0") {
      $0.group = 7
      $0.driver = "vfio-pci"
    }
    try tree.file("dev/vfio/7", "")
    let result = try ProbeProcess.run([
      "bind", "0000:00:04.0", "--user", "\(geteuid())", "--sysroot", tree.root,
    ])
    #expect(result.status == 0, "\(result.errors)")
    #expect(result.output.contains("with vfio-pci already"))
    #expect(result.output.contains("/dev/vfio/7 belongs to \(geteuid())."))
  }
}

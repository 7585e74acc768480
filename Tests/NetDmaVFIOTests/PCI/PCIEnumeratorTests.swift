// SPDX-License-Identifier: Apache-2.0

import Glibc
import Logging
import NetDmaVFIO
import TestSupport
import Testing

/// Enumeration of fixture trees through the real libpci, and of this machine.
struct PCIEnumeratorTests {
  @Test("Everything about a function comes out of the tree")
  func oneFunction() throws {
    let tree = try SysFSTree()
    try tree.add("0000:00:04.0") {
      $0.group = 7
      $0.numaNode = 1
      $0.driver = "vfio-pci"
    }
    try tree.add("0000:00:04.1") { $0.group = 7 }
    try tree.file(SysFSTree.directory("0000:00:04.0") + "/driver_override", "vfio-pci\n")
    var enumerator = try PCIEnumerator(paths: tree.paths)
    let device = try #require(enumerator.devices().first)
    #expect(device.address == PCIAddress("0000:00:04.0"))
    #expect(device.identity == PCIIdentity(vendor: 0x8086, device: 0x2021, classCode: 0x0880))
    #expect(device.programmingInterface == 0)
    #expect(device.revision == 4)
    #expect(device.subsystem == PCISubsystem(vendor: 0x15d9, device: 0x0953))
    #expect(
      device.bars == [
        PCIBaseAddressRegister(
          index: 0, base: 0xfbf0_4000, size: 0x4000, space: .memory64, isPrefetchable: false)
      ])
    #expect(device.numaNode == 1)
    #expect(device.iommuGroup == 7)
    #expect(
      device.groupMembers == [
        PCIGroupMember(
          address: try #require(PCIAddress("0000:00:04.1")), driver: "ioatdma", classCode: 0x0880)
      ])
    #expect(device.blockingMembers.map(\.summary) == ["0000:00:04.1 (ioatdma)"])
    #expect(device.driver == "vfio-pci")
    #expect(device.driverOverride == "vfio-pci")
    #expect(device.isEnabled == true)
    #expect(device.capabilities?.map(\.offset) == [0x80, 0x90, 0x100, 0x140])
    #expect(device.msix?.vectorCount == 4)
    #expect(device.msix?.table == BARLocation(bar: 0, offset: 0x2000))
  }

  @Test("What a function lacks is nil, not invented")
  func bareFunction() throws {
    let tree = try SysFSTree()
    try tree.add("0000:00:00.0") {
      $0.driver = nil
      $0.subsystem = (0, 0)
      $0.numaNode = -1
      $0.classCode = 0x06_00_00
      $0.configuration = [UInt8](repeating: 0, count: 256)
      $0.resources = Array(repeating: (0, 0, 0), count: 7)
    }
    var enumerator = try PCIEnumerator(paths: tree.paths)
    let device = try #require(enumerator.devices().first)
    #expect(device.driver == nil && device.driverOverride == nil && device.iommuGroup == nil)
    #expect(device.numaNode == nil && device.subsystem == nil && device.isEnabled == false)
    #expect(device.bars.isEmpty && device.groupMembers.isEmpty)
    #expect(device.capabilities == [])
    #expect(device.msix == nil)
    #expect(device.identity.isBridge)
  }

  @Test("An ordinary user's 64 bytes of configuration space leave the capabilities unknown")
  func shortConfiguration() throws {
    let tree = try SysFSTree()
    try tree.add("0000:00:04.0") { $0.configuration = Array($0.configuration.prefix(64)) }
    var enumerator = try PCIEnumerator(paths: tree.paths)
    let device = try #require(enumerator.devices().first)
    #expect(device.capabilities == nil)
    #expect(device.msix == nil)
    #expect(device.identity.device == 0x2021)
  }

  @Test("Each kind of BAR is told from its flags")
  func barKinds() throws {
    let tree = try SysFSTree()
    try tree.add("0000:00:04.0") {
      $0.resources = [
        (0xe000, 0xe01f, 0x4_0101), (0xf000_0000, 0xf000_0fff, 0x4_0200),
        (0x38_0000_0000, 0x38_00ff_ffff, 0x14_220c), (0, 0, 0),
        (0xf100_0000, 0xf100_ffff, 0x4_2208),
        (0, 0, 0), (0, 0, 0),
      ]
    }
    var enumerator = try PCIEnumerator(paths: tree.paths)
    let bars = try #require(enumerator.devices().first).bars
    #expect(bars.map(\.index) == [0, 1, 2, 4])
    #expect(bars.map(\.space) == [.io, .memory32, .memory64, .memory32])
    #expect(bars.map(\.isPrefetchable) == [false, false, true, true])
    #expect(bars.map(\.size) == [0x20, 0x1000, 0x100_0000, 0x1_0000])
    #expect(bars.map(\.base) == [0xe000, 0xf000_0000, 0x38_0000_0000, 0xf100_0000])
  }

  @Test("Functions come sorted, and only those asked for")
  func filtered() throws {
    let tree = try SysFSTree()
    for address in ["0000:80:04.0", "0000:00:04.7", "0000:00:04.0", "10000:00:04.0"] {
      try tree.add(address)
    }
    try tree.add("0000:00:1f.0") { $0.device = 0xa1c1 }
    var enumerator = try PCIEnumerator(paths: tree.paths)
    #expect(
      enumerator.devices { IOATDeviceID($0) != nil }.map(\.address.name)
        == ["0000:00:04.0", "0000:00:04.7", "0000:80:04.0", "10000:00:04.0"])
    #expect(enumerator.devices().count == 5)
  }

  @Test("One function is found by its address")
  func byAddress() throws {
    let tree = try SysFSTree()
    try tree.add("0000:00:04.0")
    var enumerator = try PCIEnumerator(paths: tree.paths)
    let address = try #require(PCIAddress("0000:00:04.0"))
    #expect(try enumerator.device(at: address).address == address)
    let other = try #require(PCIAddress("0000:00:05.0"))
    #expect(throws: PCIError.noSuchDevice(device: "0000:00:05.0")) {
      try enumerator.device(at: other)
    }
  }

  // MARK: - libpci must not end the process

  @Test("A function that vanishes between the scan and the look is left out")
  func vanishing() throws {
    let tree = try SysFSTree()
    try tree.add("0000:00:04.0")
    try tree.add("0000:00:04.1")
    var enumerator = try PCIEnumerator(paths: tree.paths)
    tree.delete("sys/bus/pci/devices/0000:00:04.0")
    tree.delete(SysFSTree.directory("0000:00:04.0"))
    #expect(enumerator.devices().map(\.address.name) == ["0000:00:04.1"])
    let address = try #require(PCIAddress("0000:00:04.0"))
    #expect(throws: PCIError.deviceVanished(device: "0000:00:04.0")) {
      try enumerator.device(at: address)
    }
  }

  @Test(
    "A file that libpci cannot do without, or cannot read, loses that function only",
    arguments: ["vendor", "device", "class", "resource"])
  func brokenFunction(file: String) throws {
    let tree = try SysFSTree()
    try tree.add("0000:00:04.0")
    try tree.add("0000:00:04.1")
    tree.delete(SysFSTree.directory("0000:00:04.0") + "/" + file)
    var enumerator = try PCIEnumerator(paths: tree.paths)
    #expect(enumerator.devices().map(\.address.name) == ["0000:00:04.1"])
    let address = try #require(PCIAddress("0000:00:04.0"))
    let error = try #require(throws: PCIError.self) { try enumerator.device(at: address) }
    guard case .enumerationFailed(let reason) = error else {
      Issue.record("\(error)")
      return
    }
    #expect(reason.contains(file))
  }

  @Test("A resource file that makes no sense loses that function only")
  func brokenResources() throws {
    let tree = try SysFSTree()
    try tree.add("0000:00:04.0")
    try tree.add("0000:00:04.1")
    try tree.file(SysFSTree.directory("0000:00:04.0") + "/resource", "nonsense\n")
    var enumerator = try PCIEnumerator(paths: tree.paths)
    for _ in 0..<3 { #expect(enumerator.devices().map(\.address.name) == ["0000:00:04.1"]) }
  }

  @Test("An optional file that cannot be read is no reason to leave a function out")
  func optionalFiles() throws {
    let tree = try SysFSTree()
    try tree.add("0000:00:04.0")
    for file in [
      "numa_node", "revision", "subsystem_vendor", "driver_override", "enable", "config",
    ] {
      tree.delete(SysFSTree.directory("0000:00:04.0") + "/" + file)
    }
    var enumerator = try PCIEnumerator(paths: tree.paths)
    let device = try #require(enumerator.devices().first)
    #expect(device.capabilities == nil)
    #expect(device.isEnabled == nil)
    #expect(device.identity.vendor == 0x8086)
  }

  @Test("A capability list that loops is walked once")
  func loopingCapabilities() throws {
    let tree = try SysFSTree()
    try tree.add("0000:00:04.0") { $0.configuration[0x91] = 0x80 }
    var enumerator = try PCIEnumerator(paths: tree.paths)
    let device = try #require(enumerator.devices().first)
    #expect(device.capabilities?.filter { !$0.isExtended }.map(\.offset) == [0x80, 0x90])
  }

  @Test("Without a PCI bus there is a typed error")
  func noBus() throws {
    let tree = try SysFSTree()
    tree.delete("sys/bus")
    let error = try #require(throws: PCIError.self) { _ = try PCIEnumerator(paths: tree.paths) }
    #expect(error == .noPCIBus(path: tree.root + "/sys/bus/pci/devices"))
    #expect(error.remedy.contains("--mock"))
  }

  @Test("An empty bus has no functions")
  func emptyBus() throws {
    let tree = try SysFSTree()
    var enumerator = try PCIEnumerator(paths: tree.paths)
    #expect(enumerator.devices().isEmpty)
  }

  @Test(
    "A name on the bus that is no address is a typed error",
    arguments: ["nonsense", "0000:00:04.8"])
  func strayName(name: String) throws {
    let tree = try SysFSTree()
    try tree.add("0000:00:04.0")
    try tree.make("sys/bus/pci/devices/\(name)")
    let error = try #require(throws: PCIError.self) { _ = try PCIEnumerator(paths: tree.paths) }
    guard case .enumerationFailed(let reason) = error else {
      Issue.record("\(error)")
      return
    }
    #expect(reason.contains(name))
  }

  @Test("A root whose path is too long for libpci is a typed error")
  func longRoot() throws {
    let tree = try SysFSTree()
    // The path resolves, but has more characters than libpci's buffers.
    let sysfs = tree.root + "/sys" + String(repeating: "/.", count: 600)
    let error = try #require(throws: PCIError.self) {
      _ = try PCIEnumerator(paths: HostPaths(sysfs: sysfs))
    }
    guard case .enumerationFailed = error else {
      Issue.record("\(error)")
      return
    }
  }

  @Test("Enumerators on several threads do not disturb one another's errors")
  func concurrency() async throws {
    let tree = try SysFSTree()
    for function in 0..<8 { try tree.add("0000:00:04.\(function)") }
    tree.delete(SysFSTree.directory("0000:00:04.3") + "/vendor")
    let counts = try await withThrowingTaskGroup(of: Int.self) { group in
      for _ in 0..<16 {
        group.addTask {
          var enumerator = try PCIEnumerator(paths: tree.paths)
          return enumerator.devices().count
        }
      }
      return try await group.reduce(into: []) { $0.append($1) }
    }
    #expect(counts == Array(repeating: 7, count: 16))
  }

  @Test("Enumerating again and again opens nothing for good")
  func noLeaks() throws {
    let tree = try SysFSTree()
    for function in 0..<8 { try tree.add("0000:00:04.\(function)") }
    tree.delete(SysFSTree.directory("0000:00:04.3") + "/class")
    func mine() throws -> Int {
      try HostFiles().entries(of: "/proc/self/fd").filter { entry in
        (try? HostFiles().target(of: "/proc/self/fd/\(entry)"))?.hasPrefix(tree.root) ?? false
      }.count
    }
    for _ in 0..<20 {
      var enumerator = try PCIEnumerator(paths: tree.paths)
      _ = enumerator.devices()
    }
    #expect(try mine() == 0)
  }

  // MARK: - Names

  @Test("Names come from the file, and are nil where it has none")
  func names() throws {
    let tree = try SysFSTree()
    try tree.add("0000:00:04.0")
    try tree.add("0000:00:05.0") {
      $0.vendor = 0x1234
      $0.classCode = 0x12_34_00
    }
    try tree.file(
      "pci.ids",
      """
      8086  Intel Corporation
      \t2021  Sky Lake-E CBDMA Registers
      \t\t15d9 0953  X11DPi
      C 08  Generic system peripheral
      \t80  System peripheral

      """)
    var enumerator = try PCIEnumerator(paths: tree.paths, namesFile: tree.root + "/pci.ids")
    let devices = enumerator.devices()
    let known = enumerator.names(of: devices[0])
    #expect(known.vendor == "Intel Corporation")
    #expect(known.device == "Sky Lake-E CBDMA Registers")
    #expect(known.subsystem == "X11DPi")
    #expect(known.classCode == "System peripheral")
    let unknown = enumerator.names(of: devices[1])
    #expect(unknown.vendor == nil && unknown.device == nil && unknown.classCode == nil)
  }

  @Test("A file of names that does not exist leaves everything unnamed")
  func noNames() throws {
    let tree = try SysFSTree()
    try tree.add("0000:00:04.0")
    var enumerator = try PCIEnumerator(paths: tree.paths, namesFile: tree.root + "/none")
    let device = try #require(enumerator.devices().first)
    #expect(enumerator.names(of: device) == PCINamesTests.none)
  }

  @Test("A very long name is cut, not overrun")
  func longName() throws {
    let tree = try SysFSTree()
    try tree.add("0000:00:04.0")
    try tree.file("pci.ids", "8086  " + String(repeating: "x", count: 900) + "\n")
    var enumerator = try PCIEnumerator(paths: tree.paths, namesFile: tree.root + "/pci.ids")
    let device = try #require(enumerator.devices().first)
    let vendor = try #require(enumerator.names(of: device).vendor)
    #expect(vendor.utf8.count < 256 && vendor.hasPrefix("xxx"))
  }

  // MARK: - This machine

  @Test(
    "This machine's functions are found as sysfs lists them",
    .enabled(if: access("/sys/bus/pci/devices", R_OK) == 0, "this machine has no PCI bus"))
  func thisMachine() throws {
    var enumerator = try PCIEnumerator()
    let listed = try HostFiles().entries(of: "/sys/bus/pci/devices")
    #expect(enumerator.devices().map(\.address.name).sorted() == listed)
  }
}

/// What is known of a function that pci.ids does not list.
enum PCINamesTests {
  static let none = PCINames(vendor: nil, device: nil, subsystem: nil, classCode: nil)
}

// SPDX-License-Identifier: Apache-2.0

import Glibc
import NetDmaVFIO
import Synchronization
import SystemPackage

/// A directory that stands in for /sys, /proc, /dev and /run, removed when the object ends.
///
/// Files and links lie as the kernel lays them, so that libpci can read the tree.
package final class SysFSTree: Sendable {
  package let root: String

  package init() throws {
    var template = Array("/tmp/netdma-sysfs-XXXXXX".utf8CString)
    guard mkdtemp(&template) != nil else {
      throw SystemCallError(call: "mkdtemp", subject: "/tmp", errno: Errno(rawValue: errno))
    }
    root = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    for directory in [
      "sys/bus/pci/devices", "sys/bus/pci/drivers", "sys/kernel/iommu_groups", "sys/class",
      "proc", "dev/vfio", "run",
    ] {
      try make(directory)
    }
    try file("sys/bus/pci/drivers_probe", "")
  }

  deinit { Self.remove(root) }

  package var paths: HostPaths {
    HostPaths(
      sysfs: root + "/sys", procfs: root + "/proc", devices: root + "/dev", run: root + "/run")
  }

  private static func remove(_ path: String) {
    var status = stat()
    if lstat(path, &status) == 0, status.st_mode & S_IFMT == S_IFDIR {
      for name in (try? HostFiles().entries(of: path)) ?? [] { remove(path + "/" + name) }
      rmdir(path)
    } else {
      unlink(path)
    }
  }

  // MARK: - Files

  /// Makes a directory and those above it; `path` is relative to the root.
  package func make(_ path: String) throws {
    var made = root
    for part in path.split(separator: "/") {
      made += "/" + part
      if mkdir(made, 0o755) != 0, errno != EEXIST {
        throw SystemCallError(call: "mkdir", subject: made, errno: Errno(rawValue: errno))
      }
    }
  }

  /// Writes a file and makes its directory.
  package func file(_ path: String, _ text: String) throws {
    try file(path, Array(text.utf8))
  }

  package func file(_ path: String, _ bytes: [UInt8]) throws {
    try make(path.split(separator: "/").dropLast().joined(separator: "/"))
    let fd = Glibc.open(root + "/" + path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o644)
    guard fd >= 0 else {
      throw SystemCallError(call: "open", subject: path, errno: Errno(rawValue: errno))
    }
    defer { close(fd) }
    guard Glibc.write(fd, bytes, bytes.count) == bytes.count else {
      throw SystemCallError(call: "write", subject: path, errno: Errno(rawValue: errno))
    }
  }

  package func text(_ path: String) -> String? { HostFiles().text(root + "/" + path) }

  /// Makes a symbolic link in place of what is there.
  package func link(_ path: String, to target: String) throws {
    try make(path.split(separator: "/").dropLast().joined(separator: "/"))
    unlink(root + "/" + path)
    guard symlink(target, root + "/" + path) == 0 else {
      throw SystemCallError(call: "symlink", subject: path, errno: Errno(rawValue: errno))
    }
  }

  package func delete(_ path: String) { Self.remove(root + "/" + path) }

  // MARK: - Functions

  /// What a function is made of.
  package struct Function: Sendable {
    package var vendor: UInt16 = 0x8086
    package var device: UInt16 = 0x2021
    package var classCode: UInt32 = 0x08_80_00
    package var revision: UInt8 = 4
    package var subsystem: (UInt16, UInt16)? = (0x15d9, 0x0953)
    package var driver: String? = "ioatdma"
    package var group: Int?
    package var numaNode = 0
    package var configuration = FakeKernel.configuration()
    /// Start, end and flags of each of the resource file's lines.
    package var resources: [(UInt64, UInt64, UInt64)] = [
      (0xfbf0_4000, 0xfbf0_7fff, 0x14_0204), (0, 0, 0), (0, 0, 0), (0, 0, 0), (0, 0, 0), (0, 0, 0),
      (0, 0, 0),
    ]

    package init() {}
  }

  /// The directory of a function, relative to the root.
  package static func directory(_ address: String) -> String {
    "sys/devices/pci0000:00/\(address)"
  }

  /// Adds a function; its driver and group are made when they are new.
  package func add(_ address: String, _ change: (inout Function) -> Void = { _ in }) throws {
    var function = Function()
    change(&function)
    let directory = Self.directory(address)
    try make(directory)
    try link("sys/bus/pci/devices/\(address)", to: "../../../devices/pci0000:00/\(address)")
    try file(directory + "/vendor", "0x\(hexDigits(function.vendor, 4))\n")
    try file(directory + "/device", "0x\(hexDigits(function.device, 4))\n")
    try file(directory + "/class", "0x\(hexDigits(function.classCode, 6))\n")
    try file(directory + "/revision", "0x\(hexDigits(function.revision, 2))\n")
    if let subsystem = function.subsystem {
      try file(directory + "/subsystem_vendor", "0x\(hexDigits(subsystem.0, 4))\n")
      try file(directory + "/subsystem_device", "0x\(hexDigits(subsystem.1, 4))\n")
    }
    try file(directory + "/numa_node", "\(function.numaNode)\n")
    try file(directory + "/enable", function.driver == nil ? "0\n" : "1\n")
    try file(directory + "/driver_override", "(null)\n")
    try file(directory + "/config", function.configuration)
    try file(
      directory + "/resource",
      function.resources.map {
        "0x\(hexDigits($0.0, 16)) 0x\(hexDigits($0.1, 16)) 0x\(hexDigits($0.2, 16))\n"
      }.joined())
    if let group = function.group {
      try link(
        "sys/kernel/iommu_groups/\(group)/devices/\(address)",
        to: "../../../../devices/pci0000:00/\(address)")
      try link(directory + "/iommu_group", to: "../../../kernel/iommu_groups/\(group)")
    }
    if let driver = function.driver { try addDriver(driver) }
    setDriver(address, function.driver)
  }

  /// Loads a driver, bound to nothing.
  package func addDriver(_ name: String) throws {
    for file in ["bind", "unbind", "new_id"] {
      try self.file("sys/bus/pci/drivers/\(name)/\(file)", "")
    }
  }

  package func driver(_ address: String) -> String? {
    HostFiles().linkName(root + "/" + Self.directory(address) + "/driver")
  }

  package func setDriver(_ address: String, _ name: String?) {
    let path = Self.directory(address) + "/driver"
    delete(path)
    if let name { try? link(path, to: "../../../bus/pci/drivers/\(name)") }
  }

  /// A DMA channel of a function with a number of clients.
  package func addDMAChannel(_ name: String, of address: String, clients: Int) throws {
    let directory = Self.directory(address) + "/dma/\(name)"
    try file(directory + "/in_use", "\(clients)\n")
    try link("sys/class/dma/\(name)", to: "../../devices/pci0000:00/\(address)/dma/\(name)")
  }

  /// A network interface of a function.
  package func addNetwork(_ name: String, of address: String, flags: String) throws {
    let directory = Self.directory(address) + "/virtio0/net/\(name)"
    try file(directory + "/flags", flags + "\n")
    try link("sys/class/net/\(name)", to: "../../devices/pci0000:00/\(address)/virtio0/net/\(name)")
  }

  /// A disk of a function with one partition.
  package func addDisk(
    _ name: String, of address: String, number: String, partition: String, size: Int = 2048
  ) throws {
    let directory = Self.directory(address) + "/nvme/nvme0/\(name)"
    let target = "../../devices/pci0000:00/\(address)/nvme/nvme0/\(name)"
    try file(directory + "/size", "\(size)\n")
    try file(directory + "/dev", number + "\n")
    try file(directory + "/\(name)p1/partition", "1\n")
    try file(directory + "/\(name)p1/dev", partition + "\n")
    try link("sys/class/block/\(name)", to: target)
    try link("sys/class/block/\(name)p1", to: target + "/\(name)p1")
  }

  /// A process that has files open.
  package func addProcess(_ id: Int, command: String, open paths: [String]) throws {
    try file("proc/\(id)/comm", command + "\n")
    for (index, path) in paths.enumerated() {
      try link("proc/\(id)/fd/\(index + 3)", to: path)
    }
  }
}

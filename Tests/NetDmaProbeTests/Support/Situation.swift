// SPDX-License-Identifier: Apache-2.0

import Glibc
import NetDmaVFIO
import TestSupport

/// A machine as people meet it, and what doctor should say of it.
struct Situation: Sendable, CustomStringConvertible {
  let description: String
  /// The checks that fail, in order.
  let failed: [String]
  /// A piece of the advice that is given.
  let advice: String
  /// The exit status without a proof.
  var status: Int32 = 69
  /// What is different from a machine on which everything is right.
  let change: @Sendable (SysFSTree) throws -> Void

  static let device = "0000:00:04.0"

  /// The machine's tree.
  func tree() throws -> SysFSTree {
    let tree = try SysFSTree()
    try Self.healthy(tree)
    try change(tree)
    return tree
  }

  /// The engine with vfio-pci, alone in group 7, and a user "alice" who may open it.
  private static func healthy(_ tree: SysFSTree) throws {
    try engine(tree)
    try tree.addDriver("vfio-pci")
    try tree.file("sys/class/iommu/dmar0/intel-iommu/version", "1:0\n")
    try tree.file("sys/firmware/acpi/tables/DMAR", "")
    try tree.file("sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts", "N\n")
    try tree.file("sys/kernel/security/lockdown", "[none] integrity confidentiality\n")
    try tree.file("sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages", "64\n")
    try tree.file("sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages", "60\n")
    try tree.file(
      "sys/kernel/iommu_groups/7/reserved_regions",
      "0x00000000fee00000 0x00000000feefffff msi\n")
    try tree.file("proc/cmdline", "BOOT_IMAGE=/vmlinuz root=/dev/sda1 intel_iommu=on iommu=pt\n")
    try tree.file("proc/cpuinfo", "processor : 0\nflags : fpu vme de\n")
    try tree.file("proc/interrupts", "  0:  38  IR-IO-APIC  2-edge  timer\n")
    try limit(tree, "unlimited")
    // Nobody whose files these are, so that permission bits decide whoever runs the test.
    let user = geteuid() + 1000
    try tree.file(
      "proc/self/status",
      "Name:\tprobe\nUid:\t\(user)\t\(user)\t\(user)\t\(user)\nGid:\t\(user)\t\(user)\n"
        + "Groups:\t\nCapEff:\t0000000000000000\n")
    try tree.file("etc/passwd", "root:x:0:0::/root:/bin/sh\nalice:x:\(user):\(user)::/:/bin/sh\n")
    try tree.file("etc/default/grub", "GRUB_CMDLINE_LINUX=\"quiet\"\n")
    try tree.file("usr/sbin/update-grub", "")
    try node(tree, "vfio", 0o666)
    try node(tree, "7", 0o666)
  }

  private static func engine(
    _ tree: SysFSTree, driver: String? = "vfio-pci", group: Int? = 7, device: UInt16 = 0x2021
  ) throws {
    tree.delete(SysFSTree.directory(Self.device))
    try tree.add(Self.device) {
      $0.driver = driver
      $0.group = group
      $0.device = device
    }
  }

  private static func limit(_ tree: SysFSTree, _ value: String) throws {
    try tree.file(
      "proc/self/limits",
      "Limit                     Soft Limit           Hard Limit           Units     \n"
        + "Max locked memory         \(value)            \(value)            bytes     \n")
  }

  private static func node(_ tree: SysFSTree, _ name: String, _ mode: mode_t) throws {
    try tree.file("dev/vfio/\(name)", "")
    chmod(tree.root + "/dev/vfio/" + name, mode)
  }

  private static func withoutIOMMU(_ tree: SysFSTree) throws {
    tree.delete("sys/class/iommu")
    tree.delete("sys/kernel/iommu_groups/7")
    tree.delete("dev/vfio/7")
    try engine(tree, driver: "ioatdma", group: nil)
  }

  static let all: [Situation] = [
    Situation(
      description: "healthy", failed: [], advice: "no copy was made", change: { _ in }),
    Situation(
      description: "iommu-off-in-firmware", failed: ["iommu-firmware", "iommu-kernel", "driver"],
      advice: "VT-d"
    ) {
      try withoutIOMMU($0)
      $0.delete("sys/firmware/acpi/tables/DMAR")
      try $0.file("proc/cmdline", "root=/dev/sda1\n")
    },
    Situation(
      description: "iommu-off-in-kernel", failed: ["iommu-kernel", "driver"],
      advice: "sudo update-grub"
    ) {
      try withoutIOMMU($0)
      try $0.file("proc/cmdline", "root=/dev/sda1 quiet\n")
    },
    Situation(
      description: "iommu-turned-off", failed: ["iommu-kernel", "driver"],
      advice: "sudo grubby --update-kernel=ALL"
    ) {
      try withoutIOMMU($0)
      try $0.file("proc/cmdline", "root=/dev/sda1 intel_iommu=off\n")
      try $0.file("usr/sbin/grubby", "")
    },
    Situation(
      description: "guest-without-iommu", failed: ["iommu-firmware", "iommu-kernel", "driver"],
      advice: "-device intel-iommu"
    ) {
      try withoutIOMMU($0)
      $0.delete("sys/firmware/acpi/tables/DMAR")
      try $0.file("proc/cmdline", "root=/dev/vda1\n")
      try $0.file("proc/cpuinfo", "processor : 0\nflags : fpu hypervisor\n")
    },
    Situation(
      description: "no-interrupt-remapping", failed: ["interrupt-remapping"], advice: "x2APIC"
    ) { try $0.file("proc/interrupts", "  0:  38  IO-APIC  2-edge  timer\n") },
    Situation(
      description: "no-vfio-module", failed: ["vfio-modules", "vfio-node", "driver"],
      advice: "sudo modprobe vfio-pci"
    ) {
      $0.delete("sys/bus/pci/drivers/vfio-pci")
      $0.delete("sys/module/vfio_iommu_type1")
      $0.delete("dev/vfio")
      try engine($0, driver: "ioatdma")
    },
    Situation(
      description: "no-type1-module", failed: ["vfio-modules"],
      advice: "sudo modprobe vfio_iommu_type1"
    ) { $0.delete("sys/module/vfio_iommu_type1") },
    Situation(
      description: "ioatdma-bound", failed: ["driver"],
      advice: "sudo netdma-probe bind 0000:00:04.0"
    ) { try engine($0, driver: "ioatdma") },
    Situation(
      description: "ioatdma-in-use", failed: ["driver"], advice: "dma0chan0 (2 clients)"
    ) {
      try engine($0, driver: "ioatdma")
      try $0.addDMAChannel("dma0chan0", of: device, clients: 2)
    },
    Situation(description: "no-driver", failed: ["driver"], advice: "netdma-probe bind") {
      try engine($0, driver: nil)
    },
    Situation(
      description: "group-shared-with-nic", failed: ["group-viable"],
      advice: "bind 0000:00:04.0 --group-ok"
    ) {
      try $0.add("0000:00:19.0") {
        $0.device = 0x1533
        $0.classCode = 0x02_00_00
        $0.driver = "igb"
        $0.group = 7
      }
    },
    Situation(
      description: "group-with-bridge", failed: ["group-viable"], advice: "ACS"
    ) {
      try $0.add("0000:00:1c.0") {
        $0.device = 0xa190
        $0.classCode = 0x06_04_00
        $0.driver = "shpchp"
        $0.group = 7
      }
    },
    Situation(
      description: "no-permission", failed: ["permission"], advice: "--user alice", status: 77
    ) { try node($0, "7", 0o600) },
    Situation(
      description: "container-node-closed", failed: ["vfio-node"],
      advice: "sudo chmod 0666 /dev/vfio/vfio", status: 77
    ) { try node($0, "vfio", 0o600) },
    Situation(
      description: "noiommu", failed: ["group-node"], advice: "enable_unsafe_noiommu_mode"
    ) {
      $0.delete("dev/vfio/7")
      try node($0, "noiommu-7", 0o600)
    },
    Situation(
      description: "memlock-too-small", failed: ["memlock"],
      advice: "sudo prlimit --pid $$ --memlock=unlimited:unlimited", status: 77
    ) { try limit($0, "65536") },
    Situation(
      description: "memlock-of-a-distribution", failed: [], advice: "enough for small copies"
    ) { try limit($0, "8388608") },
    Situation(
      description: "device-gone", failed: ["device"], advice: "/sys/bus/pci/rescan"
    ) {
      $0.delete(SysFSTree.directory(device))
      $0.delete("sys/bus/pci/devices/" + device)
    },
    Situation(
      description: "device-silent", failed: ["device"],
      advice: "/sys/bus/pci/devices/0000:00:04.0/remove"
    ) {
      try $0.file(
        SysFSTree.directory(device) + "/config", [UInt8](repeating: 0xff, count: 64))
    },
    Situation(
      description: "engine-too-old", failed: ["device"], advice: "version 1 engine"
    ) { try engine($0, device: 0x1a38) },
    Situation(
      description: "group-missing", failed: ["group"], advice: "DMAR table does not cover"
    ) {
      $0.delete("sys/kernel/iommu_groups/7")
      try engine($0, group: nil)
    },
    Situation(description: "rmrr", failed: ["reserved"], advice: "RMRR") {
      try $0.file(
        "sys/kernel/iommu_groups/7/reserved_regions",
        "0x000000007b000000 0x000000007f7fffff direct\n"
          + "0x00000000fee00000 0x00000000feefffff msi\n")
    },
    Situation(description: "group-busy", failed: ["in-use"], advice: "sudo kill 4711") {
      try $0.addProcess(4711, command: "qemu", open: [$0.root + "/dev/vfio/7"])
    },
    Situation(
      description: "docker-without-nodes", failed: ["vfio-node", "group-node"],
      advice: "--device /dev/vfio/7"
    ) {
      try $0.file(".dockerenv", "")
      $0.delete("dev/vfio")
    },
  ]
}

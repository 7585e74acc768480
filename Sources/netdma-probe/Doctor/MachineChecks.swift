// SPDX-License-Identifier: Apache-2.0

import NetDmaVFIO

/// The preconditions that hold for every device of a machine, in the order in which they build on
/// one another.
struct MachineChecks {
  let machine: DoctorMachine

  /// Every check.
  var results: [CheckResult] {
    [
      engines, firmware, commandLine, interruptRemapping, modules, container, node, lockdown,
      lockedMemory, hugePages,
    ]
  }

  private func result(
    _ id: String, _ title: String, _ state: CheckResult.State, _ detail: String,
    fix: [String] = [], isPermission: Bool = false
  ) -> CheckResult {
    CheckResult(id, .machine, title, state, detail, fix: fix, isPermission: isPermission)
  }

  // MARK: - Hardware and IOMMU

  private var engines: CheckResult {
    let title = "DMA engine"
    let found = machine.engines
    guard let first = found.first else {
      guard machine.exists("/sys/bus/pci/devices") else {
        return result(
          "engine", title, .failed, "this machine shows no PCI bus",
          fix: ["netdma-probe verify --mock"])
      }
      return result(
        "engine", title, .failed, "none on the PCI bus",
        fix: machine.isGuest
          ? ["(host) pass an engine to this guest", "netdma-probe verify --mock"]
          : [
            "(firmware) turn on: Intel I/OAT, QuickData or Crystal Beach DMA",
            "netdma-probe verify --mock",
          ])
    }
    return result("engine", title, .ok, "\(found.count), \(first.id)")
  }

  private var isIOMMUOn: Bool { !machine.iommus.isEmpty }

  private var hasTable: Bool? {
    guard machine.exists("/sys/firmware/acpi/tables") else { return nil }
    return ["DMAR", "IVRS"].contains { machine.exists("/sys/firmware/acpi/tables/\($0)") }
  }

  private var firmware: CheckResult {
    let title = "IOMMU in firmware"
    if isIOMMUOn { return result("iommu-firmware", title, .ok, "on") }
    switch hasTable {
    case true?:
      return result("iommu-firmware", title, .ok, "on, by its ACPI table")
    case false?:
      return result(
        "iommu-firmware", title, .failed, "off: there is no ACPI table of it",
        fix: machine.isGuest
          ? ["(host) QEMU: -device intel-iommu,intremap=on,caching-mode=on"]
          : ["(firmware) turn on: VT-d, Intel Virtualization Technology for Directed I/O"])
    case nil:
      return result(
        "iommu-firmware", title, .unknown, "the ACPI tables are not visible here")
    }
  }

  private var commandLine: CheckResult {
    let title = "IOMMU in kernel"
    if isIOMMUOn {
      let list = machine.iommus.joined(separator: ", ")
      return result("iommu-kernel", title, .ok, "on (\(list))")
    }
    let options = (machine.text("/proc/cmdline") ?? "").split(separator: " ").map(String.init)
    let off = options.filter { ["intel_iommu=off", "iommu=off", "amd_iommu=off"].contains($0) }
    if !off.isEmpty {
      return result(
        "iommu-kernel", title, .failed, "turned off by \(off.joined(separator: " "))",
        fix: ["(boot loader) remove from the kernel's command line: \(off.joined(separator: " "))"]
          + machine.addingToKernelCommandLine("intel_iommu=on iommu=pt"))
    }
    if options.contains("intel_iommu=on") {
      let isFirmware = hasTable == false
      return result(
        "iommu-kernel", title, isFirmware ? .unknown : .failed,
        isFirmware
          ? "asked for, but firmware offers none" : "asked for, but no IOMMU came up",
        fix: isFirmware ? [] : [machine.asRoot("dmesg | grep -i -e DMAR -e IOMMU")])
    }
    return result(
      "iommu-kernel", title, .failed, "off: booted without intel_iommu=on",
      fix: machine.addingToKernelCommandLine("intel_iommu=on iommu=pt"))
  }

  private var interruptRemapping: CheckResult {
    let title = "Interrupt remapping"
    guard isIOMMUOn else {
      return result("interrupt-remapping", title, .unknown, "the IOMMU is off")
    }
    guard let interrupts = machine.text("/proc/interrupts") else {
      return result("interrupt-remapping", title, .unknown, "/proc/interrupts is not readable")
    }
    if interrupts.contains(" IR-") { return result("interrupt-remapping", title, .ok, "on") }
    let parameter = "/sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts"
    if machine.text(parameter) == "Y" {
      return result(
        "interrupt-remapping", title, .unknown,
        "off, and allowed to be: a device may forge interrupts")
    }
    return result(
      "interrupt-remapping", title, .failed, "off: VFIO refuses devices without it",
      fix: [
        "(firmware) turn on: x2APIC, interrupt remapping",
        "(unsafe, last resort) " + machine.writing("1", to: parameter),
      ])
  }

  // MARK: - VFIO

  private var modules: CheckResult {
    let title = "VFIO modules"
    var missing: [String] = []
    if !machine.exists("/sys/bus/pci/drivers/vfio-pci") { missing.append("vfio-pci") }
    // Without the group interface's IOMMU driver iommufd does.
    if !machine.exists("/sys/module/vfio_iommu_type1"), !machine.exists("/sys/module/iommufd") {
      missing.append("vfio_iommu_type1")
    }
    guard missing.isEmpty else {
      return result(
        "vfio-modules", title, .failed, "not loaded: \(missing.joined(separator: ", "))",
        fix: missing.map { machine.asHostRoot("modprobe \($0)") }
          + missing.map {
            machine.onHost
              + machine.writing($0, to: "/etc/modules-load.d/vfio.conf", appending: true)
          })
    }
    return result("vfio-modules", title, .ok, "loaded")
  }

  private var container: CheckResult {
    let title = "Container"
    guard let kind = machine.container else { return result("container", title, .ok, "none") }
    return result(
      "container", title, .unknown,
      "\(kind): drivers are bound on the host, and nodes must be passed",
      fix: ["(host) start it with: --device /dev/vfio/vfio --device /dev/vfio/GROUP"])
  }

  private var node: CheckResult {
    let title = "VFIO container node"
    let path = "/dev/vfio/vfio"
    if machine.exists("/dev/iommu"), machine.mayOpen("/dev/iommu"), !machine.exists(path) {
      return result("vfio-node", title, .ok, "/dev/iommu")
    }
    guard machine.exists(path) else {
      return result(
        "vfio-node", title, .failed, "\(path) is missing",
        fix: machine.container == nil
          ? [machine.asRoot("modprobe vfio")]
          : ["(host) start the container with: --device \(path)"])
    }
    guard machine.mayOpen(path) else {
      return result(
        "vfio-node", title, .failed, "\(path) may not be opened by \(machine.userName)",
        fix: [machine.asRoot("chmod 0666 \(path)")], isPermission: true)
    }
    return result("vfio-node", title, .ok, path)
  }

  private var lockdown: CheckResult {
    let title = "Kernel lockdown"
    guard let text = machine.text("/sys/kernel/security/lockdown") else {
      return result("lockdown", title, .ok, "none")
    }
    let mode = text.split(separator: " ").first { $0.hasPrefix("[") } ?? "[none]"
    let name = String(mode.dropFirst().dropLast())
    // VFIO is the way that lockdown leaves open.
    return result("lockdown", title, .ok, name == "none" ? name : "\(name): VFIO is allowed")
  }

  // MARK: - Memory

  /// What the copy that proves it needs: a ring, a page of status and two buffers.
  static let leastLockedMemory: UInt64 = 1 << 20
  /// What `verify` needs with its defaults.
  private static let usefulLockedMemory: UInt64 = 128 << 20

  private var lockedMemory: CheckResult {
    let title = "Locked memory"
    let process = machine.process
    if process.mayLockMemory {
      return result("memlock", title, .ok, "unlimited (CAP_IPC_LOCK)")
    }
    guard process.knowsLockedMemoryLimit else {
      return result("memlock", title, .unknown, "the limit is not visible here")
    }
    guard let limit = process.lockedMemoryLimit else {
      return result("memlock", title, .ok, "unlimited")
    }
    let fix =
      machine.container == nil
      ? [
        "sudo prlimit --pid $$ --memlock=unlimited:unlimited",
        machine.writing(
          "'\(machine.userName) - memlock unlimited'",
          to: "/etc/security/limits.d/90-netdma.conf", appending: true),
        "(then log in again)",
      ]
      : ["(host) start the container with: --ulimit memlock=-1:-1"]
    let found = "RLIMIT_MEMLOCK is \(byteCount(limit))"
    if limit < Self.leastLockedMemory {
      return result(
        "memlock", title, .failed, "\(found), too little for any copy", fix: fix,
        isPermission: true)
    }
    if limit < Self.usefulLockedMemory {
      return result("memlock", title, .unknown, "\(found), enough for small copies", fix: fix)
    }
    return result("memlock", title, .ok, found)
  }

  private var hugePages: CheckResult {
    let title = "Huge pages"
    let directory = "/sys/kernel/mm/hugepages"
    let sizes: [(name: String, total: Int, free: Int)] = machine.entries(directory).compactMap {
      guard let total = machine.text("\(directory)/\($0)/nr_hugepages").flatMap({ Int($0) }),
        total > 0
      else { return nil }
      let free = machine.text("\(directory)/\($0)/free_hugepages").flatMap { Int($0) } ?? 0
      return (String($0.dropFirst("hugepages-".count)), total, free)
    }
    guard !sizes.isEmpty else {
      return result(
        "hugepages", title, .unknown, "none; copies work without, large buffers are faster with",
        fix: [machine.asHostRoot("sysctl -w vm.nr_hugepages=64")])
    }
    let words = sizes.map { "\($0.free) of \($0.total) free (\($0.name))" }
    return result("hugepages", title, .ok, words.joined(separator: ", "))
  }
}

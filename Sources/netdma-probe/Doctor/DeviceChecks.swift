// SPDX-License-Identifier: Apache-2.0

import NetDmaVFIO

/// The preconditions of one function, in the order in which they build on one another.
struct DeviceChecks {
  let machine: DoctorMachine
  let address: PCIAddress

  private var node: SysFSDevice { machine.host.node(address) }
  private var isIOMMUOn: Bool { !machine.iommus.isEmpty }
  private var isBound: Bool { node.driver.map(VFIODrivers.isVFIO) ?? false }

  /// Every check; only the first for a function that is not there.
  var results: [CheckResult] {
    let presence = presence
    guard presence.state != .failed else { return [presence] }
    return [presence, group, reserved, driver, viability, groupNode, permission, users]
  }

  private func result(
    _ id: String, _ title: String, _ state: CheckResult.State, _ detail: String,
    fix: [String] = [], isPermission: Bool = false
  ) -> CheckResult {
    CheckResult(id, .device, title, state, detail, fix: fix, isPermission: isPermission)
  }

  private func bind(_ more: String = "") -> String {
    machine.asRoot("netdma-probe bind \(address)\(more)")
  }

  // MARK: - The function

  private var presence: CheckResult {
    let title = "Device"
    let rescan = machine.writing("1", to: "/sys/bus/pci/rescan")
    guard node.exists else {
      return result(
        "device", title, .failed, "there is no PCI device \(address)",
        fix: [rescan, "netdma-probe list"])
    }
    let image = ConfigurationImage(sysfsDirectory: node.directory)
    if image.read(at: 0, .word) == 0xffff {
      return result(
        "device", title, .failed, "it does not answer: configuration space reads all-ones",
        fix: [
          machine.writing("1", to: machine.shown(node.directory) + "/remove"), rescan,
        ])
    }
    guard let engine = machine.engine(at: address) else {
      return result(
        "device", title, .failed, "not an IOAT engine that is known", fix: ["netdma-probe list"])
    }
    if let refusal = engine.refusal {
      return result("device", title, .failed, refusal, fix: ["netdma-probe list"])
    }
    return result("device", title, .ok, engine.description)
  }

  private var group: CheckResult {
    let title = "IOMMU group"
    if let group = node.iommuGroup { return result("group", title, .ok, "\(group)") }
    guard isIOMMUOn else { return result("group", title, .unknown, "the IOMMU is off") }
    return result(
      "group", title, .failed, "none, though the IOMMU is on: firmware left the device out",
      fix: ["(firmware) update it; its DMAR table does not cover the device"])
  }

  private var reserved: CheckResult {
    let title = "Reserved memory"
    guard let group = node.iommuGroup else {
      return result("reserved", title, .unknown, "no group yet")
    }
    let text = machine.text("/sys/kernel/iommu_groups/\(group)/reserved_regions") ?? ""
    let regions: [[Substring]] = text.split(separator: "\n").map { $0.split(separator: " ") }
    let direct = regions.filter { $0.count == 3 && $0[2] == "direct" }
    guard let first = direct.first else {
      return result("reserved", title, .ok, "none by firmware")
    }
    return result(
      "reserved", title, .failed, "firmware keeps \(first[0])-\(first[1]) mapped for it (RMRR)",
      fix: ["(firmware) turn off what uses the device there, or its RMRR"])
  }

  // MARK: - Drivers

  private var driver: CheckResult {
    let title = "Driver"
    guard let driver = node.driver else {
      return result("driver", title, .failed, "none", fix: [bind()])
    }
    guard VFIODrivers.isVFIO(driver) else {
      let users = DeviceUseFinder(paths: machine.host.paths, files: machine.host.files)
        .uses(of: address)
      if let first = users.first {
        return result(
          "driver", title, .failed, "\(driver), in use: \(first)",
          fix: ["(stop what uses it)", bind()])
      }
      return result("driver", title, .failed, driver, fix: [bind()])
    }
    return result("driver", title, .ok, driver)
  }

  private var viability: CheckResult {
    let title = "Rest of the group"
    guard let group = node.iommuGroup else {
      return result("group-viable", title, .unknown, "no group yet")
    }
    let others = node.members(ofGroup: group).filter { $0.address != address }
    let blockers = others.filter(\.blocksGroup)
    guard blockers.isEmpty else {
      let isBridge = blockers.contains { $0.classCode.map { $0 >> 8 == 0x06 } ?? false }
      return result(
        "group-viable", title, .failed,
        "with kernel drivers: \(blockers.map(\.summary).joined(separator: ", "))",
        fix: isBridge
          ? ["(firmware) turn on ACS, or use another slot: vfio-pci takes no bridges"]
          : [bind(" --group-ok --dry-run"), bind(" --group-ok")])
    }
    return result(
      "group-viable", title, .ok,
      others.isEmpty ? "alone" : "\(others.count) more, none with a kernel driver")
  }

  // MARK: - The group's node

  private var groupPath: String? {
    node.iommuGroup.map { machine.shown(machine.host.groupPath($0)) }
  }

  private var groupNode: CheckResult {
    let title = "Group node"
    guard let group = node.iommuGroup, let path = groupPath, isBound else {
      return result("group-node", title, .unknown, "appears when the device is bound")
    }
    if machine.host.files.exists(machine.host.noIOMMUPath(group)) {
      let parameter = "/sys/module/vfio/parameters/enable_unsafe_noiommu_mode"
      return result(
        "group-node", title, .failed,
        "\(machine.shown(machine.host.noIOMMUPath(group))): bound without an IOMMU",
        fix: [
          machine.writing("0", to: parameter), machine.asRoot("netdma-probe unbind \(address)"),
          bind(),
        ])
    }
    guard machine.exists(path) else {
      return result(
        "group-node", title, .failed, "\(path) is missing",
        fix: machine.container == nil
          ? [machine.asRoot("netdma-probe unbind \(address)"), bind()]
          : ["(host) start the container with: --device \(path)"])
    }
    let number = "\(machine.host.paths.sysfs)/class/vfio/\(group)/dev"
    if machine.host.isStale(machine.host.groupPath(group), numberFile: number) {
      return result(
        "group-node", title, .failed, "\(path) is of an earlier binding",
        fix: ["(host) start the container again"])
    }
    return result("group-node", title, .ok, path)
  }

  private var permission: CheckResult {
    let title = "Permission"
    guard isBound, let group = node.iommuGroup, let path = groupPath, machine.exists(path) else {
      return result("permission", title, .unknown, "there is no node yet")
    }
    let user = machine.userName
    guard machine.mayOpen(path) else {
      // This group's node only: who may open a group controls every device in it.
      let rule = "'SUBSYSTEM==\"vfio\", KERNEL==\"\(group)\", OWNER=\"\(user)\"'"
      return result(
        "permission", title, .failed, "\(user) may not open \(path)",
        fix: machine.container == nil
          ? [
            bind(" --user \(user)"),
            machine.writing(rule, to: "/etc/udev/rules.d/90-netdma.rules", appending: true),
          ] : ["(host) sudo chown \(machine.process.user.map(String.init) ?? user) \(path)"],
        isPermission: true)
    }
    return result("permission", title, .ok, "\(user) may open \(path)")
  }

  private var users: CheckResult {
    let title = "Other users"
    guard isBound else { return result("in-use", title, .unknown, "not bound yet") }
    let users = DeviceUseFinder(paths: machine.host.paths, files: machine.host.files)
      .uses(of: address)
    if let first = users.first, case .process(let id, _) = first {
      return result(
        "in-use", title, .failed, users.map(\.description).joined(separator: ", "),
        fix: [machine.asRoot("kill \(id)")])
    }
    return result(
      "in-use", title, .ok, machine.process.isRoot ? "none" : "none that \(machine.userName) sees")
  }
}

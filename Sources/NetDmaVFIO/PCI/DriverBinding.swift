// SPDX-License-Identifier: Apache-2.0

public import Logging
import SystemPackage

/// Hands PCI functions from kernel drivers to vfio-pci and back, by driver_override.
///
/// One function after another, and one process at a time, since parallel unbinding of ioatdma has
/// crashed kernels. What a step fails to do is undone. Never new_id, which takes every
/// function with the same device id, those in use by the kernel included.
///
/// A write to sysfs returns when the driver has let go; no time limit can be put on that, so users
/// are looked for first.
public struct DriverBinding: Sendable {
  private let paths: HostPaths
  private let files: any SystemFiles
  private let records: BindingRecords
  private let logger: Logger

  /// Binding on this machine, or on the tree that `paths` leads to.
  public init(paths: HostPaths = .host, logger: Logger = Logger(label: "netdma.bind")) {
    self.init(paths: paths, files: HostFiles(), logger: logger)
  }

  package init(paths: HostPaths, files: any SystemFiles, logger: Logger) {
    self.paths = paths
    self.files = files
    self.logger = logger
    records = BindingRecords(paths: paths, files: files)
  }

  /// How long another process may hold the lock: binding eight functions takes a second or two.
  private static let lockTimeout = Duration.seconds(10)

  // MARK: - Looking

  /// Who uses the function now.
  public func uses(of address: PCIAddress) -> [DeviceUse] {
    DeviceUseFinder(paths: paths, files: files).uses(of: address)
  }

  /// What `bind` would do.
  ///
  /// - Throws: `PCIError.noSuchDevice`, `.notAnEngine`, `.noIOMMUGroup`, `.driverNotLoaded`,
  ///   `.groupShared`, `.inUse`.
  public func planToBind(
    _ address: PCIAddress, options: BindingOptions = []
  ) throws(PCIError) -> BindingPlan {
    let node = try existing(address)
    if !options.contains(.force) { try refuseOthers(node) }
    guard let group = node.iommuGroup else { throw .noIOMMUGroup(device: address.description) }
    guard files.exists("\(paths.sysfs)/bus/pci/drivers/\(VFIODrivers.pci)") else {
      throw .driverNotLoaded(device: address.description, driver: VFIODrivers.pci)
    }
    let blockers = node.members(ofGroup: group).filter { $0.address != address && $0.blocksGroup }
    // vfio-pci takes no bridges, so nothing helps a group with a bridge that blocks it.
    let isBridge = { (member: PCIGroupMember) in member.classCode.map { $0 >> 8 == 0x06 } ?? false }
    guard blockers.isEmpty || (options.contains(.wholeGroup) && !blockers.contains(where: isBridge))
    else {
      throw .groupShared(
        device: address.description, group: group, others: blockers.map(\.summary))
    }
    let taken = ([address] + blockers.map(\.address)).sorted().filter { address in
      let driver = self.node(address).driver
      return !(driver.map(VFIODrivers.isVFIO) ?? false)
    }
    if !options.contains(.force) { try refuseUsed(taken, for: address) }
    return BindingPlan(address: address, changes: taken.map(changeToVFIO), group: group)
  }

  /// What `unbind` would do.
  ///
  /// - Throws: `PCIError.noSuchDevice`, `.badRecord`, `.driverNotLoaded`, `.inUse`.
  public func planToUnbind(
    _ address: PCIAddress, options: BindingOptions = []
  ) throws(PCIError) -> BindingPlan {
    let node = try existing(address)
    let group = node.iommuGroup
    var addresses = [address]
    if options.contains(.wholeGroup), let group {
      // Those that were taken along; others were with VFIO before.
      for member in node.members(ofGroup: group) where member.address != address {
        if try records.load(member.address) != nil { addresses.append(member.address) }
      }
    }
    let released = addresses.sorted().filter { address in
      self.node(address).driver.map(VFIODrivers.isVFIO) ?? false
    }
    if !options.contains(.force) { try refuseUsed(released, for: address) }
    var changes: [FunctionChange] = []
    for address in released {
      let change = changeFromVFIO(address, try records.load(address))
      if let driver = change.driver, !options.contains(.force),
        !files.exists("\(paths.sysfs)/bus/pci/drivers/\(driver)")
      {
        throw .driverNotLoaded(device: address.description, driver: driver)
      }
      changes.append(change)
    }
    return BindingPlan(address: address, changes: changes, group: group)
  }

  private func node(_ address: PCIAddress) -> SysFSDevice {
    SysFSDevice(address, paths: paths, files: files)
  }

  private func existing(_ address: PCIAddress) throws(PCIError) -> SysFSDevice {
    let node = node(address)
    guard node.exists else { throw .noSuchDevice(device: address.description) }
    return node
  }

  /// A mistyped address takes a disk or a network card away.
  private func refuseOthers(_ node: SysFSDevice) throws(PCIError) {
    guard let (vendor, device) = node.vendorAndDevice,
      IOATDeviceID(vendor: vendor, device: device) == nil
    else { return }
    let kind = node.classCode.map { ", class \(hexDigits($0, 4))" } ?? ""
    throw .notAnEngine(
      device: node.address.description,
      identity: "\(hexDigits(vendor, 4)):\(hexDigits(device, 4))\(kind)")
  }

  private func refuseUsed(_ taken: [PCIAddress], for address: PCIAddress) throws(PCIError) {
    let users = taken.flatMap { member in
      uses(of: member).map { member == address ? "\($0)" : "\($0) of \(member)" }
    }
    // Functions of a group are open together, so a process shows once.
    var unique: [String] = []
    for user in users where !unique.contains(user) { unique.append(user) }
    guard unique.isEmpty else { throw .inUse(device: address.description, users: unique) }
  }

  // MARK: - The writes

  private func overrideWrite(_ address: PCIAddress, _ driver: String?) -> SysFSWrite {
    SysFSWrite(path: node(address).directory + "/driver_override", value: driver ?? "\n")
  }

  private func unbindWrite(_ address: PCIAddress) -> SysFSWrite {
    SysFSWrite(path: node(address).directory + "/driver/unbind", value: address.name)
  }

  private func probeWrite(_ address: PCIAddress) -> SysFSWrite {
    SysFSWrite(path: paths.sysfs + "/bus/pci/drivers_probe", value: address.name)
  }

  private func changeToVFIO(_ address: PCIAddress) -> FunctionChange {
    let node = node(address)
    let driver = node.driver
    let former = node.driverOverride
    return FunctionChange(
      address: address, formerDriver: driver, formerOverride: former, driver: VFIODrivers.pci,
      kernelChooses: false,
      writes: [overrideWrite(address, VFIODrivers.pci)]
        + (driver == nil ? [] : [unbindWrite(address)]) + [probeWrite(address)],
      // Left in place it would keep the former driver from coming back for whoever unbinds by hand.
      finalWrites: former == VFIODrivers.pci ? [] : [overrideWrite(address, former)])
  }

  private func changeFromVFIO(_ address: PCIAddress, _ record: BindingRecord?) -> FunctionChange {
    let node = node(address)
    let former = node.driverOverride
    let wanted = record?.driverOverride
    // Without a record the kernel chooses; with one that names no driver nobody is asked.
    let staysUnbound = record.map { $0.driver == nil } ?? false
    return FunctionChange(
      address: address, formerDriver: node.driver, formerOverride: former, driver: record?.driver,
      kernelChooses: record == nil,
      writes: (former == wanted ? [] : [overrideWrite(address, wanted)]) + [unbindWrite(address)]
        + (staysUnbound ? [] : [probeWrite(address)]),
      finalWrites: [])
  }

  // MARK: - Doing

  /// Binds the function to vfio-pci, and its group where `options` says so.
  ///
  /// Does nothing when that is so already. Returns what was done.
  ///
  /// - Throws: what `planToBind` throws, `PCIError.permissionDenied`, `.locked`, `.badRecord`,
  ///   `.bindFailed`, `.deviceVanished`, `.undoFailed`, `.system`. After any of them but `.undoFailed`
  ///   every function is with its former driver.
  @discardableResult
  public func bind(
    _ address: PCIAddress, options: BindingOptions = []
  ) throws(PCIError) -> BindingPlan {
    let lock = try takeLock(address)
    defer { extendLifetime(lock) }
    let plan = try planToBind(address, options: options)
    try checkWritable(plan)
    var done: [FunctionChange] = []
    for change in plan.changes {
      do throws(PCIError) {
        try records.save(
          BindingRecord(driver: change.formerDriver, driverOverride: change.formerOverride),
          change.address)
        try make(change)
        done.append(change)
      } catch {
        try undo([change] + done.reversed(), after: error, forgetting: true)
      }
    }
    return plan
  }

  /// Gives the function back to the driver it had before `bind`, or lets the kernel choose.
  ///
  /// Does nothing when it is not with VFIO. Returns what was done.
  ///
  /// - Throws: what `planToUnbind` throws, and as `bind`. The function that an error names is with VFIO
  ///   as before; those of the group that came before it have been given back.
  @discardableResult
  public func unbind(
    _ address: PCIAddress, options: BindingOptions = []
  ) throws(PCIError) -> BindingPlan {
    let lock = try takeLock(address)
    defer { extendLifetime(lock) }
    let plan = try planToUnbind(address, options: options)
    try checkWritable(plan)
    for change in plan.changes {
      do throws(PCIError) {
        try make(change, isForced: options.contains(.force))
      } catch {
        try undo([change], after: error, forgetting: false)
      }
      records.forget(change.address)
    }
    // A record of a function that somebody else gave back would mislead the next unbind.
    if !(node(address).driver.map(VFIODrivers.isVFIO) ?? false) { records.forget(address) }
    return plan
  }

  private func takeLock(_ address: PCIAddress) throws(PCIError) -> OwnedFileDescriptor {
    let path = paths.sysfs + "/bus/pci/devices"
    let lock: OwnedFileDescriptor?
    do throws(SystemCallError) {
      lock = try files.lock(path, until: Deadline(after: Self.lockTimeout))
    } catch {
      throw error.errno == .noSuchFileOrDirectory
        ? .noPCIBus(path: path) : .system(device: address.description, error: error)
    }
    guard let lock else {
      throw .locked(path: path, seconds: Double(Self.lockTimeout.components.seconds))
    }
    return lock
  }

  /// Before anything is changed.
  private func checkWritable(_ plan: BindingPlan) throws(PCIError) {
    for change in plan.changes {
      let path = overrideWrite(change.address, nil).path
      guard files.isReadableAndWritable(path) else {
        throw .permissionDenied(device: plan.address.description, path: path)
      }
    }
  }

  private func make(_ change: FunctionChange, isForced: Bool = false) throws(PCIError) {
    for write in change.writes { try perform(write, change.address) }
    try verify(change, isForced: isForced)
    for write in change.finalWrites { try perform(write, change.address) }
    logger.info(
      "driver changed",
      metadata: [
        "device": "\(change.address)", "from": "\(change.formerDriver ?? "none")",
        "to": "\(node(change.address).driver ?? "none")",
      ])
  }

  private func perform(_ write: SysFSWrite, _ address: PCIAddress) throws(PCIError) {
    logger.debug("\(write)")
    do throws(SystemCallError) {
      try files.write(write.value, to: write.path)
    } catch {
      guard node(address).exists else { throw .deviceVanished(device: address.description) }
      throw error.errno == .permissionDenied || error.errno == .readOnlyFileSystem
        ? .permissionDenied(device: address.description, path: write.path)
        : .system(device: address.description, error: error)
    }
  }

  private func verify(_ change: FunctionChange, isForced: Bool) throws(PCIError) {
    let name = change.address.description
    var found = node(change.address).driver
    if let wanted = change.driver, wanted != VFIODrivers.pci, found == nil {
      // The probe asks drivers in the kernel's order; the former one may need to be asked by name.
      let path = "\(paths.sysfs)/bus/pci/drivers/\(wanted)"
      if files.exists(path) {
        try perform(SysFSWrite(path: path + "/bind", value: change.address.name), change.address)
        found = node(change.address).driver
      }
    }
    guard node(change.address).exists else { throw .deviceVanished(device: name) }
    let isRight =
      change.kernelChooses
      ? !(found.map(VFIODrivers.isVFIO) ?? false)
      : found == change.driver || (isForced && found == nil)
    guard isRight else { throw .bindFailed(device: name, wanted: change.driver, found: found) }
  }

  /// Puts back what the changes made or began, newest first, and throws `failure`, or
  /// `PCIError.undoFailed` when not everything could be put back.
  private func undo(
    _ changes: [FunctionChange], after failure: PCIError, forgetting: Bool
  ) throws(PCIError) {
    var remaining: [String] = []
    for change in changes {
      let rest = restore(change)
      if rest.isEmpty, forgetting { records.forget(change.address) }
      remaining += rest
    }
    guard remaining.isEmpty else {
      throw .undoFailed(
        device: changes.first?.address.description ?? "", failure: failure.description,
        remaining: remaining)
    }
    throw failure
  }

  /// Brings a function back to where it was before a change; returns what would still be needed.
  private func restore(_ change: FunctionChange) -> [String] {
    let address = change.address
    let node = node(address)
    // What is gone needs nothing.
    guard node.exists else { return [] }
    if node.driver != change.formerDriver {
      // Only an override brings a function to vfio-pci.
      let isVFIO = change.formerDriver.map(VFIODrivers.isVFIO) ?? false
      attempt(overrideWrite(address, isVFIO ? change.formerDriver : change.formerOverride), address)
      if node.driver != nil { attempt(unbindWrite(address), address) }
      if change.formerDriver != nil { attempt(probeWrite(address), address) }
    }
    if let former = change.formerDriver, node.driver == nil {
      let path = "\(paths.sysfs)/bus/pci/drivers/\(former)/bind"
      attempt(SysFSWrite(path: path, value: address.name), address)
    }
    if node.driverOverride != change.formerOverride {
      attempt(overrideWrite(address, change.formerOverride), address)
    }
    guard node.exists else { return [] }
    var rest: [SysFSWrite] = []
    if node.driverOverride != change.formerOverride {
      rest.append(overrideWrite(address, change.formerOverride))
    }
    if node.driver != change.formerDriver {
      if node.driver != nil { rest.append(unbindWrite(address)) }
      if change.formerDriver != nil { rest.append(probeWrite(address)) }
    }
    return rest.map(\.description)
  }

  private func attempt(_ write: SysFSWrite, _ address: PCIAddress) {
    do throws(PCIError) {
      try perform(write, address)
    } catch {
      logger.warning("a step of putting back failed", metadata: ["reason": "\(error)"])
    }
  }
}

// SPDX-License-Identifier: Apache-2.0

import SystemPackage

/// What can go wrong when PCI functions are looked at or handed from driver to driver.
public enum PCIError: DiagnosticError, Equatable {
  /// sysfs shows no PCI bus: there is none, or /sys is not mounted.
  case noPCIBus(path: String)
  /// libpci could not read the bus; `reason` is its own message.
  case enumerationFailed(reason: String)
  /// There is no such function on this machine.
  case noSuchDevice(device: String)
  /// The function went away while it was looked at or bound.
  case deviceVanished(device: String)
  /// The function is none of the engines that this driver knows.
  case notAnEngine(device: String, identity: String)
  /// The device has no IOMMU group, so vfio-pci would refuse it.
  case noIOMMUGroup(device: String)
  /// The driver is not loaded.
  case driverNotLoaded(device: String, driver: String)
  /// Other functions of the group would have to leave their drivers too.
  case groupShared(device: String, group: Int, others: [String])
  /// Somebody uses what would be taken away: a DMA client, a disk, a network interface, a process.
  case inUse(device: String, users: [String])
  /// The function is not bound as it should be after the kernel was asked.
  case bindFailed(device: String, wanted: String?, found: String?)
  /// A step failed, and so did putting back what was changed before it.
  case undoFailed(device: String, failure: String, remaining: [String])
  /// Another process is binding functions and did not finish in time.
  case locked(path: String, seconds: Double)
  /// This user may not change drivers.
  case permissionDenied(device: String, path: String)
  /// The note about the former driver cannot be read or written.
  case badRecord(path: String, detail: String)
  /// A kernel call failed in a way that has no case of its own.
  case system(device: String, error: SystemCallError)

  /// What failed, and on which device.
  public var what: String {
    switch self {
    case .noPCIBus: "This machine shows no PCI bus."
    case .enumerationFailed: "The PCI bus could not be read."
    case .noSuchDevice(let device): "There is no PCI device \(device)."
    case .deviceVanished(let device): "\(device) went away."
    case .notAnEngine(let device, _): "\(device) was left with its driver."
    case .noIOMMUGroup(let device): "\(device) cannot be bound to vfio-pci."
    case .driverNotLoaded(let device, let driver):
      "\(device) cannot be bound to \(driver): the driver is not loaded."
    case .groupShared(let device, let group, _):
      "\(device) shares IOMMU group \(group) with functions of other drivers."
    case .inUse(let device, _): "\(device) is in use."
    case .bindFailed(let device, let wanted, _):
      wanted.map { "\(device) was not bound to \($0)." } ?? "\(device) was not unbound."
    case .undoFailed(let device, _, _):
      "\(device) could not be bound, and not everything that was changed could be put back."
    case .locked: "The drivers of PCI functions are being changed by another process."
    case .permissionDenied(let device, _):
      "The driver of \(device) may not be changed by this user."
    case .badRecord(let path, _): "The note about the former driver in \(path) cannot be used."
    case .system(let device, let error):
      "\(error.call) failed on \(error.subject) for \(device)."
    }
  }

  /// The cause, as far as it is known.
  public var why: String {
    switch self {
    case .noPCIBus(let path): "\(path) does not exist or is not readable."
    case .enumerationFailed(let reason): "libpci says: \(reason)."
    case .noSuchDevice: "sysfs has no entry for that address."
    case .deviceVanished: "It was removed, or lost its power, while it was being looked at."
    case .notAnEngine(_, let identity): "It is \(identity), and no IOAT engine that is known."
    case .noIOMMUGroup:
      "It has no IOMMU group, so the IOMMU is off in firmware or in the kernel."
    case .driverNotLoaded(_, let driver): "/sys/bus/pci/drivers has no \(driver)."
    case .groupShared(_, _, let others):
      "VFIO hands out whole groups, and this one also holds \(others.joined(separator: ", "))."
    case .inUse(_, let users): "It is used by \(users.joined(separator: ", "))."
    case .bindFailed(_, _, let found):
      found.map { "The kernel left it bound to \($0)." } ?? "The kernel left it without a driver."
    case .undoFailed(_, let failure, let remaining):
      failure + " Left to do: \(remaining.joined(separator: "; "))."
    case .locked(_, let seconds): "It did not finish within \(seconds) s."
    case .permissionDenied(_, let path): "\(path) is not writable for this user."
    case .badRecord(_, let detail): detail
    case .system(_, let error): "\(error)."
    }
  }

  /// The command or change that helps.
  public var remedy: String {
    switch self {
    case .noPCIBus: "Check that sysfs is mounted; without a PCI bus use --mock."
    case .enumerationFailed: "Compare with: lspci -D"
    case .noSuchDevice: "List the devices with: netdma-probe list --all"
    case .deviceVanished: "Rescan with: echo 1 > /sys/bus/pci/rescan"
    case .notAnEngine:
      "List the engines with: netdma-probe list; with --force it is taken all the same."
    case .noIOMMUGroup: "Turn on VT-d in the firmware and boot with intel_iommu=on iommu=pt."
    case .driverNotLoaded(_, let driver): "Load it with: modprobe \(driver)"
    case .groupShared(let device, _, _):
      "If none of these functions is needed, take them all with: "
        + "netdma-probe bind \(device) --group-ok"
    case .inUse: "Stop these users first; with --force they lose it."
    case .bindFailed: "Look at dmesg for the driver's reason."
    case .undoFailed: "Do these steps by hand as root, then look at dmesg."
    case .locked(let path, _): "Find it with: fuser -v \(path)"
    case .permissionDenied: "Run as root."
    case .badRecord(let path, _): "Remove it with: rm \(path)"
    case .system(_, let error):
      error.errno == .permissionDenied || error.errno == .notPermitted
        ? "Run as root." : "Look at dmesg for the kernel's reason."
    }
  }
}

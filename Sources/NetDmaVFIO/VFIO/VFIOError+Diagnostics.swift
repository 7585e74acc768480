// SPDX-License-Identifier: Apache-2.0

import SystemPackage

extension VFIOError {
  /// The device that every case names.
  public var device: String {
    switch self {
    case .noSuchDevice(let device), .noIOMMUGroup(let device), .vfioMissing(let device, _),
      .notBoundToVFIO(let device, _), .groupNotViable(let device, _, _), .busy(let device, _),
      .permissionDenied(let device, _), .unsupportedKernel(let device, _),
      .noIOMMUMode(let device), .platformRefused(let device, _), .staleNode(let device, _),
      .missingFeature(let device, _), .vectorsExhausted(let device, _, _, _),
      .configurationRefused(let device, _, _, _),
      .lockedMemoryLimit(let device, _, _), .mappingOverlaps(let device, _, _),
      .mappingCountExhausted(let device), .invalidMapping(let device, _, _, _),
      .unmapMismatch(let device, _, _, _), .iovaExhausted(let device, _),
      .invalidAccess(let device, _, _, _), .deviceGone(let device), .system(let device, _),
      .noServer(let device, _), .socketDenied(let device), .serverBusy(let device),
      .refused(let device, _, _),
      .protocolViolation(let device, _, _), .timedOut(let device, _, _),
      .disconnected(let device):
      device
    }
  }

  /// What failed, and on which device.
  public var what: String {
    switch self {
    case .noSuchDevice: "There is no PCI device \(device)."
    case .noIOMMUGroup: "\(device) cannot be used through VFIO."
    case .vfioMissing: "VFIO cannot be opened for \(device)."
    case .notBoundToVFIO: "\(device) is not bound to vfio-pci."
    case .groupNotViable(_, let group, _): "IOMMU group \(group) of \(device) is not viable."
    case .busy(_, let path): "\(device) is in use: \(path) is already open."
    case .permissionDenied(_, let path): "\(path) of \(device) may not be opened by this user."
    case .unsupportedKernel: "This kernel's VFIO cannot drive \(device)."
    case .noIOMMUMode: "\(device) is only offered without an IOMMU."
    case .platformRefused: "This machine's IOMMU does not let \(device) go."
    case .staleNode(_, let path): "\(path) does not stand for the group of \(device)."
    case .missingFeature(_, let feature): "\(device) has no \(feature)."
    case .vectorsExhausted(_, let kind, let wanted, _):
      "\(wanted) \(kind.label) vectors could not be connected for \(device)."
    case .lockedMemoryLimit(_, let needed, _):
      "\(needed) bytes could not be pinned for \(device)."
    case .mappingOverlaps(_, let iova, let size):
      "The DMA range \(hex(iova))+\(hex(size)) of \(device) is mapped already."
    case .mappingCountExhausted: "\(device) has no DMA mapping left."
    case .invalidMapping(_, let iova, let size, _):
      "The DMA range \(hex(iova))+\(hex(size)) cannot be mapped for \(device)."
    case .unmapMismatch(_, let iova, let expected, let unmapped):
      "Unmapping \(hex(iova)) from \(device) removed \(unmapped) of \(expected) bytes."
    case .iovaExhausted(_, let size):
      "No free IOVA range of \(size) bytes is left for \(device)."
    case .invalidAccess(_, let region, let offset, let width):
      "A \(width)-byte access at \(hex(offset)) of region \(region) of \(device) is not possible."
    case .configurationRefused(_, let register, _, _):
      "Configuration register \(hex(register)) of \(device) did not take what was written."
    case .deviceGone: "\(device) does not answer any more."
    case .system(_, let error): "\(error.call) failed on \(error.subject) for \(device)."
    case .noServer: "No vfio-user server answers at \(device)."
    case .socketDenied: "The socket \(device) may not be opened by this user."
    case .serverBusy: "The vfio-user server at \(device) is busy."
    case .refused(_, let command, _): "The server at \(device) refused \(command)."
    case .protocolViolation(_, let command, _):
      "The server at \(device) broke the vfio-user protocol in \(command)."
    case .timedOut(_, let command, let seconds):
      "The server at \(device) did not answer \(command) within \(seconds) s."
    case .disconnected: "The vfio-user server at \(device) went away."
    }
  }

  /// The cause, as far as it is known.
  public var why: String {
    switch self {
    case .noSuchDevice: "sysfs has no entry for that address."
    case .noIOMMUGroup:
      "It has no IOMMU group, so the IOMMU is off in firmware or in the kernel."
    case .vfioMissing(_, let error): "\(error)."
    case .notBoundToVFIO(_, let driver):
      driver.map { "The kernel driver \($0) owns it." } ?? "No driver is bound to it."
    case .groupNotViable(_, _, let others):
      others.isEmpty
        ? "A device of the group belongs to a kernel driver or to another user."
        : "These functions of the group belong to kernel drivers: \(others.joined(separator: ", "))."
    case .busy: "Only one process at a time can own an IOMMU group."
    case .permissionDenied: "The node is not readable and writable for this user."
    case .unsupportedKernel(_, let missing): "It lacks \(missing)."
    case .noIOMMUMode: "Without an IOMMU a wrong descriptor overwrites any memory of the machine."
    case .platformRefused(_, let reason): reason
    case .staleNode: "Its device number is not the one in sysfs, as after a rebind on the host."
    case .missingFeature: "The device or its transport does not offer it."
    case .vectorsExhausted(_, _, _, let offered):
      "VFIO_DEVICE_SET_IRQS answered that the host has \(offered) for it, and connected none."
    case .lockedMemoryLimit(_, _, let limit):
      limit.map { "The locked-memory limit (RLIMIT_MEMLOCK) of this process is \($0) bytes." }
        ?? "The locked-memory limit (RLIMIT_MEMLOCK) of this process is too small."
    case .mappingOverlaps: "An earlier mapping was not removed, or two owners share the range."
    case .mappingCountExhausted: "The kernel bounds mappings per container (dma_entry_limit)."
    case .invalidMapping(_, _, _, let reason): reason
    case .unmapMismatch: "The kernel's mappings are not what this process believes."
    case .iovaExhausted:
      "The IOMMU's ranges or the engine's address width bound what can be mapped."
    case .invalidAccess: "It lies outside the region, is misaligned, or the region forbids it."
    case .configurationRefused(_, _, let wanted, let found):
      "It was written as \(hex(wanted)) and reads \(hex(found))."
    case .deviceGone: "Its registers read all-ones, as after removal, power-off or a fatal error."
    case .system(_, let error): "\(error)."
    case .noServer(_, let error):
      error.errno == .notSocket ? "What is there is no socket." : "\(error)."
    case .socketDenied: "It, or a folder on the way to it, belongs to another user."
    case .serverBusy: "It serves another client, and takes one at a time."
    case .refused(_, _, let errno): "It answered: \(errno) (errno \(errno.rawValue))."
    case .protocolViolation(_, _, let detail): detail
    case .timedOut: "It is stopped, overloaded or stuck."
    case .disconnected: "It closed the connection or was killed."
    }
  }

  /// The command or change that helps.
  public var remedy: String {
    switch self {
    case .noSuchDevice: "List the devices with: netdma-probe list --all"
    case .noIOMMUGroup:
      "Turn on VT-d in the firmware, boot with intel_iommu=on iommu=pt, and look at: netdma-probe list"
    case .vfioMissing(_, let error): KernelRemedy.missing(error)
    case .notBoundToVFIO:
      "Bind it with: sudo netdma-probe bind \(device)"
    case .groupNotViable(_, let group, _):
      "Bind or unbind every function listed in /sys/kernel/iommu_groups/\(group)/devices."
    case .busy(_, let path): "Find and stop the process with: fuser -v \(path)"
    case .permissionDenied(_, let path): KernelRemedy.permission(path)
    case .unsupportedKernel(_, let missing): KernelRemedy.unsupported(missing)
    case .noIOMMUMode:
      "Turn the IOMMU on (intel_iommu=on) and enable_unsafe_noiommu_mode off, then bind again."
    case .platformRefused:
      "Look at dmesg for DMAR messages and at the firmware's settings for VT-d and x2APIC."
    case .staleNode: "Start the container again after the device was bound on the host."
    case .missingFeature: "Use another transport, or try --poll if the interrupt is missing."
    case .vectorsExhausted:
      "Use another kind of interrupt or --poll, or free vectors: see /proc/interrupts on the host."
    case .lockedMemoryLimit: "Raise it with: ulimit -l unlimited (or prlimit --memlock, limits.d)"
    case .mappingOverlaps: "Report this as a bug with the log of --log-level debug."
    case .mappingCountExhausted:
      "Map fewer, larger buffers, or raise /sys/module/vfio_iommu_type1/parameters/dma_entry_limit."
    case .invalidMapping: "Use an IOVA inside the reported ranges, aligned to the page size."
    case .unmapMismatch: "Do not reuse the memory, restart the process, and report this as a bug."
    case .iovaExhausted: "Free buffers that are no longer used, or map smaller ones."
    case .invalidAccess: "Check the offset against the region's size."
    case .configurationRefused: "Look at dmesg; the host or firmware may forbid the setting."
    case .deviceGone: "Look at dmesg, then rebind or rescan the device."
    case .system(_, let error): KernelRemedy.system(error)
    case .noServer(_, let error):
      error.errno == .notSocket
        ? "Name the socket of a server."
        : "Start one with: netdma-probe emulate --socket \(device)"
    case .socketDenied:
      "Run this as the user who started the server, or start the server as this user."
    case .serverBusy:
      "End the other client, or start another server: netdma-probe emulate --socket PATH"
    case .refused: "Look at the server's log."
    case .protocolViolation: "Check that the server speaks vfio-user 0.x."
    case .timedOut, .disconnected: "Restart the server, then try again."
    }
  }
}

/// "0x1f00" for messages.
package func hex(_ value: some BinaryInteger) -> String {
  "0x" + String(value, radix: 16)
}

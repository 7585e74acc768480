// SPDX-License-Identifier: Apache-2.0

import Glibc
import SystemPackage

/// What helps against a kernel call that failed, as far as call, path and errno tell.
enum KernelRemedy {
  /// For a node that does not exist, or whose module does not load.
  static func missing(_ error: SystemCallError) -> String {
    let path = error.subject
    let code = error.errno.rawValue
    if path.hasSuffix("/vfio/vfio") {
      return code == ENOENT
        ? "Load it with: modprobe vfio-pci (in a container pass --device \(path))"
        : "Load it with: modprobe vfio vfio_iommu_type1, and read dmesg for why it did not load."
    }
    if path.hasSuffix("/iommu") {
      return "Load it with: modprobe iommufd (in a container pass --device \(path)),"
        + " or use the group interface."
    }
    return "Bind the device again, on the host; in a container pass --device \(path)"
  }

  /// For a node that this user may not open.
  static func permission(_ path: String) -> String {
    if path.hasSuffix("/vfio/vfio") {
      return "Give everybody the node, which grants nothing by itself: chmod 0666 \(path)"
    }
    return "Run as root, or give a Unix group the node: chgrp netdma \(path); chmod 660 \(path)"
      + " (a udev rule keeps that)"
  }

  /// For what the kernel was built without.
  static func unsupported(_ missing: String) -> String {
    missing.contains("type1")
      ? "Load it with: modprobe vfio_iommu_type1"
      : missing.contains("6.6")
        ? "Use the group interface, or a kernel that has it."
        : "Use a newer kernel."
  }

  /// For a failure that has no case of its own.
  static func system(_ error: SystemCallError) -> String {
    let code = error.errno.rawValue
    switch (error.call, code) {
    case ("open", ENODEV):
      return "The group is going away: wait for the unbind to end, bind again, and retry."
    case (_, EMFILE), (_, ENFILE): return "Raise the limit of open files with: ulimit -n"
    case ("VFIO_GROUP_SET_CONTAINER", ENODEV):
      return "The device was removed: look for it again with: netdma-probe list --all"
    case ("VFIO_SET_IOMMU", EBUSY), ("VFIO_DEVICE_ATTACH_IOMMUFD_PT", EBUSY):
      return "The platform refused the group: look at dmesg for DMAR messages."
    case ("VFIO_GROUP_GET_DEVICE_FD", EACCES):
      return "A virtual function's physical one is held with a token: pass the same vf_token there."
    case ("VFIO_GROUP_GET_DEVICE_FD", EPERM):
      return "Close whatever else uses the group, or run with CAP_SYS_RAWIO."
    case ("VFIO_GROUP_GET_DEVICE_FD", ENODEV):
      return "Bind the function again; it must be the group's and be bound to a VFIO driver."
    case ("VFIO_DEVICE_BIND_IOMMUFD", EINVAL):
      return "Use the group interface: this device cannot be bound to an iommufd here."
    case ("VFIO_IOMMU_MAP_DMA", ENOMEM), ("IOMMU_IOAS_MAP", ENOMEM):
      return "The machine is out of memory: free some, or use smaller buffers."
    case ("VFIO_DEVICE_ATTACH_IOMMUFD_PT", EINVAL):
      return "Use the group interface, and look at dmesg for why the IOMMU refused the device."
    case ("VFIO_DEVICE_RESET", EAGAIN):
      return "Something else holds the device, as a reset or an unbind does: wait, and try again."
    case ("VFIO_DEVICE_SET_IRQS", EINVAL):
      return "Disable the other kind of interrupt first; INTx, MSI and MSI-X exclude one another."
    case (_, EBADF), (_, ENOTTY):
      return "Report this as a bug with the log of --log-level debug."
    default: return "Look at dmesg for the kernel's reason."
    }
  }
}

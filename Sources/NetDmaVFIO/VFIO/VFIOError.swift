// SPDX-License-Identifier: Apache-2.0

public import SystemPackage

/// What can go wrong between the driver and a device, whatever the transport.
///
/// `device` is always `DeviceTransport.name`: a PCI address, a socket path or "mock".
public enum VFIOError: DiagnosticError, Equatable {
  // MARK: Opening

  /// There is no such PCI device on this machine.
  case noSuchDevice(device: String)
  /// The device has no IOMMU group: the IOMMU is off in firmware or kernel.
  case noIOMMUGroup(device: String)
  /// `/dev/vfio/vfio` does not exist or its module cannot load.
  case vfioMissing(device: String, error: SystemCallError)
  /// The device is bound to `driver` (nil: to none) instead of vfio-pci.
  case notBoundToVFIO(device: String, driver: String?)
  /// Other functions of the group belong to kernel drivers: "0000:00:04.1 (ioatdma)".
  case groupNotViable(device: String, group: Int, others: [String])
  /// Somebody else holds the group or device.
  case busy(device: String, path: String)
  /// The calling user may not open `path`.
  case permissionDenied(device: String, path: String)
  /// The kernel's VFIO lacks what the driver needs, for example the type1 IOMMU.
  case unsupportedKernel(device: String, missing: String)
  /// Only the no-IOMMU group node exists, which gives no isolation.
  case noIOMMUMode(device: String)
  /// The platform cannot isolate the device well enough: no interrupt remapping, or firmware keeps
  /// memory identity-mapped for it (RMRR).
  case platformRefused(device: String, reason: String)
  /// The node in /dev does not stand for the kernel's device of that name.
  case staleNode(device: String, path: String)
  /// The region, interrupt or reset that the driver needs is not there.
  case missingFeature(device: String, feature: String)
  /// VFIO_DEVICE_SET_IRQS connected none of the `wanted` vectors, because the host has only `offered`
  /// for the function now; fewer vectors, or another kind of interrupt, may be had.
  case vectorsExhausted(device: String, kind: IRQIndex, wanted: Int, offered: Int)

  // MARK: Memory

  /// Pinning failed on the locked-memory limit (RLIMIT_MEMLOCK).
  case lockedMemoryLimit(device: String, needed: UInt64, limit: UInt64?)
  /// The range overlaps a mapping that exists (EEXIST).
  case mappingOverlaps(device: String, iova: UInt64, size: UInt64)
  /// The mapping-count budget is used up (ENOSPC).
  case mappingCountExhausted(device: String)
  /// The range lies outside what the IOMMU maps, or is misaligned.
  case invalidMapping(device: String, iova: UInt64, size: UInt64, reason: String)
  /// An unmap removed another number of bytes than were mapped; the memory must not be reused.
  case unmapMismatch(device: String, iova: UInt64, expected: UInt64, unmapped: UInt64)
  /// No free IOVA range of that size is left below the device's address limit.
  case iovaExhausted(device: String, size: UInt64)

  // MARK: Use

  /// An access outside the region, misaligned, or to a region that does not allow it.
  case invalidAccess(device: String, region: UInt32, offset: UInt64, width: Int)
  /// A configuration register did not take what was written.
  case configurationRefused(device: String, register: UInt64, wanted: UInt32, found: UInt32)
  /// The device answers all-ones or was removed.
  case deviceGone(device: String)
  /// A kernel call failed in a way that has no case of its own.
  case system(device: String, error: SystemCallError)

  // MARK: vfio-user

  /// No server listens on the socket.
  case noServer(device: String, error: SystemCallError)
  /// This user may not open the server's socket.
  case socketDenied(device: String)
  /// The server serves another client and turned this one away.
  case serverBusy(device: String)
  /// The server answered a command with an errno.
  case refused(device: String, command: String, errno: Errno)
  /// The server's message breaks the protocol; the connection was closed.
  case protocolViolation(device: String, command: String, detail: String)
  /// The server did not answer in time; the connection was closed.
  case timedOut(device: String, command: String, seconds: Double)
  /// The server closed the connection or died.
  case disconnected(device: String)
}

// SPDX-License-Identifier: Apache-2.0

import CNetDma
import Glibc
import SystemPackage

/// /dev/vfio/N: the functions that the IOMMU cannot tell apart.
///
/// Only one open file of a group exists on the machine. A device opened through it keeps it alive.
package struct VFIOGroup: ~Copyable, Sendable {
  /// The group's number.
  package let number: Int
  private let file: KernelDescriptor<KernelFile.Group>
  private let device: String

  /// Opens the group of `address`.
  ///
  /// - Throws: `VFIOError.noIOMMUMode`, `.vfioMissing`, `.permissionDenied`, `.busy`, `.staleNode`,
  ///   `.system`.
  package init(_ host: VFIOHost, number: Int, address: PCIAddress) throws(VFIOError) {
    self.number = number
    device = address.description
    file = try Self.openNode(host, number: number, device: address.description)
  }

  private static func openNode(
    _ host: VFIOHost, number: Int, device: String
  ) throws(VFIOError) -> KernelDescriptor<KernelFile.Group> {
    let path = host.groupPath(number)
    if host.isStale(path, numberFile: "\(host.paths.sysfs)/class/vfio/\(number)/dev") {
      throw .staleNode(device: device, path: path)
    }
    do throws(SystemCallError) {
      return try KernelDescriptor.open(path, calls: host.calls)
    } catch {
      switch error.errno.rawValue {
      case ENOENT:
        throw host.files.exists(host.noIOMMUPath(number))
          ? .noIOMMUMode(device: device) : .vfioMissing(device: device, error: error)
      case EACCES, EPERM: throw .permissionDenied(device: device, path: path)
      case EBUSY: throw .busy(device: device, path: path)
      default: throw .system(device: device, error: error)
      }
    }
  }

  /// Checks that no kernel driver holds a function of the group, and that it has no container yet.
  ///
  /// - Throws: `VFIOError.groupNotViable`, `.busy`, `.system`.
  package borrowing func checkViable(
    _ host: VFIOHost, address: PCIAddress
  ) throws(VFIOError) {
    var status = vfio_group_status()
    status.argsz = UInt32(MemoryLayout<vfio_group_status>.size)
    try kernelCall(for: device) { () throws(SystemCallError) in
      try file.call(.getStatus, &status)
    }
    // Bit 0 VIABLE, bit 1 CONTAINER_SET; the kernel may set others.
    guard status.flags & 1 != 0 else {
      throw .groupNotViable(
        device: device, group: number, others: host.blockers(ofGroup: number, of: address))
    }
    guard status.flags & 2 == 0 else { throw .busy(device: device, path: host.groupPath(number)) }
  }

  /// Joins a container; here newer kernels claim the group's DMA.
  ///
  /// - Throws: `VFIOError.groupNotViable`, `.busy`, `.system`.
  package borrowing func join(
    _ container: borrowing VFIOContainer, _ host: VFIOHost, address: PCIAddress
  ) throws(VFIOError) {
    var descriptor = container.descriptor
    do throws(SystemCallError) {
      try file.call(.setContainer, &descriptor)
    } catch {
      switch error.errno.rawValue {
      case EPERM:
        throw .groupNotViable(
          device: device, group: number, others: host.blockers(ofGroup: number, of: address))
      case EBUSY, EINVAL: throw .busy(device: device, path: host.groupPath(number))
      default: throw .system(device: device, error: error)
      }
    }
  }

  /// Leaves the container; it must not have a device open any more.
  package borrowing func leaveContainer() {
    // Closing the group does the same, so a refusal changes nothing.
    _ = try? file.call(.unsetContainer)
  }

  /// Opens the function: enables and resets it, with bus mastering off.
  ///
  /// - Throws: `VFIOError.notBoundToVFIO`, `.noSuchDevice`, `.permissionDenied`, `.groupNotViable`,
  ///   `.busy`, `.system`.
  package borrowing func openDevice(
    _ host: VFIOHost, address: PCIAddress
  ) throws(VFIOError) -> KernelDescriptor<KernelFile.Device> {
    let contention = ResetContention()
    while true {
      var name = [UInt8](address.name.utf8) + [0]
      do throws(SystemCallError) {
        let fd = try file.call(.getDeviceFD, bytes: &name)
        return KernelDescriptor(owning: fd, subject: device, calls: host.calls)
      } catch {
        switch error.errno.rawValue {
        // Another function of the slot is being reset.
        case EAGAIN where contention.waits(): continue
        case ENODEV:
          let node = host.node(address)
          guard node.exists else { throw .noSuchDevice(device: device) }
          let driver = node.driver
          guard let driver, VFIODrivers.isVFIO(driver) else {
            throw .notBoundToVFIO(device: device, driver: driver)
          }
          throw .system(device: device, error: error)
        case EPERM, EINVAL:
          // Where iommufd stands in for the container, the group is claimed only here; older
          // kernels check here that it is viable.
          let others = host.blockers(ofGroup: number, of: address)
          if !others.isEmpty {
            throw .groupNotViable(device: device, group: number, others: others)
          }
          throw .system(device: device, error: error)
        case EBUSY, EAGAIN: throw .busy(device: device, path: host.groupPath(number))
        default: throw .system(device: device, error: error)
        }
      }
    }
  }
}

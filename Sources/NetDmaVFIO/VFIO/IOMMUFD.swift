// SPDX-License-Identifier: Apache-2.0

import CNetDma
import Glibc
import SystemPackage

/// /dev/iommu with one address space (an IOAS) in it.
package struct IOMMUFD: ~Copyable, Sendable {
  private let file: KernelDescriptor<KernelFile.IOMMUFD>
  private let device: String
  /// The id of the address space.
  private let ioas: UInt32

  /// The number, which VFIO_DEVICE_BIND_IOMMUFD takes.
  package var descriptor: CInt { file.rawValue }

  /// Opens a fresh iommufd and makes an address space in it.
  ///
  /// - Throws: `VFIOError.vfioMissing`, `.permissionDenied`, `.system`.
  package init(_ host: VFIOHost, device: String) throws(VFIOError) {
    let file = try Self.openNode(host, device: device)
    var argument = netdma_ioas_alloc()
    argument.size = UInt32(MemoryLayout<netdma_ioas_alloc>.size)
    do throws(SystemCallError) {
      try file.call(.allocateIOAS, &argument)
    } catch {
      throw .system(device: device, error: error)
    }
    self.file = file
    self.device = device
    ioas = argument.out_ioas_id
  }

  private static func openNode(
    _ host: VFIOHost, device: String
  ) throws(VFIOError) -> KernelDescriptor<KernelFile.IOMMUFD> {
    do throws(SystemCallError) {
      return try KernelDescriptor.open(host.iommufdPath, calls: host.calls)
    } catch {
      switch error.errno.rawValue {
      case ENOENT, ENODEV, ENXIO: throw .vfioMissing(device: device, error: error)
      case EACCES, EPERM: throw .permissionDenied(device: device, path: host.iommufdPath)
      default: throw .system(device: device, error: error)
      }
    }
  }

  /// Lets the device reach the address space; before, it reaches nothing.
  ///
  /// - Throws: `VFIOError.platformRefused`, `.system`.
  package borrowing func attach(
    _ deviceFile: borrowing KernelDescriptor<KernelFile.Device>, _ host: VFIOHost, group: Int
  ) throws(VFIOError) {
    var argument = netdma_attach_iommufd_pt()
    argument.argsz = UInt32(MemoryLayout<netdma_attach_iommufd_pt>.size)
    argument.pt_id = ioas
    do throws(SystemCallError) {
      try deviceFile.call(.attachPageTable, &argument)
    } catch {
      let override = "/sys/module/iommufd/parameters/allow_unsafe_interrupts"
      switch error.errno.rawValue {
      case EPERM:
        throw .platformRefused(
          device: device, reason: host.refusalReason(group: group, override: override))
      case EINVAL:
        // Much else is answered so, as an IOMMU that cannot have the address space.
        guard let reason = host.knownRefusalReason(group: group, override: override) else {
          throw .system(device: device, error: error)
        }
        throw .platformRefused(device: device, reason: reason)
      default: throw .system(device: device, error: error)
      }
    }
  }

  /// What may be mapped, and the granularity, once the device is attached.
  package borrowing func info() throws(VFIOError) -> IOMMUInfo {
    var capacity = 16
    for _ in 0..<8 {
      var pairs = [UInt8](repeating: 0, count: capacity * 16)
      var argument = netdma_ioas_iova_ranges()
      argument.size = UInt32(MemoryLayout<netdma_ioas_iova_ranges>.size)
      argument.ioas_id = ioas
      argument.num_iovas = UInt32(capacity)
      do throws(SystemCallError) {
        // The kernel writes at most num_iovas pairs of 16 bytes to the array, which lives for the
        // call.
        try unsafe pairs.withUnsafeMutableBufferPointer { (buffer) throws(SystemCallError) in
          argument.allowed_iovas = UInt64(UInt(bitPattern: buffer.baseAddress))
          try file.call(.iovaRanges, &argument)
        }
        let found = (0..<min(Int(argument.num_iovas), capacity)).map { index in
          (
            start: pairs.load(UInt64.self, at: index * 16) ?? 0,
            last: pairs.load(UInt64.self, at: index * 16 + 8) ?? 0
          )
        }
        let alignment = argument.out_iova_alignment
        return IOMMUInfo(
          pageSize: alignment.nonzeroBitCount == 1 ? max(alignment, 4096) : 4096,
          ranges: IOVARanges.normalized(found), availableMappings: nil)
      } catch {
        guard error.errno.rawValue == EMSGSIZE, Int(argument.num_iovas) > capacity,
          argument.num_iovas <= 65_536
        else { throw .system(device: device, error: error) }
        capacity = Int(argument.num_iovas)
      }
    }
    throw .unsupportedKernel(device: device, missing: "a stable list of IOVA ranges")
  }

  /// IOMMU_IOAS_MAP at a fixed IOVA; the memory stays pinned until `unmap`.
  package borrowing func map(
    _ memory: DMARegion, at iova: UInt64, permissions: DMAPermissions
  ) throws(SystemCallError) {
    var argument = netdma_ioas_map()
    argument.size = UInt32(MemoryLayout<netdma_ioas_map>.size)
    argument.flags = Self.mapFlags(permissions)
    argument.ioas_id = ioas
    argument.user_va = UInt64(memory.address)
    argument.length = memory.size
    argument.iova = iova
    try file.call(.map, &argument)
  }

  /// FIXED_IOVA 1, WRITEABLE 2, READABLE 4: not the order of type1's bits.
  package static func mapFlags(_ permissions: DMAPermissions) -> UInt32 {
    1 | (permissions.contains(.write) ? 2 : 0) | (permissions.contains(.read) ? 4 : 0)
  }

  /// IOMMU_IOAS_UNMAP; returns the number of bytes that are not mapped any more.
  package borrowing func unmap(iova: UInt64, size: UInt64) throws(SystemCallError) -> UInt64 {
    var argument = netdma_ioas_unmap()
    argument.size = UInt32(MemoryLayout<netdma_ioas_unmap>.size)
    argument.ioas_id = ioas
    argument.iova = iova
    argument.length = size
    try file.call(.unmap, &argument)
    return argument.length
  }
}

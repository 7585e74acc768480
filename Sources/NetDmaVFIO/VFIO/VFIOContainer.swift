// SPDX-License-Identifier: Apache-2.0

import CNetDma
import Glibc
import SystemPackage

/// What VFIO_IOMMU_GET_INFO says.
package struct IOMMUInfo: Hashable, Sendable {
  /// Mapping granularity in bytes: the smallest page of the IOMMU.
  package let pageSize: UInt64
  /// What may be mapped, nil when the kernel does not say.
  package let ranges: [ClosedRange<UInt64>]?
  /// How many mappings are left, nil when the kernel does not say.
  package let availableMappings: UInt32?
}

/// /dev/vfio/vfio: an address space for devices (VFIO's container with its type1 IOMMU).
package struct VFIOContainer: ~Copyable, Sendable {
  private let file: KernelDescriptor<KernelFile.Container>
  /// The device that errors name.
  private let device: String

  /// The number, which VFIO_GROUP_SET_CONTAINER takes.
  package var descriptor: CInt { file.rawValue }

  /// The second version of the type1 IOMMU: the first removes more than it was asked to, and reports
  /// success and 0 bytes for half a mapping.
  private static let type1v2 = UInt(VFIO_TYPE1v2_IOMMU)

  /// Opens a fresh container of a kernel that has the type1 IOMMU.
  ///
  /// - Throws: `VFIOError.vfioMissing`, `.permissionDenied`, `.unsupportedKernel`, `.system`.
  package init(_ host: VFIOHost, device: String) throws(VFIOError) {
    let file = try Self.openNode(host, device: device)
    try Self.checkKernel(file, device: device)
    self.file = file
    self.device = device
  }

  private static func checkKernel(
    _ file: borrowing KernelDescriptor<KernelFile.Container>, device: String
  ) throws(VFIOError) {
    let version: CInt
    let extensions: CInt
    do throws(SystemCallError) {
      version = try file.call(.getAPIVersion)
      extensions = try file.call(.checkExtension, value: type1v2)
    } catch {
      throw .system(device: device, error: error)
    }
    guard version == VFIO_API_VERSION else {
      throw .unsupportedKernel(
        device: device,
        missing: "version \(VFIO_API_VERSION) of VFIO's interface (it has \(version))")
    }
    guard extensions > 0 else {
      throw .unsupportedKernel(device: device, missing: "the type1v2 IOMMU (vfio_iommu_type1)")
    }
  }

  private static func openNode(
    _ host: VFIOHost, device: String
  ) throws(VFIOError) -> KernelDescriptor<KernelFile.Container> {
    let path = host.containerPath
    do throws(SystemCallError) {
      return try KernelDescriptor.open(path, calls: host.calls)
    } catch {
      switch error.errno.rawValue {
      case ENOENT, ENODEV, ENXIO: throw .vfioMissing(device: device, error: error)
      case EACCES, EPERM: throw .permissionDenied(device: device, path: path)
      default: throw .system(device: device, error: error)
      }
    }
  }

  /// Gives the container its IOMMU, once, after the first group joined.
  ///
  /// - Throws: `VFIOError.unsupportedKernel`, `.platformRefused`, `.system`.
  package borrowing func setIOMMU(_ host: VFIOHost, group: Int) throws(VFIOError) {
    do throws(SystemCallError) {
      try file.call(.setIOMMU, value: Self.type1v2)
    } catch {
      switch error.errno.rawValue {
      case ENODEV:
        throw .unsupportedKernel(device: device, missing: "the type1v2 IOMMU (vfio_iommu_type1)")
      case EPERM:
        throw .platformRefused(
          device: device,
          reason: host.refusalReason(
            group: group,
            override: "/sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts"))
      default: throw .system(device: device, error: error)
      }
    }
  }

  /// Page size, ranges and budget, after `setIOMMU`.
  package borrowing func info() throws(VFIOError) -> IOMMUInfo {
    // argsz 0, flags 4, iova_pgsizes 8, cap_offset 16, 4 bytes of padding.
    let reply = try growingReply(fixed: 24, device: device) {
      (bytes: inout [UInt8]) throws(SystemCallError) in
      try file.call(.getInfo, bytes: &bytes)
    }
    let flags = reply.load(UInt32.self, at: 4) ?? 0
    let sizes = flags & 1 != 0 ? reply.load(UInt64.self, at: 8) ?? 0 : 0
    let hasCapabilities = flags & 2 != 0
    let chain = InfoCapability.chain(
      in: reply, first: hasCapabilities ? reply.load(UInt32.self, at: 16) ?? 0 : 0, minimum: 24)
    // Ids of vfio.h: 1 IOVA_RANGE {count, 0, pairs of start and last}, 3 DMA_AVAIL {count}.
    let ranges = chain.first { $0.id == 1 }.map { capability in
      IOVARanges.normalized(
        capability.pairs(at: 8, count: capability.load(UInt32.self, at: 0) ?? 0)
          .map { (start: $0.0, last: $0.1) })
    }
    return IOMMUInfo(
      pageSize: sizes == 0 ? 4096 : 1 << UInt64(sizes.trailingZeroBitCount),
      ranges: ranges.flatMap { $0.isEmpty ? nil : $0 },
      availableMappings: chain.first { $0.id == 3 }?.load(UInt32.self, at: 0))
  }

  /// VFIO_IOMMU_MAP_DMA; the memory stays pinned until `unmap`.
  package borrowing func map(
    _ memory: DMARegion, at iova: UInt64, permissions: DMAPermissions
  ) throws(SystemCallError) {
    var argument = vfio_iommu_type1_dma_map()
    argument.argsz = UInt32(MemoryLayout<vfio_iommu_type1_dma_map>.size)
    argument.flags = permissions.intersection(.readWrite).rawValue
    argument.vaddr = UInt64(memory.address)
    argument.iova = iova
    argument.size = memory.size
    try file.call(.mapDMA, &argument)
  }

  /// VFIO_IOMMU_UNMAP_DMA; returns the number of bytes that are not mapped any more.
  package borrowing func unmap(iova: UInt64, size: UInt64) throws(SystemCallError) -> UInt64 {
    // argsz 0, flags 4, iova 8, size 16; the size comes back as what was removed.
    var argument = [UInt8](repeating: 0, count: 24)
    argument.store(UInt32(24), at: 0)
    argument.store(iova, at: 8)
    argument.store(size, at: 16)
    try file.call(.unmapDMA, bytes: &argument)
    return argument.load(UInt64.self, at: 16) ?? 0
  }
}

/// Asks for a reply whose length the kernel knows: the first word is the length offered, and comes
/// back as the length needed.
///
/// Bounded, because a kernel that asks for more each time would never be satisfied.
package func growingReply(
  fixed: Int, device: String, prepare: (inout [UInt8]) -> Void = { _ in },
  _ ask: (inout [UInt8]) throws(SystemCallError) -> Void
) throws(VFIOError) -> [UInt8] {
  var length = fixed
  for _ in 0..<8 {
    var bytes = [UInt8](repeating: 0, count: length)
    bytes.store(UInt32(length), at: 0)
    prepare(&bytes)
    try kernelCall(for: device) { () throws(SystemCallError) in try ask(&bytes) }
    let needed = Int(bytes.load(UInt32.self, at: 0) ?? 0)
    if needed <= length { return bytes }
    guard needed <= maximumReply else { break }
    length = needed
  }
  throw .unsupportedKernel(device: device, missing: "an INFO reply of reasonable length")
}

/// More than any INFO reply: 4095 IOVA ranges.
private let maximumReply = 64 << 10

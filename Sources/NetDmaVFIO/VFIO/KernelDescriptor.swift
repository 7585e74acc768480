// SPDX-License-Identifier: Apache-2.0

import CNetDma
import SystemPackage

/// What a VFIO descriptor is open on; the same request number means another thing on each.
package enum KernelFile {
  /// /dev/vfio/vfio.
  package enum Container {}
  /// /dev/vfio/N.
  package enum Group {}
  /// What VFIO_GROUP_GET_DEVICE_FD gives, or /dev/vfio/devices/vfioN.
  package enum Device {}
  /// /dev/iommu.
  package enum IOMMUFD {}
}

/// An ioctl request that only descriptors of one kind take: a DMA map sent to a device's descriptor
/// would be a hot reset, so that does not compile.
package struct IoctlRequest<File>: Sendable {
  package let number: UInt
  /// The request's name, for messages.
  package let name: String

  fileprivate init(_ number: netdma_vfio_number, _ name: String) {
    self.number = UInt(number.rawValue)
    self.name = name
  }
}

extension IoctlRequest where File == KernelFile.Container {
  package static var getAPIVersion: Self {
    .init(NETDMA_VFIO_GET_API_VERSION, "VFIO_GET_API_VERSION")
  }
  package static var checkExtension: Self {
    .init(NETDMA_VFIO_CHECK_EXTENSION, "VFIO_CHECK_EXTENSION")
  }
  package static var setIOMMU: Self { .init(NETDMA_VFIO_SET_IOMMU, "VFIO_SET_IOMMU") }
  package static var getInfo: Self { .init(NETDMA_VFIO_IOMMU_GET_INFO, "VFIO_IOMMU_GET_INFO") }
  package static var mapDMA: Self { .init(NETDMA_VFIO_IOMMU_MAP_DMA, "VFIO_IOMMU_MAP_DMA") }
  package static var unmapDMA: Self { .init(NETDMA_VFIO_IOMMU_UNMAP_DMA, "VFIO_IOMMU_UNMAP_DMA") }
}

extension IoctlRequest where File == KernelFile.Group {
  package static var getStatus: Self {
    .init(NETDMA_VFIO_GROUP_GET_STATUS, "VFIO_GROUP_GET_STATUS")
  }
  package static var setContainer: Self {
    .init(NETDMA_VFIO_GROUP_SET_CONTAINER, "VFIO_GROUP_SET_CONTAINER")
  }
  package static var unsetContainer: Self {
    .init(NETDMA_VFIO_GROUP_UNSET_CONTAINER, "VFIO_GROUP_UNSET_CONTAINER")
  }
  package static var getDeviceFD: Self {
    .init(NETDMA_VFIO_GROUP_GET_DEVICE_FD, "VFIO_GROUP_GET_DEVICE_FD")
  }
}

extension IoctlRequest where File == KernelFile.Device {
  package static var getInfo: Self { .init(NETDMA_VFIO_DEVICE_GET_INFO, "VFIO_DEVICE_GET_INFO") }
  package static var getRegionInfo: Self {
    .init(NETDMA_VFIO_DEVICE_GET_REGION_INFO, "VFIO_DEVICE_GET_REGION_INFO")
  }
  package static var getIRQInfo: Self {
    .init(NETDMA_VFIO_DEVICE_GET_IRQ_INFO, "VFIO_DEVICE_GET_IRQ_INFO")
  }
  package static var setIRQs: Self { .init(NETDMA_VFIO_DEVICE_SET_IRQS, "VFIO_DEVICE_SET_IRQS") }
  package static var reset: Self { .init(NETDMA_VFIO_DEVICE_RESET, "VFIO_DEVICE_RESET") }
  package static var bindIOMMUFD: Self {
    .init(NETDMA_VFIO_DEVICE_BIND_IOMMUFD, "VFIO_DEVICE_BIND_IOMMUFD")
  }
  package static var attachPageTable: Self {
    .init(NETDMA_VFIO_DEVICE_ATTACH_IOMMUFD_PT, "VFIO_DEVICE_ATTACH_IOMMUFD_PT")
  }
}

extension IoctlRequest where File == KernelFile.IOMMUFD {
  package static var destroy: Self { .init(NETDMA_IOMMU_DESTROY, "IOMMU_DESTROY") }
  package static var allocateIOAS: Self { .init(NETDMA_IOMMU_IOAS_ALLOC, "IOMMU_IOAS_ALLOC") }
  package static var iovaRanges: Self {
    .init(NETDMA_IOMMU_IOAS_IOVA_RANGES, "IOMMU_IOAS_IOVA_RANGES")
  }
  package static var map: Self { .init(NETDMA_IOMMU_IOAS_MAP, "IOMMU_IOAS_MAP") }
  package static var unmap: Self { .init(NETDMA_IOMMU_IOAS_UNMAP, "IOMMU_IOAS_UNMAP") }
}

/// An open descriptor of one kind with one owner; closed when the owner ends.
package struct KernelDescriptor<File>: ~Copyable, Sendable {
  /// The number, for calls that borrow it.
  package let rawValue: CInt
  /// What messages call it: its path, or the device's name.
  package let subject: String
  private let calls: any KernelCalls

  /// Takes ownership of an open descriptor.
  package init(owning rawValue: CInt, subject: String, calls: any KernelCalls) {
    self.rawValue = rawValue
    self.subject = subject
    self.calls = calls
  }

  /// Opens a node for reading and writing.
  package static func open(
    _ path: String, calls: any KernelCalls
  ) throws(SystemCallError) -> KernelDescriptor<File> {
    do throws(Errno) {
      let fd = try calls.open(path, flags: openReadWrite)
      return KernelDescriptor(owning: fd, subject: path, calls: calls)
    } catch {
      throw SystemCallError(call: "open", subject: path, errno: error)
    }
  }

  deinit {
    calls.close(rawValue)
  }

  /// A request without argument.
  @discardableResult
  package borrowing func call(
    _ request: IoctlRequest<File>
  ) throws(SystemCallError) -> CInt {
    try call(request, .none)
  }

  /// A request with an integer.
  @discardableResult
  package borrowing func call(
    _ request: IoctlRequest<File>, value: UInt
  ) throws(SystemCallError) -> CInt {
    try call(request, .value(value))
  }

  /// A request with a structure of fixed size.
  @discardableResult
  package borrowing func call<T: BitwiseCopyable>(
    _ request: IoctlRequest<File>, _ argument: inout T
  ) throws(SystemCallError) -> CInt {
    // The structure is the caller's for the call, and each wrapper above pairs a request with the
    // structure that the kernel expects for it.
    try unsafe withUnsafeMutablePointer(to: &argument) { (pointer) throws(SystemCallError) in
      unsafe try call(request, .pointer(UnsafeMutableRawPointer(pointer)))
    }
  }

  /// A request with a structure of variable size, which says in itself how long it is.
  @discardableResult
  package borrowing func call(
    _ request: IoctlRequest<File>, bytes: inout [UInt8]
  ) throws(SystemCallError) -> CInt {
    precondition(!bytes.isEmpty, "an ioctl structure has a size field")
    // The array is the caller's for the call.
    return try unsafe bytes.withUnsafeMutableBufferPointer { (buffer) throws(SystemCallError) in
      guard let base = buffer.baseAddress else { return -1 }
      return unsafe try call(request, .pointer(UnsafeMutableRawPointer(base)))
    }
  }

  private borrowing func call(
    _ request: IoctlRequest<File>, _ argument: IoctlArgument
  ) throws(SystemCallError) -> CInt {
    do throws(Errno) {
      return try calls.ioctl(rawValue, request.number, argument)
    } catch {
      throw SystemCallError(call: request.name, subject: subject, errno: error)
    }
  }
}

/// Runs kernel calls whose failure has no meaning of its own here: it becomes `VFIOError.system`.
@discardableResult
package func kernelCall<R>(
  for device: String, _ body: () throws(SystemCallError) -> R
) throws(VFIOError) -> R {
  do throws(SystemCallError) {
    return try body()
  } catch {
    throw .system(device: device, error: error)
  }
}

/// O_RDWR.
package let openReadWrite: CInt = 2

// SPDX-License-Identifier: Apache-2.0

import Glibc
import NetDmaVFIO
import Synchronization
import SystemPackage

extension FakeKernel: KernelCalls {
  /// Takes the next failure that was ordered for a call.
  static func failure(_ call: String, _ state: inout State) -> Errno? {
    guard var queue = state.failures[call], !queue.isEmpty else { return nil }
    let first = queue.removeFirst()
    state.failures[call] = queue
    return first
  }

  /// Runs a call against the state; a result is the call's, an errno its failure.
  func perform<R: Sendable>(
    _ body: (inout sending State) -> sending Result<R, Errno>
  ) throws(Errno) -> R {
    try state.withLock(body).get()
  }

  package func open(_ path: String, flags: CInt) throws(Errno) -> CInt {
    try perform { state in
      state.trace.append("open \(path)")
      if let errno = Self.failure("open \(path)", &state) { return .failure(errno) }
      guard state.statuses[path] != nil else { return .failure(.noSuchFileOrDirectory) }
      // O_RDWR without O_CLOEXEC: the callee adds that.
      guard flags & 3 == 2 else { return .failure(.invalidArgument) }
      let file: File
      switch path {
      case "/dev/vfio/vfio": file = .container
      case "/dev/iommu": file = .iommufd
      case let path where path.hasPrefix("/dev/vfio/devices/"): file = .device
      default: file = .group
      }
      return .success(Self.add(file, &state))
    }
  }

  static func add(_ file: File, _ state: inout State) -> CInt {
    let fd = state.nextDescriptor
    state.nextDescriptor += 1
    state.open[fd] = file
    return fd
  }

  package func close(_ fd: CInt) {
    state.withLock { state in
      let file = state.open.removeValue(forKey: fd)
      state.trace.append("close \(file?.rawValue ?? "nothing, fd \(fd)")")
      if file == .device {
        for index in state.interrupts.keys { state.interrupts[index]?.connected = nil }
      }
    }
  }

  package func read(
    _ fd: CInt, into bytes: UnsafeMutableRawBufferPointer, at offset: UInt64
  ) throws(Errno) -> Int {
    let count = bytes.count
    let found: [UInt8] = try perform { state in
      if let errno = Self.failure("pread", &state) { return .failure(errno) }
      let index = UInt32(truncatingIfNeeded: offset >> 40)
      guard state.open[fd] == .device, let region = state.regions[index] else {
        return .failure(.invalidArgument)
      }
      let start = Int(truncatingIfNeeded: offset & 0xff_ffff_ffff)
      guard start < region.contents.count else { return .success([]) }
      return .success(Array(region.contents[start...].prefix(count)))
    }
    bytes.copyBytes(from: found)
    return found.count
  }

  package func write(
    _ fd: CInt, from bytes: UnsafeRawBufferPointer, at offset: UInt64
  ) throws(Errno) -> Int {
    let new = Array(bytes)
    return try perform { state in
      if let errno = Self.failure("pwrite", &state) { return .failure(errno) }
      let index = UInt32(truncatingIfNeeded: offset >> 40)
      guard state.open[fd] == .device, var region = state.regions[index] else {
        return .failure(.invalidArgument)
      }
      let start = Int(truncatingIfNeeded: offset & 0xff_ffff_ffff)
      let values = new.map { String($0, radix: 16) }.joined(separator: " ")
      state.trace.append("write region \(index) at \(String(start, radix: 16)): \(values)")
      guard start + new.count <= region.contents.count else { return .success(0) }
      region.contents.replaceSubrange(start..<start + new.count, with: new)
      state.regions[index] = region
      return .success(new.count)
    }
  }

  package func map(
    _ fd: CInt, offset: UInt64, count: Int, isWritable: Bool
  ) throws(Errno) -> MemoryMapping {
    try perform { state -> Result<Void, Errno> in
      if let errno = Self.failure("mmap", &state) { return .failure(errno) }
      state.trace.append(
        "mmap region \(offset >> 40) at \(String(offset & 0xff_ffff_ffff, radix: 16)) \(count)")
      return .success(())
    }
    do throws(SystemCallError) {
      // Real memory, so that the caller's munmap is right.
      let file = try OwnedFileDescriptor.open("/dev/zero", flags: O_RDWR)
      return try MemoryMapping(
        fd: file.rawValue, offset: 0, count: count, protection: PROT_READ, subject: "fake")
    } catch {
      throw error.errno
    }
  }

  package var lockedMemoryLimit: UInt64? { state.withLock { $0.limit } }

  // MARK: - ioctl

  package func ioctl(
    _ fd: CInt, _ request: UInt, _ argument: IoctlArgument
  ) throws(Errno) -> CInt {
    var value: UInt?
    var pointer: UInt?
    switch argument {
    case .none: break
    case .value(let number): value = number
    // Kept as a number, since the state's lock does not let pointers in.
    case .pointer(let address): pointer = UInt(bitPattern: address)
    }
    return try perform { state in
      guard let file = state.open[fd] else { return .failure(.badFileDescriptor) }
      let name = Self.name(of: request, on: file)
      state.trace.append(name)
      if let errno = Self.failure(name, &state) { return .failure(errno) }
      let memory = pointer.flatMap { UnsafeMutableRawPointer(bitPattern: $0) }
      switch file {
      case .container: return Self.container(request, value, memory, &state)
      case .group: return Self.group(request, memory, &state)
      case .device: return Self.device(request, memory, &state)
      case .iommufd: return Self.iommufd(request, memory, &state)
      }
    }
  }

  /// The request's name on that kind of file; the same number has several.
  static func name(of request: UInt, on file: File) -> String {
    let names: [UInt: String]
    switch file {
    case .container:
      names = [
        0x3B64: "VFIO_GET_API_VERSION", 0x3B65: "VFIO_CHECK_EXTENSION", 0x3B66: "VFIO_SET_IOMMU",
        0x3B70: "VFIO_IOMMU_GET_INFO", 0x3B71: "VFIO_IOMMU_MAP_DMA",
        0x3B72: "VFIO_IOMMU_UNMAP_DMA",
      ]
    case .group:
      names = [
        0x3B67: "VFIO_GROUP_GET_STATUS", 0x3B68: "VFIO_GROUP_SET_CONTAINER",
        0x3B69: "VFIO_GROUP_UNSET_CONTAINER", 0x3B6A: "VFIO_GROUP_GET_DEVICE_FD",
      ]
    case .device:
      names = [
        0x3B6B: "VFIO_DEVICE_GET_INFO", 0x3B6C: "VFIO_DEVICE_GET_REGION_INFO",
        0x3B6D: "VFIO_DEVICE_GET_IRQ_INFO", 0x3B6E: "VFIO_DEVICE_SET_IRQS",
        0x3B6F: "VFIO_DEVICE_RESET", 0x3B70: "VFIO_DEVICE_GET_PCI_HOT_RESET_INFO",
        0x3B71: "VFIO_DEVICE_PCI_HOT_RESET", 0x3B76: "VFIO_DEVICE_BIND_IOMMUFD",
        0x3B77: "VFIO_DEVICE_ATTACH_IOMMUFD_PT", 0x3B78: "VFIO_DEVICE_DETACH_IOMMUFD_PT",
      ]
    case .iommufd:
      names = [
        0x3B80: "IOMMU_DESTROY", 0x3B81: "IOMMU_IOAS_ALLOC", 0x3B84: "IOMMU_IOAS_IOVA_RANGES",
        0x3B85: "IOMMU_IOAS_MAP", 0x3B86: "IOMMU_IOAS_UNMAP",
      ]
    }
    return names[request] ?? "request 0x\(String(request, radix: 16)) on \(file.rawValue)"
  }
}

// SPDX-License-Identifier: Apache-2.0

import CNetDma
import Glibc
package import SystemPackage

/// The kernel calls on VFIO's files: the seam where a test plays the kernel.
///
/// On the way of set-up only; a transfer makes no call. Calls may come from any thread. Each throws
/// the errno; a call that a signal interrupts is made again.
package protocol KernelCalls: Sendable {
  /// open(2) with O_CLOEXEC added to `flags`.
  func open(_ path: String, flags: CInt) throws(Errno) -> CInt
  /// close(2).
  func close(_ fd: CInt)
  /// ioctl(2).
  func ioctl(_ fd: CInt, _ request: UInt, _ argument: IoctlArgument) throws(Errno) -> CInt
  /// pread(2).
  func read(
    _ fd: CInt, into bytes: UnsafeMutableRawBufferPointer, at offset: UInt64
  ) throws(Errno) -> Int
  /// pwrite(2).
  func write(
    _ fd: CInt, from bytes: UnsafeRawBufferPointer, at offset: UInt64
  ) throws(Errno) -> Int
  /// mmap(2), shared; `isWritable` adds PROT_WRITE to PROT_READ.
  func map(
    _ fd: CInt, offset: UInt64, count: Int, isWritable: Bool
  ) throws(Errno) -> MemoryMapping
  /// The soft RLIMIT_MEMLOCK in bytes, nil when it is unlimited.
  var lockedMemoryLimit: UInt64? { get }
}

/// The third argument of ioctl(2).
@safe package enum IoctlArgument {
  /// None.
  case none
  /// An integer, as VFIO_CHECK_EXTENSION and VFIO_SET_IOMMU want it.
  case value(UInt)
  /// A structure that the kernel reads and writes, valid for the call.
  case pointer(UnsafeMutableRawPointer)
}

/// The running kernel.
package struct HostKernel: KernelCalls {
  package init() {}

  /// Repeats what a signal interrupted.
  private func call<R: FixedWidthInteger>(_ body: () -> R) throws(Errno) -> R {
    while true {
      let result = body()
      if result != -1 { return result }
      let code = Errno(rawValue: Glibc.errno)
      if code != .interrupted { throw code }
    }
  }

  package func open(_ path: String, flags: CInt) throws(Errno) -> CInt {
    // The path is a NUL-terminated copy that lives for the call.
    try call { unsafe Glibc.open(path, flags | O_CLOEXEC) }
  }

  package func close(_ fd: CInt) {
    // A failed close leaves nothing to retry: Linux frees the number before it can fail.
    _ = Glibc.close(fd)
  }

  package func ioctl(
    _ fd: CInt, _ request: UInt, _ argument: IoctlArgument
  ) throws(Errno) -> CInt {
    switch argument {
    case .none: try call { netdma_ioctl(fd, request) }
    case .value(let value): try call { netdma_ioctl_value(fd, request, value) }
    case .pointer(let pointer):
      // The caller owns what the pointer leads to, in the size that the request wants.
      try call { unsafe netdma_ioctl_pointer(fd, request, pointer) }
    }
  }

  package func read(
    _ fd: CInt, into bytes: UnsafeMutableRawBufferPointer, at offset: UInt64
  ) throws(Errno) -> Int {
    // The buffer is the caller's and the count its size.
    try call { unsafe pread(fd, bytes.baseAddress, bytes.count, off_t(truncatingIfNeeded: offset)) }
  }

  package func write(
    _ fd: CInt, from bytes: UnsafeRawBufferPointer, at offset: UInt64
  ) throws(Errno) -> Int {
    // The buffer is the caller's and the count its size.
    try call {
      unsafe pwrite(fd, bytes.baseAddress, bytes.count, off_t(truncatingIfNeeded: offset))
    }
  }

  package func map(
    _ fd: CInt, offset: UInt64, count: Int, isWritable: Bool
  ) throws(Errno) -> MemoryMapping {
    do throws(SystemCallError) {
      return try MemoryMapping(
        fd: fd, offset: offset, count: count,
        protection: isWritable ? PROT_READ | PROT_WRITE : PROT_READ, subject: "fd \(fd)")
    } catch {
      throw error.errno
    }
  }

  package var lockedMemoryLimit: UInt64? {
    var limit = rlimit()
    // The structure is this function's own; RLIMIT_MEMLOCK is 8 on every Linux this builds for.
    guard unsafe getrlimit(__rlimit_resource_t(8), &limit) == 0 else { return nil }
    return limit.rlim_cur == UInt.max ? nil : UInt64(limit.rlim_cur)
  }
}

// SPDX-License-Identifier: Apache-2.0

import CNetDma
import Glibc
import SystemPackage

/// An mmap with one owner; unmapped when the owner ends.
///
/// The bytes may be shared with a device, another process or a guest, so nothing here promises that
/// they stay still between two reads.
@safe public struct MemoryMapping: ~Copyable, @unchecked Sendable {
  // @unchecked: the value owns an address range and never touches the bytes itself; munmap may run on
  // any thread, and both stored properties are constants.
  /// The first byte; valid while the mapping lives.
  public let address: UnsafeMutableRawPointer
  /// Length in bytes.
  public let count: Int

  /// Maps `count` bytes of `fd` from `offset`, shared; for reading and writing unless `protection`
  /// says otherwise.
  public init(
    fd: CInt, offset: UInt64, count: Int, protection: CInt? = nil,
    subject: @autoclosure () -> String
  ) throws(SystemCallError) {
    // The kernel chooses the address, so no existing mapping can be replaced.
    let pointer = unsafe mmap(
      nil, count, protection ?? (PROT_READ | PROT_WRITE), MAP_SHARED, fd,
      off_t(truncatingIfNeeded: offset))
    guard let pointer = unsafe pointer, unsafe pointer != netdma_map_failed() else {
      throw SystemCallError(
        call: "mmap", subject: "\(subject()), \(count) bytes",
        errno: Errno(rawValue: Glibc.errno))
    }
    unsafe address = pointer
    self.count = count
  }

  deinit {
    // The range was mapped by init and nobody else unmaps it.
    _ = unsafe munmap(address, count)
  }
}

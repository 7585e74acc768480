// SPDX-License-Identifier: Apache-2.0

import CNetDma
import Glibc
import SystemPackage

/// How the pages of a buffer are made.
public enum DMAPageSize: Sendable {
  /// The kernel's small pages.
  case base
  /// 2 MiB pages from the hugetlb pool; falls back to small pages when the pool is empty.
  case huge2MiB
}

/// Memory with a file behind it, mapped in this process.
///
/// Whether the device sees it is the address space's affair: it keeps the object until the device's
/// mapping is gone.
final class DMABacking: Sendable {
  let iova: UInt64
  let size: UInt64
  let isHuge: Bool
  private let file: OwnedFileDescriptor
  private let mapping: MemoryMapping

  /// `size` is a multiple of the page size; the caller has reserved `iova`.
  init(size: UInt64, iova: UInt64, isHuge: Bool, numaNode: Int?) throws(SystemCallError) {
    let fd = try systemCall("memfd_create", on: "\(size) bytes") {
      // The name is a literal that lives for the call.
      unsafe netdma_memfd_create("netdma", netdma_mfd_flags(isHuge ? 1 : 0))
    }
    file = OwnedFileDescriptor(owning: fd)
    _ = try systemCall("ftruncate", on: "memfd, \(size) bytes") {
      ftruncate(fd, off_t(clamping: size))
    }
    // A peer that gets the file must not be able to pull the pages away from under us.
    _ = try systemCall("fcntl(F_ADD_SEALS)", on: "memfd") { netdma_seal_size(fd) }
    mapping = try MemoryMapping(fd: fd, offset: 0, count: Int(clamping: size), subject: "memfd")
    // A forked child must not share pages that the device writes.
    _ = unsafe madvise(mapping.address, mapping.count, CInt(MADV_DONTFORK))
    if let numaNode {
      // A wish, before the first touch; a kernel without NUMA refuses it, which changes nothing.
      _ = unsafe netdma_prefer_node(mapping.address, UInt(mapping.count), CInt(clamping: numaNode))
    }
    self.size = size
    self.iova = iova
    self.isHuge = isHuge
  }

  /// The first byte in this process; valid while this object lives.
  @unsafe var address: UnsafeMutableRawPointer { unsafe mapping.address }

  /// What a transport needs to show the memory to the device.
  var region: DMARegion {
    unsafe DMARegion(
      address: UInt(bitPattern: mapping.address), size: size, file: (file.rawValue, 0))
  }
}

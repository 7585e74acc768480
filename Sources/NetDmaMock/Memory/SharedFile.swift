// SPDX-License-Identifier: Apache-2.0

import CNetDma
import Glibc
import NetDmaVFIO

/// A file of a vfio-user client, mapped whole.
///
/// Plain loads and stores reach it only if nothing that the client does can make them fault: its
/// size is sealed, and its pages do not come from a pool that the client can empty. Every other
/// file is guarded: the kernel copies, and says so instead of raising SIGBUS when the client has cut
/// the file off meanwhile.
final class SharedFile: Sendable {
  private let mapping: MemoryMapping
  let isWritable: Bool
  /// Whether every access has to be a guarded copy.
  let isGuarded: Bool

  /// What two descriptors of the same file have in common.
  struct Identity: Hashable {
    let device: UInt64
    let inode: UInt64
  }

  /// What is known of a descriptor before it is mapped.
  struct Facts {
    let identity: Identity
    let length: UInt64
    let isReadable: Bool
    let isWritable: Bool
    let isGuarded: Bool
  }

  /// File systems whose pages are always there without anybody's help: memory and local disks.
  ///
  /// Behind others (FUSE, NFS) somebody, perhaps the client, can keep an access waiting for ever.
  private static let fileSystems: Set<UInt32> = [
    0x0102_1994,  // tmpfs: memfd, /dev/shm
    hugetlbfs,
    0x8584_58f6,  // ramfs
    0x0000_ef53,  // ext2 to ext4
    0x5846_5342,  // xfs
    0x9123_683e,  // btrfs
    0xf2f5_2010,  // f2fs
    0x2fc1_2fc1,  // zfs
    0x794c_7630,  // overlayfs
  ]
  private static let hugetlbfs: UInt32 = 0x9584_58f6

  /// Looks at a descriptor; nil when it is no file that a device's memory can be.
  static func facts(_ fd: CInt) -> Facts? {
    var status = stat()
    // The structure lives for the call.
    guard unsafe fstat(fd, &status) == 0, status.st_mode & S_IFMT == S_IFREG else { return nil }
    let kind = netdma_file_system(fd)
    guard fileSystems.contains(kind) else { return nil }
    let access = fcntl(fd, F_GETFL) & O_ACCMODE
    let seals = netdma_get_seals(fd)
    let isSealed = seals >= 0 && seals & netdma_seal_shrink_flag() != 0
    let isReadOnly = seals >= 0 && seals & netdma_seal_write_flags() != 0
    return Facts(
      identity: Identity(device: UInt64(status.st_dev), inode: UInt64(status.st_ino)),
      length: UInt64(clamping: status.st_size), isReadable: access != O_WRONLY,
      isWritable: access == O_RDWR && !isReadOnly, isGuarded: !isSealed || kind == hugetlbfs)
  }

  /// Maps all of a file; nil when the kernel refuses.
  init?(_ fd: CInt, _ facts: Facts) {
    let protection = facts.isWritable ? PROT_READ | PROT_WRITE : PROT_READ
    guard let count = Int(exactly: facts.length), count > 0,
      let mapping = try? MemoryMapping(
        fd: fd, offset: 0, count: count, protection: protection, subject: "client memory")
    else { return nil }
    // The client's memory has no place in a core dump of ours.
    _ = unsafe madvise(mapping.address, count, CInt(MADV_DONTDUMP))
    self.mapping = mapping
    isWritable = facts.isWritable
    isGuarded = facts.isGuarded
  }

  /// Bytes mapped.
  var count: UInt64 { UInt64(mapping.count) }

  /// Whether it holds `size` bytes from `offset`.
  func holds(_ offset: UInt64, _ size: UInt64) -> Bool {
    offset <= count && size <= count - offset
  }

  /// The byte at `offset`, which lies inside; for plain access unless the file is guarded.
  @unsafe func pointer(_ offset: UInt64) -> UnsafeMutableRawPointer {
    unsafe mapping.address + Int(offset)
  }

  /// Copies `count` bytes from `offset`, which lie inside; false when the client took them away.
  func read(_ offset: UInt64, into target: UnsafeMutableRawPointer, _ count: Int) -> Bool {
    guard isGuarded else {
      unsafe memcpy(target, pointer(offset), count)
      return true
    }
    return Self.guarded(count) { done in
      unsafe netdma_guarded_copy(target + done, pointer(offset) + done, UInt(count - done), 0)
    }
  }

  /// Copies `count` bytes to `offset`, which lie inside; false when the client took them away.
  func write(_ offset: UInt64, from source: UnsafeRawPointer, _ count: Int) -> Bool {
    guard isGuarded else {
      unsafe memcpy(pointer(offset), source, count)
      return true
    }
    return Self.guarded(count) { done in
      unsafe netdma_guarded_copy(pointer(offset) + done, source + done, UInt(count - done), 1)
    }
  }

  private static func guarded(_ count: Int, _ copy: (_ done: Int) -> Int) -> Bool {
    var done = 0
    while done < count {
      let result = copy(done)
      if result < 0, Glibc.errno == EINTR { continue }
      guard result > 0 else { return false }
      done += result
    }
    return true
  }
}

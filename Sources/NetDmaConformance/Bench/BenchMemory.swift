// SPDX-License-Identifier: Apache-2.0

import CNetDma
import NetDmaVFIO

/// Memory that the device sees, addressed by the device's addresses.
///
/// An access outside traps: rules compute addresses from constants, so that is a mistake of a rule.
final class BenchMemory {
  private let buffer: DMABuffer
  /// The device's address of the first byte.
  let start: UInt64
  /// Bytes.
  let count: Int

  /// Zeroed memory of at least `count` bytes, up to the device's next page.
  init(
    _ space: DMAAddressSpace, count: Int, permissions: DMAPermissions = .readWrite
  ) throws(VFIOError) {
    let page = max(4096, Int(clamping: space.transport.iovaPageSize))
    self.count = (count + page - 1) / page * page
    buffer = try space.allocate(byteCount: self.count, permissions: permissions)
    start = buffer.iova
  }

  /// The first address behind it; the address space leaves a page unmapped there.
  var end: UInt64 { start + UInt64(count) }

  private func pointer(_ address: UInt64, _ count: Int) -> UnsafeMutableRawPointer {
    let offset = Int(address &- start)
    precondition(
      address >= start && count <= self.count && offset <= self.count - count,
      "the address lies outside the bench's memory")
    // Inside, as just checked; the buffer lives as long as self.
    return unsafe buffer.baseAddress + offset
  }

  /// The eight bytes at `address` (a multiple of 8), after everything that the device wrote before.
  func load(_ address: UInt64) -> UInt64 {
    precondition(address % 8 == 0, "the address is no multiple of 8")
    return unsafe UInt64(littleEndian: netdma_load_acquire64(pointer(address, 8)))
  }

  /// Stores eight bytes at `address` (a multiple of 8).
  func store(_ value: UInt64, at address: UInt64) {
    precondition(address % 8 == 0, "the address is no multiple of 8")
    unsafe netdma_store_release64(pointer(address, 8), value.littleEndian)
  }

  /// A copy of `count` bytes.
  func bytes(_ address: UInt64, _ count: Int) -> [UInt8] {
    netdma_fence_acquire()
    // The buffer lives as long as self, and the range lies inside.
    return unsafe [UInt8](UnsafeRawBufferPointer(start: pointer(address, count), count: count))
  }

  /// Stores `bytes` at `address`.
  func put(_ bytes: [UInt8], at address: UInt64) {
    // As above.
    unsafe UnsafeMutableRawBufferPointer(start: pointer(address, bytes.count), count: bytes.count)
      .copyBytes(from: bytes)
  }

  /// Stores `count` times `byte`.
  func fill(_ byte: UInt8, at address: UInt64, _ count: Int) {
    // As above.
    unsafe pointer(address, count).initializeMemory(as: UInt8.self, repeating: byte, count: count)
  }

  /// `count` bytes that differ from place to place and from seed to seed.
  static func pattern(_ count: Int, seed: Int) -> [UInt8] {
    var state = UInt32(truncatingIfNeeded: seed &* 0x9e37 &+ 1) | 1
    return (0..<count).map { _ in
      state = state &* 1_664_525 &+ 1_013_904_223
      return UInt8(truncatingIfNeeded: state >> 24)
    }
  }
}

// SPDX-License-Identifier: Apache-2.0

import Glibc
import NetDmaVFIO

/// The memory of one measured channel: places, each with a source and a target of one operation.
struct BenchMemory: ~Copyable {
  private var source: DMABuffer
  private var target: DMABuffer
  private let operation: BenchPoint.Operation
  private let size: Int
  private let stride: Int
  private var round: UInt64 = 0
  /// What each place is, as the engine sees it.
  let sources: [DMASlice]
  let targets: [DMASlice]

  /// What fills write: eight times the byte that memset writes.
  static let fillPattern: UInt64 = 0x5a5a_5a5a_5a5a_5a5a

  /// Bytes on each side that are used at once, by all channels together, if one operation leaves
  /// the choice.
  private static let budget = 16 << 20

  /// How many places a channel has.
  ///
  /// As many as operations are in flight, so that each has its own; more where every operation is
  /// compared afterwards. Where they would take more than the budget, several share one: they
  /// write the same bytes.
  static func placeCount(_ point: BenchPoint, verifies: Bool) -> Int {
    let room = max(1, budget / point.channels / point.size)
    return min(verifies ? max(4 * point.depth, 256) : point.depth, room)
  }

  /// Allocates and touches `count` places.
  init(
    _ engine: DMAEngine, _ operation: BenchPoint.Operation, size: Int, count: Int
  ) throws(VFIOError) {
    self.operation = operation
    self.size = size
    let stride = (size + 63) & ~63
    self.stride = stride
    let source = try engine.allocate(byteCount: stride * count)
    let target = try engine.allocate(byteCount: stride * count)
    sources = (0..<count).map { source.slice($0 * stride..<$0 * stride + size) }
    targets = (0..<count).map { target.slice($0 * stride..<$0 * stride + size) }
    self.source = source
    self.target = target
    prepare()
  }

  /// Writes new sources, and into each target what is wrong in every byte.
  mutating func prepare() {
    round &+= 1
    // Both pointers lead into buffers that live for the call and are as long as all places, each of
    // which is a multiple of eight.
    let good = unsafe source.baseAddress
    let bad = unsafe target.baseAddress
    for place in targets.indices {
      unsafe pattern(place).fill(
        UnsafeMutableRawBufferPointer(start: good + place * stride, count: stride))
    }
    for offset in Swift.stride(from: 0, to: targets.count * stride, by: 8) {
      let right =
        operation == .copy
        ? unsafe good.load(fromByteOffset: offset, as: UInt64.self) : Self.fillPattern
      unsafe bad.storeBytes(of: ~right, toByteOffset: offset, as: UInt64.self)
    }
  }

  private func pattern(_ place: Int) -> BytePattern {
    BytePattern(seed: round &* 0x9e37_79b9 &+ UInt64(place) << 32)
  }

  /// Offset of the first byte of a place's target that is not as the operation should have left
  /// it; nil when all are.
  func firstDifference(_ place: Int) -> Int? {
    let pattern = pattern(place)
    let (start, size) = (place * stride, size)
    let operation = operation
    return target.withBytes { span in
      unsafe span.withUnsafeBytes { bytes in
        // The place lies in the buffer.
        let written = unsafe UnsafeRawBufferPointer(rebasing: bytes[start..<start + size])
        guard operation == .fill else { return unsafe pattern.firstDifference(written) }
        let byte = UInt8(truncatingIfNeeded: Self.fillPattern)
        return written.indices.first { unsafe written[$0] != byte }
      }
    }
  }

  /// The CPU does the operation of `places`, one after the other.
  mutating func operateByCPU(_ places: Range<Int>) {
    let (stride, size, operation, count) = (stride, size, operation, targets.count)
    // Both pointers lead into buffers that live for the call; every place lies in them.
    let from = unsafe source.baseAddress
    let to = unsafe target.baseAddress
    for place in places {
      let offset = place % count * stride
      if operation == .copy {
        unsafe memcpy(to + offset, from + offset, size)
      } else {
        unsafe memset(to + offset, CInt(Self.fillPattern & 0xff), size)
      }
    }
  }
}

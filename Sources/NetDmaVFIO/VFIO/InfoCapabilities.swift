// SPDX-License-Identifier: Apache-2.0

/// One capability behind a VFIO INFO structure (struct vfio_info_cap_header: id, version, next).
package struct InfoCapability: Sendable {
  package let id: UInt16
  package let version: UInt16
  /// What follows the 8-byte header, up to the next capability or the end of the reply.
  package let payload: ArraySlice<UInt8>

  /// The chain that begins at `first` of a whole reply.
  ///
  /// Bounded: every header lies in the reply and behind the one before; a chain that breaks this
  /// ends there. `first` below `minimum`, the fixed part of the reply, means that there is none.
  package static func chain(
    in reply: [UInt8], first: UInt32, minimum: Int
  ) -> [InfoCapability] {
    var result: [InfoCapability] = []
    var offset = Int(first)
    guard offset >= minimum else { return result }
    while offset <= reply.count - 8 {
      let next = Int(reply.load(UInt32.self, at: offset + 4) ?? 0)
      let end = next >= offset + 8 && next <= reply.count ? next : reply.count
      result.append(
        InfoCapability(
          id: reply.load(UInt16.self, at: offset) ?? 0,
          version: reply.load(UInt16.self, at: offset + 2) ?? 0,
          payload: reply[(offset + 8)..<end]))
      guard next > offset else { break }
      offset = next
    }
    return result
  }

  /// An integer at an offset of the payload, nil beyond its end.
  package func load<T: FixedWidthInteger & BitwiseCopyable>(_ type: T.Type, at offset: Int) -> T? {
    payload.load(type, at: offset)
  }

  /// `count` pairs of 64-bit integers at `offset` of the payload, as far as they are there.
  package func pairs(at offset: Int, count: UInt32) -> [(UInt64, UInt64)] {
    (0..<min(Int(count), payload.count / 16)).compactMap { index in
      guard let first = load(UInt64.self, at: offset + 16 * index),
        let second = load(UInt64.self, at: offset + 16 * index + 8)
      else { return nil }
      return (first, second)
    }
  }
}

extension RandomAccessCollection where Element == UInt8, Index == Int {
  /// A little-endian integer, `offset` bytes from the start; nil beyond the end.
  package func load<T: FixedWidthInteger & BitwiseCopyable>(_ type: T.Type, at offset: Int) -> T? {
    let size = MemoryLayout<T>.size
    guard offset >= 0, offset <= count - size else { return nil }
    var value = T.zero
    for index in 0..<size {
      value |= T(truncatingIfNeeded: self[startIndex + offset + index]) << T(8 * index)
    }
    return value
  }
}

extension [UInt8] {
  /// Stores a little-endian integer, `offset` bytes from the start.
  package mutating func store<T: FixedWidthInteger & BitwiseCopyable>(_ value: T, at offset: Int) {
    for index in 0..<MemoryLayout<T>.size {
      self[offset + index] = UInt8(truncatingIfNeeded: value >> T(8 * index))
    }
  }
}

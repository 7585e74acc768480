// SPDX-License-Identifier: Apache-2.0

/// SplitMix64: every run of `verify` with the same seed makes the same copies.
struct SeededGenerator: RandomNumberGenerator, Sendable {
  private var state: UInt64

  init(seed: UInt64) { state = seed }

  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var z = state
    z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
    z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
    return z ^ (z >> 31)
  }
}

/// Bytes that follow from a seed and a position: they can be written and checked without a copy.
struct BytePattern {
  let seed: UInt64

  /// The eight bytes at word `index`.
  @inline(__always)
  private func word(_ index: Int) -> UInt64 {
    var z = (seed &+ UInt64(index)) &* 0x9e37_79b9_7f4a_7c15
    z ^= z >> 29
    return z &* 0xbf58_476d_1ce4_e5b9
  }

  /// Writes the pattern's first `bytes.count` bytes.
  func fill(_ bytes: UnsafeMutableRawBufferPointer) {
    let words = bytes.count / 8
    // Every store lies within the buffer's bounds.
    for index in 0..<words {
      unsafe bytes.storeBytes(
        of: word(index).littleEndian, toByteOffset: index * 8, as: UInt64.self)
    }
    for offset in words * 8..<bytes.count {
      unsafe bytes[offset] = UInt8(truncatingIfNeeded: word(words) >> UInt64((offset % 8) * 8))
    }
  }

  /// Offset of the first byte that differs from the pattern, nil when all are as written.
  func firstDifference(_ bytes: UnsafeRawBufferPointer) -> Int? {
    let words = bytes.count / 8
    // Every load lies within the buffer's bounds.
    for index in 0..<words
    where unsafe bytes.loadUnaligned(fromByteOffset: index * 8, as: UInt64.self)
      != word(index).littleEndian
    {
      let start = index * 8
      return (start..<start + 8).first { offset in
        unsafe bytes[offset] != UInt8(truncatingIfNeeded: word(index) >> UInt64((offset % 8) * 8))
      }
    }
    return (words * 8..<bytes.count).first { offset in
      unsafe bytes[offset] != UInt8(truncatingIfNeeded: word(words) >> UInt64((offset % 8) * 8))
    }
  }
}

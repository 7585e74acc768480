// SPDX-License-Identifier: Apache-2.0

/// The bytes of an aligned 8-byte word that one access touches.
///
/// A bus access carries byte enables; a register acts when one of its bytes is enabled, and keeps
/// the bytes that are not. Handling every access so makes all widths and split halves alike.
struct ByteLanes: Hashable, Sendable {
  /// 0xff in every byte that is touched.
  let bits: UInt64

  /// `width` bytes from byte `start` of the word (start + width at most 8).
  init(start: Int, width: Int) {
    bits = (width >= 8 ? UInt64.max : (1 << UInt64(8 * width)) - 1) << UInt64(8 * start)
  }

  /// The whole word.
  static let all = ByteLanes(start: 0, width: 8)
  /// Bytes 0 to 3.
  static let low = ByteLanes(start: 0, width: 4)
  /// Bytes 4 to 7.
  static let high = ByteLanes(start: 4, width: 4)

  /// Whether a register of `width` bytes at byte `start` is touched.
  func touches(_ start: Int, _ width: Int) -> Bool {
    bits & ByteLanes(start: start, width: width).bits != 0
  }

  /// Register `old` (at byte `start`) after its enabled bytes were replaced by those of `word`.
  func merge<Register: FixedWidthInteger & UnsignedInteger>(
    _ old: Register, at start: Int, from word: UInt64
  ) -> Register {
    let enabled = Register(truncatingIfNeeded: bits >> UInt64(8 * start))
    let new = Register(truncatingIfNeeded: word >> UInt64(8 * start))
    return old & ~enabled | new & enabled
  }

  /// The enabled bits of `word` for a register at byte `start`; the others zero.
  func field<Register: FixedWidthInteger & UnsignedInteger>(
    at start: Int, from word: UInt64
  ) -> Register {
    merge(0, at: start, from: word)
  }
}

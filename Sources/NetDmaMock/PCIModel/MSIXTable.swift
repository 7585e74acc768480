// SPDX-License-Identifier: Apache-2.0

/// The MSI-X table and its pending bits, as bytes of BAR0.
struct MSIXTable: Sendable {
  /// Entries.
  let count: Int
  private let tableOffset: Int
  private let pendingOffset: Int
  /// Per entry: address low and high, data, vector control.
  private var words: [UInt32]
  private(set) var pending: Set<Int> = []

  private static let mask: UInt32 = 1
  /// What software can change of the four words: a message's address is a multiple of four, and
  /// vector control has only the mask.
  private static let writable: [UInt32] = [0xffff_fffc, .max, .max, mask]

  init(count: Int, tableOffset: Int, pendingOffset: Int) {
    self.count = count
    self.tableOffset = tableOffset
    self.pendingOffset = pendingOffset
    words = []
    reset()
  }

  /// As after power-on: no message, every vector masked, nothing pending.
  mutating func reset() {
    words = (0..<4 * count).map { $0 % 4 == 3 ? Self.mask : 0 }
    pending = []
  }

  // MARK: - Software's side

  /// Bytes of BAR0; what is neither table nor pending bits reads 0.
  func read(_ offset: Int, width: Int) -> UInt64 {
    var value: UInt64 = 0
    for index in 0..<width { value |= UInt64(byte(offset + index)) << UInt64(8 * index) }
    return value
  }

  private func byte(_ offset: Int) -> UInt8 {
    let entry = offset - tableOffset
    if words.indices.contains(entry >> 2) {
      return UInt8(truncatingIfNeeded: words[entry >> 2] >> UInt32(8 * (entry & 3)))
    }
    let first = 8 * (offset - pendingOffset)
    guard first >= 0 else { return 0 }
    return (0..<8).reduce(0) { pending.contains(first + $1) ? $0 | 1 << UInt8($1) : $0 }
  }

  /// Writes bytes of the table; the pending bits are read-only.
  mutating func write(_ offset: Int, width: Int, value: UInt64) {
    for index in 0..<width {
      let entry = offset + index - tableOffset
      guard words.indices.contains(entry >> 2) else { continue }
      let shift = UInt32(8 * (entry & 3))
      let taken = Self.writable[(entry >> 2) & 3] & (0xff << shift)
      let new = UInt32(truncatingIfNeeded: value >> UInt64(8 * index) & 0xff) << shift
      words[entry >> 2] = words[entry >> 2] & ~taken | new & taken
    }
  }

  // MARK: - Hardware's side, and the host's

  func isMasked(_ vector: Int) -> Bool { words[4 * vector + 3] & Self.mask != 0 }

  mutating func hold(_ vector: Int) { pending.insert(vector) }
  mutating func release(_ vector: Int) { pending.remove(vector) }
  mutating func releaseAll() { pending = [] }

  /// Writes an entry as a host does that routes the vector somewhere, or nowhere.
  mutating func program(_ vector: Int, isMasked: Bool) {
    words[4 * vector] = 0xfee0_0000
    words[4 * vector + 1] = 0
    words[4 * vector + 2] = UInt32(0x40 + vector)
    words[4 * vector + 3] = isMasked ? Self.mask : 0
  }
}

// SPDX-License-Identifier: Apache-2.0

/// Hands out ranges of the device's address space.
///
/// Next-fit: an address that was freed is not handed out again before the search has gone round, so
/// a stale address faults in the IOMMU instead of reaching somebody else's buffer. Between two
/// ranges one page stays unmapped, and address 0 is never used, for the same reason.
struct IOVAAllocator: Sendable {
  private struct Hole {
    var start: UInt64
    var last: UInt64
  }
  private var holes: [Hole]
  private var cursor: UInt64
  private let page: UInt64

  /// Where the search begins: above the 32-bit addresses that reserved windows crowd.
  private static let preferredStart: UInt64 = 1 << 32

  /// An allocator over `ranges` (sorted, disjoint, inclusive) cut at `limit`, the highest address
  /// that the engine reaches.
  init(ranges: [ClosedRange<UInt64>], limit: UInt64, page: UInt64) {
    self.page = max(page, 4096)
    var usable: [Hole] = []
    for range in ranges {
      // A hole begins and ends with a page boundary, without the page of address 0.
      let start = max(range.lowerBound, self.page)
      let (padded, overflow) = start.addingReportingOverflow(self.page - 1)
      let last = min(range.upperBound, limit)
      guard !overflow, padded / self.page * self.page < last else { continue }
      usable.append(Hole(start: padded / self.page * self.page, last: last))
    }
    holes = usable
    cursor = Self.preferredStart
  }

  /// A range of `size` bytes (a multiple of the page) aligned to `alignment` (a power of two), or
  /// nil when none is left.
  mutating func allocate(size: UInt64, alignment: UInt64) -> UInt64? {
    guard size > 0 else { return nil }
    return take(size: size, alignment: alignment, from: cursor)
      ?? take(size: size, alignment: alignment, from: 0)
  }

  private mutating func take(size: UInt64, alignment: UInt64, from lowest: UInt64) -> UInt64? {
    let align = max(alignment, page)
    for index in holes.indices where holes[index].last >= lowest {
      let hole = holes[index]
      let (padded, overflow) = max(hole.start, lowest).addingReportingOverflow(align - 1)
      if overflow { continue }
      let start = padded / align * align
      // The guard page belongs to the range, so the hole must hold it too.
      let (end, endOverflow) = start.addingReportingOverflow(size + page - 1)
      if endOverflow || start > hole.last || end > hole.last { continue }
      var pieces: [Hole] = []
      if start > hole.start { pieces.append(Hole(start: hole.start, last: start - 1)) }
      if end < hole.last { pieces.append(Hole(start: end + 1, last: hole.last)) }
      holes.replaceSubrange(index...index, with: pieces)
      cursor = end &+ 1
      return start
    }
    return nil
  }

  /// Returns what `allocate` gave for the same size.
  mutating func free(_ start: UInt64, size: UInt64) {
    let last = start &+ size &+ page &- 1
    let next = holes.firstIndex { $0.start > start } ?? holes.endIndex
    let joinsPrevious = next > 0 && holes[next - 1].last &+ 1 == start
    let joinsNext = next < holes.endIndex && last &+ 1 == holes[next].start
    switch (joinsPrevious, joinsNext) {
    case (true, true):
      holes[next - 1].last = holes[next].last
      holes.remove(at: next)
    case (true, false): holes[next - 1].last = last
    case (false, true): holes[next].start = start
    case (false, false): holes.insert(Hole(start: start, last: last), at: next)
    }
  }

  /// Bytes in all holes.
  var free: UInt64 { holes.reduce(0) { $0 &+ ($1.last &- $1.start) } }
}

// SPDX-License-Identifier: Apache-2.0

/// How the bytes of finished operations compared.
struct BenchCheck: Sendable {
  /// Operations whose bytes were compared.
  var operations = 0
  /// Those that left other bytes than they should.
  var mismatches = 0
  /// A sentence about the first of them.
  var first: String?

  /// Compares the first `count` places.
  mutating func compare(_ memory: borrowing BenchMemory, _ count: Int, _ point: BenchPoint) {
    for place in 0..<count {
      operations += 1
      guard let offset = memory.firstDifference(place) else { continue }
      mismatches += 1
      if first == nil {
        first =
          "The first is a \(point.operation) of \(byteCount(UInt64(point.size))) at byte "
          + "\(offset)."
      }
    }
  }

  mutating func add(_ other: BenchCheck) {
    operations += other.operations
    mismatches += other.mismatches
    first = first ?? other.first
  }
}

// SPDX-License-Identifier: Apache-2.0

import ArgumentParser

/// Lists of numbers as `bench` takes them: `64,4K,1M`, or `64..4M` for 64 and its doublings up to 4M.
enum ValueList {
  /// Sizes in bytes, with K, M or G for powers of 1024; each within `range`, without repetitions.
  static func sizes(_ text: String, _ range: ClosedRange<Int>) throws -> [Int] {
    try parse(text, range, "a size like 4096, 4K or 1M") { ArgumentValue.bytes($0) }
  }

  /// Counts; each within `range`, without repetitions.
  static func counts(_ text: String, _ range: ClosedRange<Int>) throws -> [Int] {
    try parse(
      text, range, "a whole number from \(range.lowerBound) to \(range.upperBound)"
    ) { Int($0) }
  }

  private static func parse(
    _ text: String, _ range: ClosedRange<Int>, _ kind: String, _ number: (Substring) -> Int?
  ) throws -> [Int] {
    func value(_ word: Substring) throws -> Int {
      guard let value = number(word) else {
        throw ValidationError("'\(word)' is not \(kind).")
      }
      guard range.contains(value) else {
        throw ValidationError(
          "\(word) lies outside \(range.lowerBound) to \(range.upperBound).")
      }
      return value
    }
    var values: [Int] = []
    for item in text.split(separator: ",", omittingEmptySubsequences: false) {
      let ends = item.split(separator: "..", omittingEmptySubsequences: false)
      switch ends.count {
      case 1: values.append(try value(item))
      case 2:
        let (first, last) = (try value(ends[0]), try value(ends[1]))
        guard first <= last else {
          throw ValidationError("\(item) runs backwards; write \(ends[1])..\(ends[0]).")
        }
        values += doublings(from: first, through: last)
      default: throw ValidationError("'\(item)' is not a range like 64..4M.")
      }
    }
    var seen: Set<Int> = []
    return values.filter { seen.insert($0).inserted }
  }

  /// `first`, twice as much, and so on; `last` ends it, whether a doubling meets it or not.
  static func doublings(from first: Int, through last: Int) -> [Int] {
    var values: [Int] = []
    var next = first
    while next < last {
      values.append(next)
      next *= 2
    }
    return values + [last]
  }
}

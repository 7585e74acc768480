// SPDX-License-Identifier: Apache-2.0

import ArgumentParser

/// Values as options take them; whoever gives another is told what is valid.
///
/// Options of numbers are parsed `.unconditional`: what begins with a dash would not count as their
/// value otherwise, and -1 be called missing.
enum ArgumentValue {
  /// A whole number of `range`; `note` says what the range does not.
  static func whole<Number: FixedWidthInteger & Sendable>(
    _ range: ClosedRange<Number>, note: String = ""
  ) -> @Sendable (String) throws -> Number {
    { text in
      guard let value = Number(text), range.contains(value) else {
        throw ValidationError(
          "write a whole number from \(range.lowerBound) to \(range.upperBound)\(note).")
      }
      return value
    }
  }

  /// A size in bytes of `range`, as `bytes` reads it.
  static func size(_ range: ClosedRange<Int>) -> @Sendable (String) throws -> Int {
    { text in
      guard let value = bytes(text), range.contains(value) else {
        throw ValidationError(
          "write a size from \(compactByteCount(range.lowerBound)) to "
            + "\(compactByteCount(range.upperBound)), like 9000, 4K or 1M.")
      }
      return value
    }
  }

  /// A duration of more than nothing and at most `maximum` seconds.
  static func seconds(atMost maximum: Int) -> @Sendable (String) throws -> Double {
    { text in
      guard let value = Double(text), value > 0, value <= Double(maximum) else {
        throw ValidationError(
          "write a number of more than 0 and at most \(maximum) seconds, like 0.2.")
      }
      return value
    }
  }

  /// 4096 for "4096" and "4K", where K, M and G are powers of 1024; nil for what is no size.
  static func bytes(_ text: some StringProtocol) -> Int? {
    let units: [Character: Int] = ["K": 1 << 10, "M": 1 << 20, "G": 1 << 30]
    guard let last = text.last, let unit = units[Character(last.uppercased())] else {
      return Int(text)
    }
    guard let number = Int(text.dropLast()) else { return nil }
    let (value, overflow) = number.multipliedReportingOverflow(by: unit)
    return overflow ? nil : value
  }

  /// Refuses an empty path, which an unset variable of a script leaves; nil is an option that was not
  /// given.
  static func requirePath(_ path: String?, of option: String) throws {
    if path == "" { throw ValidationError("\(option) needs a path, and got an empty one.") }
  }
}

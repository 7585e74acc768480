// SPDX-License-Identifier: Apache-2.0

import Glibc

/// A point of time as ISO 8601 writes it: "2026-01-31T12:00:00Z".
enum UTCTime {
  static var now: String { text(time(nil)) }

  static func text(_ seconds: time_t) -> String {
    var seconds = seconds
    // Both live for the call, which fills the second; its pointer to a zone's name is not used.
    var parts = unsafe tm()
    guard unsafe gmtime_r(&seconds, &parts) != nil else { return "unknown" }
    let (year, month, day) = unsafe (parts.tm_year + 1900, parts.tm_mon + 1, parts.tm_mday)
    let (hour, minute, second) = unsafe (parts.tm_hour, parts.tm_min, parts.tm_sec)
    func two(_ value: CInt) -> String { value < 10 ? "0\(value)" : "\(value)" }
    return "\(year)-\(two(month))-\(two(day))T\(two(hour)):\(two(minute)):\(two(second))Z"
  }
}

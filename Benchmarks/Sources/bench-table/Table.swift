// SPDX-License-Identifier: Apache-2.0

import Glibc

/// The table for people.
enum Table {
  static func text(_ rows: [Row]) -> String {
    let cells =
      [["what", "measured", "baseline", "ratio", "target", "unit", "ok"]]
      + rows.map { row in
        [
          row.name, number(row.ours), number(row.baseline),
          row.ratio.isFinite ? number(row.ratio) : "-", target(row), row.unit,
          row.ok ? (row.attempts > 1 ? "yes (\(row.attempts))" : "yes") : "NO",
        ]
      }
    let widths = (0..<7).map { column in cells.map { $0[column].count }.max() ?? 0 }
    return cells.map { line in
      (0..<7).map { column in
        let padding = String(repeating: " ", count: widths[column] - line[column].count)
        // Numbers to the right.
        return (1...3).contains(column) ? padding + line[column] : line[column] + padding
      }.joined(separator: "  ").trimmingEnd()
    }.joined(separator: "\n")
  }

  private static func target(_ row: Row) -> String {
    switch row.rule {
    case .ratioAtMost: "ratio <= \(number(row.target))"
    case .ratioAtLeast: "ratio >= \(number(row.target))"
    case .oursAtMost: "<= \(number(row.target))"
    case .oursAtLeast: ">= \(number(row.target))"
    case .differenceAtMost: "baseline + \(number(row.target))"
    }
  }

  /// Three digits that count; whole numbers as they are.
  private static func number(_ value: Double) -> String {
    guard value.isFinite else { return "-" }
    if value == value.rounded(), abs(value) < 1e9 { return "\(Int(value))" }
    let places = abs(value) >= 100 ? 0 : abs(value) >= 10 ? 1 : 2
    let scale = [1.0, 10, 100][places]
    let scaled = Int((abs(value) * scale).rounded())
    let sign = value < 0 ? "-" : ""
    guard places > 0 else { return "\(sign)\(scaled)" }
    let fraction = "\(scaled % Int(scale))"
    return
      "\(sign)\(scaled / Int(scale)).\(String(repeating: "0", count: places - fraction.count))\(fraction)"
  }
}

/// What is being measured, on a terminal; nothing in a pipe.
enum Progress {
  static func show(_ name: String) {
    guard isatty(2) != 0 else { return }
    print("\r\u{1b}[K... \(name)", terminator: "", to: &standardError)
  }

  static func clear() {
    guard isatty(2) != 0 else { return }
    print("\r\u{1b}[K", terminator: "", to: &standardError)
  }
}

/// Text for stderr.
struct StandardError: TextOutputStream {
  mutating func write(_ string: String) {
    var string = string
    string.withUTF8 { bytes in _ = Glibc.write(2, bytes.baseAddress, bytes.count) }
  }
}

/// A value to print to; it holds nothing.
var standardError: StandardError {
  get { StandardError() }
  set {}
}

extension String {
  fileprivate func trimmingEnd() -> String {
    var text = Substring(self)
    while text.last == " " { text.removeLast() }
    return String(text)
  }
}

// SPDX-License-Identifier: Apache-2.0

import BenchSupport

/// The polled hot path against the C floor.
enum HotPathRows {
  private static func target(_ batch: Int) -> Double { batch == 1 ? 1.5 : 1.25 }

  /// Nanoseconds, both sides in turn within one process.
  static func time(_ bench: Bench) throws -> [Row] {
    let lines = try inRealTime {
      try ChildProcess([bench.directory + "/bench-hotpath"]).finish().lines
    }
    return try [32, 1].map { batch in
      guard let line = lines.first(where: { $0.hasPrefix("batch \(batch):") }),
        let ours = number(behind: "ours", in: line), let floor = number(behind: "floor", in: line)
      else { throw BenchError("bench-hotpath said nothing of batch \(batch)") }
      return Row(
        name: "polled copy, batch \(batch), time", ours: ours, baseline: floor,
        target: target(batch), unit: "ns/descriptor", rule: .ratioAtMost)
    }
  }

  private static func number(behind word: String, in line: String) -> Double? {
    let words = line.split(separator: " ")
    return words.firstIndex { $0 == word }.flatMap { index in
      words.indices.contains(index + 1) ? Double(words[index + 1]) : nil
    }
  }

  private static let copies = 64_000

  private static func count(_ bench: Bench, side: String, batch: Int) throws -> CallCounts {
    try CallCounts([
      bench.directory + "/bench-hotpath", "--side", side, "--batch", "\(batch)", "--copies",
      "\(copies)",
    ])
  }

  /// Instructions, and what is not to be called at all.
  static func instructions(_ bench: Bench) throws -> [Row] {
    var rows: [Row] = []
    for batch in [32, 1] {
      let ours = try count(bench, side: "ours", batch: batch)
      let floor = try count(bench, side: "floor", batch: batch)
      let perCopy = Double(copies)
      rows.append(
        Row(
          name: "polled copy, batch \(batch), instructions", ours: ours.instructions / perCopy,
          baseline: floor.instructions / perCopy, target: target(batch),
          unit: "instructions/descriptor", rule: .ratioAtMost))
      guard batch == 1 else { continue }
      for (name, isMeant) in unwanted {
        rows.append(
          Row(
            name: "polled copy, \(name)", ours: ours.calls(where: isMeant) / perCopy,
            baseline: floor.calls(where: isMeant) / perCopy, target: 0, unit: "calls/operation",
            rule: .oursAtMost))
      }
    }
    return rows
  }

  private static let unwanted: [(name: String, isMeant: @Sendable (String) -> Bool)] = [
    (
      "heap allocations",
      { symbol in
        ["malloc", "calloc", "realloc", "posix_memalign", "aligned_alloc"].contains(symbol)
          || symbol.contains("swift_allocObject") || symbol.contains("swift_slowAlloc")
      }
    ),
    (
      "retains and releases",
      { symbol in
        symbol.contains("swift_") && (symbol.contains("etain") || symbol.contains("elease"))
      }
    ),
    ("exclusivity checks", { $0.contains("swift_beginAccess") }),
    (
      "locks",
      { symbol in
        symbol.contains("mutex") || symbol.contains("Mutex") || symbol.contains("rwlock")
          || symbol == "syscall"
      }
    ),
  ]
}

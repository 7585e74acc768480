// SPDX-License-Identifier: Apache-2.0

/// What a row promises.
enum Rule: String, Encodable {
  case ratioAtMost = "ratio <= target"
  case ratioAtLeast = "ratio >= target"
  case oursAtMost = "ours <= target"
  case oursAtLeast = "ours >= target"
  case differenceAtMost = "ours - baseline <= target"
}

/// One measured promise, as it stands in bench-results.json.
struct Row: Encodable, Sendable {
  /// What is measured, and against what.
  let name: String
  let ours: Double
  let baseline: Double
  let target: Double
  let unit: String
  let rule: Rule
  /// How often it was measured; the best of each side counts.
  var attempts = 1

  /// Ours over the baseline; nothing over nothing is 1.
  var ratio: Double { baseline == 0 ? (ours == 0 ? 1 : .infinity) : ours / baseline }

  var ok: Bool {
    switch rule {
    case .ratioAtMost: ratio <= target
    case .ratioAtLeast: ratio >= target
    case .oursAtMost: ours <= target
    case .oursAtLeast: ours >= target
    case .differenceAtMost: ours - baseline <= target
    }
  }

  /// This row and the same one, measured again: the best of each side.
  ///
  /// Noise makes either side worse, never better; so a disturbed baseline must not stand for a row
  /// that was met.
  func again(_ other: Row) -> Row {
    let best: (Double, Double) -> Double =
      switch rule {
      case .ratioAtMost, .oursAtMost, .differenceAtMost: min
      case .ratioAtLeast, .oursAtLeast: max
      }
    return Row(
      name: name, ours: best(ours, other.ours), baseline: best(baseline, other.baseline),
      target: target, unit: unit, rule: rule, attempts: other.attempts)
  }

  private enum Key: CodingKey {
    case name, ours, baseline, ratio, target, unit, ok, rule, attempts
  }

  func encode(to encoder: any Encoder) throws {
    var values = encoder.container(keyedBy: Key.self)
    try values.encode(name, forKey: .name)
    try values.encode(ours, forKey: .ours)
    try values.encode(baseline, forKey: .baseline)
    // JSON has no infinity.
    try values.encode(ratio.isFinite ? ratio : nil, forKey: .ratio)
    try values.encode(target, forKey: .target)
    try values.encode(unit, forKey: .unit)
    try values.encode(ok, forKey: .ok)
    try values.encode(rule, forKey: .rule)
    try values.encode(attempts, forKey: .attempts)
  }
}

/// Rows that are measured together.
struct Measurement: Sendable {
  /// For --only, and for the line of progress.
  let name: String
  let run: @Sendable (Bench) async throws -> [Row]

  /// Measured on a thread of its own, on the first CPU.
  init(name: String, _ run: @escaping @Sendable (Bench) throws -> [Row]) {
    self.name = name
    self.run = { bench in try onThread(bench.cpu) { try run(bench) } }
  }

  /// Measured by tasks.
  init(name: String, async run: @escaping @Sendable (Bench) async throws -> [Row]) {
    self.name = name
    self.run = run
  }
}

/// What the measurements need to know.
struct Bench: Sendable {
  /// netdma-probe.
  let probe: String
  /// Where this program and its neighbours are.
  let directory: String
  /// The CPU of whoever drives, and that of the engine, the interrupt, the other process.
  let cpu: Int
  let otherCPU: Int
}

// SPDX-License-Identifier: Apache-2.0

import Glibc

/// From which size on the engine is better than the CPU.
struct BreakEven: Hashable, Sendable {
  /// One size: what the engine achieves, and what the CPU does.
  struct Sample: Hashable, Sendable {
    var size: Int
    var engine: Double
    var cpu: Double
  }

  /// A stretch of sizes at which the engine is at least as good; nil where it goes on to the end of
  /// what was measured.
  struct Stretch: Hashable, Encodable, Sendable {
    var from: Double?
    var to: Double?
  }

  /// Smallest and largest size that were measured.
  let range: ClosedRange<Int>
  /// Where the engine is at least as good, by size.
  let stretches: [Stretch]

  /// The size from which on the engine is better for good: nil when it is better at all sizes, or
  /// not at the largest.
  var size: Double? { stretches.last.flatMap { $0.to == nil ? $0.from : nil } }

  /// In how many places one curve crosses the other.
  var crossings: Int {
    stretches.reduce(0) { $0 + ($1.from == nil ? 0 : 1) + ($1.to == nil ? 0 : 1) }
  }

  /// Finds them; nil for fewer than two sizes, which tell nothing.
  ///
  /// Between two sizes the ratio of both curves is taken as straight on logarithmic axes.
  init?(_ samples: [Sample], prefersMore: Bool) {
    let samples = samples.sorted { $0.size < $1.size }.filter { $0.engine > 0 && $0.cpu > 0 }
    guard let first = samples.first, let last = samples.last, first.size < last.size else {
      return nil
    }
    range = first.size...last.size
    // How much better the engine is, above zero when it is.
    let leads = samples.map { sample in
      log(prefersMore ? sample.engine / sample.cpu : sample.cpu / sample.engine)
    }
    var stretches: [Stretch] = []
    for (index, lead) in leads.enumerated() {
      let wasAhead = index > 0 && leads[index - 1] >= 0
      switch (wasAhead, lead >= 0) {
      case (false, true):
        stretches.append(
          Stretch(from: index == 0 ? nil : Self.crossing(samples, leads, index), to: nil))
      case (true, false):
        stretches[stretches.count - 1].to = Self.crossing(samples, leads, index)
      default: break
      }
    }
    self.stretches = stretches
  }

  /// Where the lead changes its sign between a sample and the one before.
  private static func crossing(_ samples: [Sample], _ leads: [Double], _ index: Int) -> Double {
    let (a, b) = (log(Double(samples[index - 1].size)), log(Double(samples[index].size)))
    let part = leads[index - 1] / (leads[index - 1] - leads[index])
    return exp(a + (b - a) * part)
  }
}

extension BreakEven {
  /// What is compared.
  enum Measure: String, CaseIterable, Encodable, Sendable {
    case throughput, cpuTime

    fileprivate var ahead: String {
      self == .throughput ? "faster than" : "cheaper in CPU time than"
    }
    fileprivate var behind: String { self == .throughput ? "slower" : "dearer in CPU time" }
  }

  /// The answer in a cell of a table: "never", "always", "from 9.31 KiB".
  var brief: String {
    if stretches.isEmpty { return "never" }
    return stretches.map { stretch in
      switch (stretch.from, stretch.to) {
      case (nil, nil): "always"
      case (let from?, nil): "from \(approximateByteCount(from))"
      case (nil, let to?): "up to \(approximateByteCount(to))"
      case (let from?, let to?): "\(approximateByteCount(from)) to \(approximateByteCount(to))"
      }
    }.joined(separator: "; ")
  }

  /// One sentence that answers the question, or says that there is no answer in the range.
  func sentence(_ measure: Measure, cpuName: String) -> String {
    let least = byteCount(UInt64(range.lowerBound))
    let most = byteCount(UInt64(range.upperBound))
    if stretches.isEmpty {
      return "There is no break-even from \(least) to \(most): DMA is \(measure.behind) at every "
        + "size."
    }
    if stretches == [Stretch(from: nil, to: nil)] {
      return "DMA is \(measure.ahead) the CPU's \(cpuName) at every size from \(least) to \(most): "
        + "the break-even, if there is one, lies below."
    }
    let parts = stretches.map { stretch in
      switch (stretch.from, stretch.to) {
      case (nil, let to?): "up to about \(approximateByteCount(to))"
      case (let from?, nil): "from about \(approximateByteCount(from)) on"
      case (let from?, let to?):
        "from about \(approximateByteCount(from)) to \(approximateByteCount(to))"
      case (nil, nil): "everywhere"
      }
    }
    let places =
      parts.count > 1
      ? parts.dropLast().joined(separator: ", ") + " and " + (parts.last ?? "") : parts.first ?? ""
    let ending = size == nil ? ", not for larger ones up to \(most)" : ""
    return "DMA is \(measure.ahead) the CPU's \(cpuName) \(places)\(ending)."
  }
}

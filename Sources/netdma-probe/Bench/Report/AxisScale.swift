// SPDX-License-Identifier: Apache-2.0

import Glibc

/// Maps values to places along an axis.
struct AxisScale: Sendable {
  /// A line across the chart, labelled where there is room.
  struct Tick: Equatable, Sendable {
    var value: Double
    var label: String?
  }

  let lower: Double
  let upper: Double
  let isLogarithmic: Bool
  let ticks: [Tick]

  /// Powers of two from the smallest to the largest of `values`, at most about nine of them labelled.
  static func doublings(_ values: [Double], _ label: (Double) -> String) -> AxisScale {
    let lower = exp2(floor(log2(max(values.min() ?? 1, 1))))
    let upper = max(exp2(ceil(log2(max(values.max() ?? 1, 1)))), lower * 2)
    let count = Int(log2(upper / lower).rounded())
    let step = (count + 8) / 9
    let ticks = (0...count).map { index in
      let value = lower * exp2(Double(index))
      return Tick(value: value, label: index % step == 0 ? label(value) : nil)
    }
    return AxisScale(lower: lower, upper: upper, isLogarithmic: true, ticks: ticks)
  }

  /// From a value of the form 1, 2 or 5 times a power of ten below all `values` to one above.
  static func decades(_ values: [Double], _ label: (Double) -> String) -> AxisScale {
    let positive = values.filter { $0 > 0 && $0.isFinite }
    let (least, most) = (positive.min() ?? 1, positive.max() ?? 10)
    let all = (Int(floor(log10(least))) - 1...Int(floor(log10(most))) + 1).flatMap { exponent in
      [1, 2, 5].map { (digit: $0, value: Double($0) * pow(10, Double(exponent))) }
    }
    // A hair of tolerance, for powers of ten that are not exact.
    let first = all.lastIndex { $0.value <= least * 1.000_001 } ?? 0
    let last = max(first + 1, all.firstIndex { $0.value >= most * 0.999_999 } ?? all.count - 1)
    let chosen = all[first...last]
    // Over more than two decades only powers of ten have labels.
    let isLong = chosen.count > 8
    let ticks = chosen.map { entry in
      Tick(value: entry.value, label: !isLong || entry.digit == 1 ? label(entry.value) : nil)
    }
    return AxisScale(
      lower: all[first].value, upper: all[last].value, isLogarithmic: true, ticks: ticks)
  }

  /// From zero to a round number above all `values`.
  static func linear(_ values: [Double], _ label: (Double) -> String) -> AxisScale {
    let most = max(values.filter(\.isFinite).max() ?? 1, .leastNormalMagnitude)
    let unit = pow(10, floor(log10(most)))
    let step = [0.2, 0.5, 1, 2].map { $0 * unit }.first { $0 * 6 >= most } ?? unit * 2
    let count = max(1, Int(ceil(most / step)))
    let ticks = (0...count).map { index in
      Tick(value: step * Double(index), label: label(step * Double(index)))
    }
    return AxisScale(lower: 0, upper: step * Double(count), isLogarithmic: false, ticks: ticks)
  }

  /// The place of a value: 0 at the lower end, 1 at the upper end.
  func position(_ value: Double) -> Double {
    let part =
      isLogarithmic
      ? (log(max(value, lower)) - log(lower)) / (log(upper) - log(lower))
      : (value - lower) / (upper - lower)
    return min(max(part, 0), 1)
  }
}

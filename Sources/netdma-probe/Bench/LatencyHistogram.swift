// SPDX-License-Identifier: Apache-2.0

import Histogram

/// How long operations took, from their doorbell to the moment when their end was seen.
struct LatencyHistogram: Sendable {
  /// Three significant digits from a nanosecond to a minute; what takes longer counts as a minute.
  private var histogram = Histogram<UInt32>(
    highestTrackableValue: Self.longest, numberOfSignificantValueDigits: .three)
  private static var longest: UInt64 { 60_000_000_000 }
  private var longest: UInt64 = 0

  /// Counts `count` operations that took `nanoseconds` each.
  mutating func record(_ nanoseconds: UInt64, count: Int = 1) {
    histogram.record(min(nanoseconds, Self.longest), count: UInt32(clamping: count))
    longest = max(longest, nanoseconds)
  }

  /// Adds what another one counted.
  mutating func add(_ other: LatencyHistogram) {
    histogram.add(other.histogram)
    longest = max(longest, other.longest)
  }

  var summary: LatencySummary {
    func percentile(_ value: Double) -> UInt64 { min(longest, histogram.valueAtPercentile(value)) }
    return LatencySummary(
      p50: percentile(50), p99: percentile(99), p999: percentile(99.9), max: longest)
  }
}

/// Latencies in nanoseconds.
struct LatencySummary: Hashable, Encodable, Sendable {
  var p50: UInt64 = 0
  var p99: UInt64 = 0
  var p999: UInt64 = 0
  var max: UInt64 = 0
}

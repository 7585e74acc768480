// SPDX-License-Identifier: Apache-2.0

/// The value in the middle.
func median(_ values: [Double]) -> Double {
  let sorted = values.sorted()
  return sorted.isEmpty ? .nan : sorted[sorted.count / 2]
}

/// Measures both sides `rounds` times in turn, ours, baseline, ours, baseline, and gives the medians.
func interleaved(
  rounds: Int, ours: () throws -> Double, baseline: () throws -> Double
) rethrows -> (ours: Double, baseline: Double) {
  var left: [Double] = []
  var right: [Double] = []
  for _ in 0..<rounds {
    left.append(try ours())
    right.append(try baseline())
  }
  return (median(left), median(right))
}

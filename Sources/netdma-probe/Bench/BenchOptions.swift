// SPDX-License-Identifier: Apache-2.0

/// How every point is measured.
struct BenchOptions: Sendable {
  /// How long.
  var duration = Duration.milliseconds(200)
  /// Whether the bytes of every operation are compared, between the measured parts.
  var verifies = false
  /// Whether the CPU does the same, for comparison.
  var comparesCPU = true

  /// `duration` in nanoseconds.
  var nanoseconds: UInt64 {
    let parts = duration.components
    return UInt64(parts.seconds) * 1_000_000_000 + UInt64(parts.attoseconds / 1_000_000_000)
  }
}

// SPDX-License-Identifier: Apache-2.0

/// How long a point is measured: for a time, unless it is stopped before.
struct BenchWindow: Sendable {
  /// CLOCK_MONOTONIC nanoseconds.
  let end: UInt64
  let isStopped: @Sendable () -> Bool

  /// Whether nothing more is to be started.
  func isOver(at now: UInt64) -> Bool { now >= end || isStopped() }
}

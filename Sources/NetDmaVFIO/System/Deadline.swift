// SPDX-License-Identifier: Apache-2.0

import CNetDma
import Glibc

/// A point of the monotonic clock until which something may take.
public struct Deadline: Sendable {
  private let nanoseconds: UInt64

  /// `duration` from now; a negative duration has already passed.
  public init(after duration: Duration) {
    let parts = duration.components
    let span =
      parts.seconds < 0
      ? 0
      : UInt64(parts.seconds) &* 1_000_000_000
        &+ UInt64(max(0, parts.attoseconds) / 1_000_000_000)
    let (sum, overflow) = Self.now().addingReportingOverflow(span)
    nanoseconds = overflow ? .max : sum
  }

  /// Whether the point has passed.
  public var hasPassed: Bool { Self.now() >= nanoseconds }

  /// What is left, zero when it has passed.
  public var remaining: Duration {
    let now = Self.now()
    return now >= nanoseconds ? .zero : .nanoseconds(Int64(clamping: nanoseconds - now))
  }

  /// Milliseconds left, rounded up, for poll(2) and epoll_wait(2).
  public var pollTimeout: CInt {
    let now = Self.now()
    return now >= nanoseconds ? 0 : CInt(clamping: (nanoseconds - now + 999_999) / 1_000_000)
  }

  /// CLOCK_MONOTONIC in nanoseconds.
  public static func now() -> UInt64 {
    var time = timespec()
    // The pointer lives for the call; CLOCK_MONOTONIC always exists.
    _ = unsafe clock_gettime(CLOCK_MONOTONIC, &time)
    return UInt64(time.tv_sec) &* 1_000_000_000 &+ UInt64(time.tv_nsec)
  }

  /// Asks `condition` until it holds or the deadline passes: a short spin first, then with growing
  /// sleeps of at most 1 ms.
  ///
  /// Returns whether the condition held.
  package func poll<E: Error>(_ condition: () throws(E) -> Bool) throws(E) -> Bool {
    var turn: UInt32 = 0
    while true {
      if try condition() { return true }
      if hasPassed { return try condition() }
      turn &+= 1
      if turn < 64 {
        netdma_cpu_pause()
      } else {
        _ = usleep(turn < 128 ? 20 : turn < 256 ? 100 : 1000)
      }
    }
  }
}

extension Duration {
  /// Milliseconds, at most as many as an Int has.
  package var wholeMilliseconds: Int {
    let (seconds, attoseconds) = components
    let (product, overflow) = seconds.multipliedReportingOverflow(by: 1000)
    if overflow { return seconds < 0 ? .min : .max }
    return Int(clamping: product.addingReportingOverflow(attoseconds / 1_000_000_000_000_000).0)
  }
}

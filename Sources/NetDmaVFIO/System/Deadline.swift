// SPDX-License-Identifier: Apache-2.0

import CNetDma
import Glibc

/// A point of the monotonic clock until which something may take.
public struct Deadline: Sendable {
  private let nanoseconds: UInt64

  /// `duration` from now; a negative duration has already passed.
  public init(after duration: Duration) {
    let (sum, overflow) = Self.now().addingReportingOverflow(duration.wholeNanoseconds)
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

// In 128 bits, since "for ever" is a duration too, and so is what is added to it.
extension Duration {
  /// Milliseconds, the rest dropped, as far as an `Int` goes: for messages.
  package var wholeMilliseconds: Int { Int(clamping: attoseconds / 1_000_000_000_000_000) }

  /// Nanoseconds, the rest dropped, as far as the monotonic clock goes; 0 for a negative duration.
  package var wholeNanoseconds: UInt64 { UInt64(clamping: attoseconds / 1_000_000_000) }
}

// SPDX-License-Identifier: Apache-2.0

import CNetDma
import NetDmaVFIO
import Synchronization

/// Wakes an engine thread: it sleeps without losing a ring, and a ring costs a system call only if
/// it sleeps.
final class EngineBell: Sendable {
  private let event: EventFD
  /// Rings so far; the engine compares it with what it saw before it looked for work.
  private let rings = Atomic<UInt32>(0)
  private let isAsleep = Atomic<Bool>(false)

  init() throws(SystemCallError) { event = try EventFD() }

  /// To be read before looking for work, and handed to `wait`.
  var count: UInt32 { rings.load(ordering: .sequentiallyConsistent) }

  /// Makes a `wait` that began, or begins with an older count, return.
  func ring() {
    rings.add(1, ordering: .sequentiallyConsistent)
    // Either the sleeper sees the new count, or it had said before that it sleeps.
    if isAsleep.exchange(false, ordering: .sequentiallyConsistent) { event.signal() }
  }

  /// Waits until the bell was rung since `seen` was read, or CLOCK_MONOTONIC passes `time`.
  ///
  /// Looks for `spin` nanoseconds before it sleeps. May return early.
  func wait(since seen: UInt32, until time: UInt64?, spin: UInt64) {
    if spin > 0 {
      let now = Deadline.now()
      let end = min(now &+ spin, time ?? .max)
      while Deadline.now() < end {
        for _ in 0..<32 {
          if rings.load(ordering: .relaxed) != seen { return }
          netdma_cpu_pause()
        }
      }
    }
    isAsleep.store(true, ordering: .sequentiallyConsistent)
    if rings.load(ordering: .sequentiallyConsistent) == seen {
      let now = time == nil ? 0 : Deadline.now()
      let span = time.map { $0 > now ? Int64(clamping: $0 - now) : 0 } ?? -1
      _ = netdma_wait_readable(event.rawValue, span)
    }
    isAsleep.store(false, ordering: .sequentiallyConsistent)
    _ = event.drain()
  }
}

// SPDX-License-Identifier: Apache-2.0

import Synchronization

/// A deferred procedure call: work that an ISR leaves for a CPU's thread.
///
/// Queued any number of times it runs at least once after the last time, never twice at once. The
/// routine must not block; it may queue its own DPC again.
public final class Dpc: Sendable {
  let routine: @Sendable () -> Void
  // 0 idle, 1 queued. Set by whoever queues it, cleared by the processor before it runs it.
  private let queued = Atomic<UInt32>(0)

  /// A DPC that runs `routine`.
  public init(_ routine: @escaping @Sendable () -> Void) { self.routine = routine }

  /// Marks it queued; false when it already was.
  func markQueued() -> Bool {
    queued.exchange(1, ordering: .acquiringAndReleasing) == 0
  }

  /// Runs it; what is queued from now on runs again.
  func run() {
    _ = queued.exchange(0, ordering: .acquiringAndReleasing)
    routine()
  }
}

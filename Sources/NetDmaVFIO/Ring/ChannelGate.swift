// SPDX-License-Identifier: Apache-2.0

import CNetDma
import Synchronization

/// Lets control operations (reset, recovery, stop) exclude a channel's two fast lanes without
/// making the lanes pay for it.
///
/// The producer lane (submit) and the reaper lane (poll or DPC) enter with one store and one load.
/// A control operation closes the gate, has every CPU pass a barrier (membarrier), and waits until
/// both lanes are empty. A lane that finds the gate closed leaves at once.
package final class ChannelGate: Sendable {
  /// What the lanes may do.
  package enum Phase: UInt32, Sendable {
    /// Submit and reap.
    case open = 0
    /// A control operation is under way; try again.
    case held = 1
    /// The engine has no chain: the next submit starts one (StartDma instead of AppendDma).
    case needsStart = 2
    /// Suspended: operations may be enqueued, submitting waits for the resume.
    case suspended = 3
    /// The channel is gone for good.
    case closed = 4
  }

  private let phase = Atomic<UInt32>(Phase.needsStart.rawValue)
  // A lane's word is written by that lane alone, read by control operations.
  private let producerBusy = Atomic<UInt32>(0)
  private let reaperBusy = Atomic<UInt32>(0)
  private let control = Mutex<Void>(())
  private let needsFence: Bool

  package init() {
    // Without membarrier (kernels before 4.14, some sandboxes) the lanes pay for a fence instead.
    needsFence = netdma_membarrier_register() != 0
  }

  /// The phase now; it may change at once unless the caller is in a lane or holds the gate.
  package var current: Phase { Phase(rawValue: phase.load(ordering: .acquiring)) ?? .closed }

  /// Enters the producer lane and tells the phase; the lane must be left whatever the answer.
  @inline(__always)
  package func enterProducer() -> Phase {
    producerBusy.store(1, ordering: .relaxed)
    orderEntry()
    return current
  }

  /// Leaves the producer lane.
  @inline(__always)
  package func leaveProducer() { producerBusy.store(0, ordering: .releasing) }

  /// Enters the reaper lane; false when another reaper is in it (then it is not entered).
  @inline(__always)
  package func enterReaper() -> Bool {
    guard
      reaperBusy.compareExchange(expected: 0, desired: 1, ordering: .sequentiallyConsistent)
        .exchanged
    else { return false }
    orderEntry()
    return true
  }

  /// Leaves the reaper lane.
  @inline(__always)
  package func leaveReaper() { reaperBusy.store(0, ordering: .releasing) }

  // Pairs with the barrier in `withExclusive`: the store of the busy word comes before the load of
  // the phase, for the compiler here and for the CPU there.
  @inline(__always)
  private func orderEntry() {
    netdma_compiler_barrier()
    if needsFence { atomicMemoryFence(ordering: .sequentiallyConsistent) }
  }

  /// Runs `body` with both lanes empty; it returns the phase to go on with.
  ///
  /// Control operations exclude each other. Must not be called from inside a lane.
  package func withExclusive<R, E: Error>(
    _ body: (Phase) throws(E) -> (next: Phase, result: R)
  ) throws(E) -> R {
    try control.withLock { _ throws(E) in
      let before = current
      phase.store(Phase.held.rawValue, ordering: .sequentiallyConsistent)
      if needsFence || netdma_membarrier() != 0 {
        atomicMemoryFence(ordering: .sequentiallyConsistent)
      }
      var turn = 0
      while producerBusy.load(ordering: .acquiring) != 0
        || reaperBusy.load(ordering: .acquiring) != 0
      {
        // A lane is a few stores, or one register write over a socket with its own deadline.
        turn += 1
        if turn < 1000 { netdma_cpu_pause() } else { netdma_yield() }
      }
      var next = before
      defer { phase.store(next.rawValue, ordering: .releasing) }
      let answer = try body(before)
      next = answer.next
      return answer.result
    }
  }
}

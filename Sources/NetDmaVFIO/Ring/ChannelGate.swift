// SPDX-License-Identifier: Apache-2.0

import CNetDma
import Glibc
import Synchronization

/// Lets control operations (reset, recovery, stop) exclude a channel's two fast lanes without
/// making the lanes pay for it.
///
/// The producer lane (submit) and the reaper lane (poll or DPC) enter with one store and one load.
/// A control operation closes the gate, has every CPU pass a barrier (membarrier), and waits until
/// both lanes are empty. A lane that finds the gate closed leaves at once.
@safe package final class ChannelGate: @unchecked Sendable {
  // @unchecked: the pointer is constant and valid while `progress` lives; what is used of the words
  // behind it is atomic.
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

  private let progress: ChannelProgress
  private let words: UnsafeMutablePointer<ChannelWords>
  private let control = Mutex<Void>(())
  /// Whether the lanes pay for a fence, since this system lacks membarrier: kernels before 4.14,
  /// some sandboxes.
  package let needsFence: Bool

  /// The gate of the channel that `progress` belongs to; it needs a start.
  package init(_ progress: ChannelProgress) {
    needsFence = netdma_membarrier_register() != 0
    self.progress = progress
    unsafe words = progress.words
    unsafe words.pointee.gate.phase.store(Phase.needsStart.rawValue, ordering: .releasing)
  }

  /// The phase now; it may change at once unless the caller is in a lane or holds the gate.
  package var current: Phase {
    Phase(rawValue: unsafe words.pointee.gate.phase.load(ordering: .acquiring)) ?? .closed
  }

  /// Enters the producer lane and tells the phase; the lane must be left whatever the answer.
  package func enterProducer() -> Phase {
    let phase = unsafe words.pointee.gate.enterProducer()
    guard needsFence else { return Phase(rawValue: phase) ?? .closed }
    atomicMemoryFence(ordering: .sequentiallyConsistent)
    return current
  }

  /// Leaves the producer lane.
  package func leaveProducer() { unsafe words.pointee.gate.leaveProducer() }

  /// Enters the reaper lane; false when another reaper is in it (then it is not entered).
  package func enterReaper() -> Bool {
    guard
      unsafe words.pointee.reaperBusy.compareExchange(
        expected: 0, desired: 1, ordering: .sequentiallyConsistent
      ).exchanged
    else { return false }
    netdma_compiler_barrier()
    if needsFence { atomicMemoryFence(ordering: .sequentiallyConsistent) }
    return true
  }

  /// Leaves the reaper lane.
  package func leaveReaper() { unsafe words.pointee.reaperBusy.store(0, ordering: .releasing) }

  /// Runs `body` with both lanes empty; it returns the phase to go on with.
  ///
  /// Control operations exclude each other. Must not be called from inside a lane.
  package func withExclusive<R, E: Error>(
    _ body: (Phase) throws(E) -> (next: Phase, result: R)
  ) throws(E) -> R {
    try control.withLock { _ throws(E) in
      let before = current
      unsafe words.pointee.gate.phase.store(Phase.held.rawValue, ordering: .sequentiallyConsistent)
      if needsFence {
        atomicMemoryFence(ordering: .sequentiallyConsistent)
      } else if netdma_membarrier() != 0 {
        // It worked when it was asked for, and is forbidden since, or the kernel is out of memory: the lanes
        // count on it. No CPU holds a store back for anything like this long.
        _ = usleep(10_000)
      }
      var turn = 0
      while unsafe words.pointee.gate.producerBusy.load(ordering: .acquiring) != 0
        || words.pointee.reaperBusy.load(ordering: .acquiring) != 0
      {
        // A lane is a few stores, or one register write over a socket with its own deadline.
        turn += 1
        if turn < 1000 { netdma_cpu_pause() } else { netdma_yield() }
      }
      var next = before
      defer { unsafe words.pointee.gate.phase.store(next.rawValue, ordering: .releasing) }
      let answer = try body(before)
      next = answer.next
      return answer.result
    }
  }
}

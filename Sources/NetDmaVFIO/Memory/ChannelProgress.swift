// SPDX-License-Identifier: Apache-2.0

import Synchronization

/// How far a channel's descriptors are, for those who must not free or reuse what they name.
///
/// Positions are free-running 32-bit counts of ring slots; at most 32,767 are outstanding, so a
/// wrapped difference tells older from newer. retired ≤ submitted ≤ enqueued.
package final class ChannelProgress: Sendable {
  // Written by the channel's producer; read by anybody.
  private let enqueued = Atomic<UInt32>(0)
  private let submitted = Atomic<UInt32>(0)
  private let spanHead = Atomic<UInt32>(0)
  // Written by whoever holds the reaper lane or the gate; read by anybody.
  private let retired = Atomic<UInt32>(0)
  // Written by control operations while they hold the gate; read by the producer lane.
  private let chain = Atomic<UInt32>(0)

  package init() {}

  /// The position after the newest descriptor written.
  package var enqueuedPosition: UInt32 { enqueued.load(ordering: .acquiring) }
  /// The position after the newest descriptor that the engine was told of.
  package var submittedPosition: UInt32 { submitted.load(ordering: .acquiring) }
  /// The position after the newest descriptor that ended.
  package var retiredPosition: UInt32 { retired.load(ordering: .acquiring) }
  /// The position that the engine counts from: where CHAINADDR points.
  package var chainBase: UInt32 { chain.load(ordering: .acquiring) }
  /// The number of multi-slot operations ever enqueued.
  package var spanCount: UInt32 { spanHead.load(ordering: .acquiring) }
  /// Whether nothing is outstanding.
  package var isIdle: Bool { retiredPosition == enqueuedPosition }

  /// Whether everything before `position` ended.
  package func hasRetired(_ position: UInt32) -> Bool {
    Int32(bitPattern: retiredPosition &- position) >= 0
  }

  /// By the producer: the descriptors before `position` are written.
  @inline(__always)
  package func publishEnqueued(_ position: UInt32) {
    enqueued.store(position, ordering: .releasing)
  }
  /// By the producer, before the doorbell.
  @inline(__always)
  package func publishSubmitted(_ position: UInt32) {
    submitted.store(position, ordering: .releasing)
  }
  /// By the producer, before the slots of the operation are published.
  package func publishSpans(_ count: UInt32) { spanHead.store(count, ordering: .releasing) }
  /// By the reaper, after the descriptors before `position` ended.
  @inline(__always)
  package func publishRetired(_ position: UInt32) { retired.store(position, ordering: .releasing) }
  /// By a control operation that holds the gate.
  package func setChainBase(_ position: UInt32) { chain.store(position, ordering: .releasing) }
}

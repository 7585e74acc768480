// SPDX-License-Identifier: Apache-2.0

import Synchronization

/// What a channel has done since it was allocated.
///
/// Counts are never reset and may lag each other by what is in progress.
public struct NetDmaChannelStatistics: Hashable, Sendable {
  /// Descriptors that were submitted.
  public var submittedDescriptors: UInt64 = 0
  /// Bytes of those descriptors.
  public var submittedBytes: UInt64 = 0
  /// Doorbells (StartDma and AppendDma).
  public var doorbells: UInt64 = 0
  /// Operations that ended well.
  public var completed: UInt64 = 0
  /// Operations that ended with an error.
  public var failed: UInt64 = 0
  /// Signals that the channel's eventfd delivered.
  public var interrupts: UInt64 = 0
  /// Calls of NetDmaIsr for the channel.
  public var isrCalls: UInt64 = 0
  /// Calls of NetDmaInterruptDpc for the channel.
  public var dpcCalls: UInt64 = 0
  /// DPC runs that found nothing done, and nothing that was taken before.
  public var spuriousInterrupts: UInt64 = 0
  /// DPC runs that found nothing because it was taken before: by a run that ended more than one
  /// operation, by the watchdog, or by a suspension, abort or reset.
  public var lateInterrupts: UInt64 = 0
  /// Signals beyond the first that one wake-up delivered.
  public var mergedInterrupts: UInt64 = 0
  /// Completions that only the watchdog found.
  public var lostInterrupts: UInt64 = 0
  /// Descriptors whose completion word never came; the registers told of them.
  public var lostCompletions: UInt64 = 0
  /// Resets of the channel while it was allocated, aborts among them.
  public var resets: UInt64 = 0
  /// Completion words that named no descriptor of the ring.
  public var foreignCompletions: UInt64 = 0

  /// All zero.
  public init() {}

  /// Sums of two channels' counts.
  public static func + (a: Self, b: Self) -> Self {
    var sum = a
    for field in Self.fields { sum[keyPath: field] &+= b[keyPath: field] }
    return sum
  }

  private static var fields: [WritableKeyPath<Self, UInt64>] {
    [
      \.submittedDescriptors, \.submittedBytes, \.doorbells, \.completed, \.failed, \.interrupts,
      \.isrCalls, \.dpcCalls, \.spuriousInterrupts, \.lateInterrupts, \.mergedInterrupts,
      \.lostInterrupts, \.lostCompletions, \.resets, \.foreignCompletions,
    ]
  }
}

/// The counters behind `NetDmaChannelStatistics`.
final class ChannelCounters: Sendable {
  // What the lanes count lies beside their positions.
  private let progress: ChannelProgress
  // One writer each, the reaper (lane or gate).
  let failed = Atomic<UInt64>(0)
  /// Descriptors that were submitted before the channel had an owner.
  let unowned = Atomic<UInt64>(0)
  let foreignCompletions = Atomic<UInt64>(0)
  let resets = Atomic<UInt64>(0)
  // Any number of writers.
  let interrupts = Atomic<UInt64>(0)
  let isrCalls = Atomic<UInt64>(0)
  let dpcCalls = Atomic<UInt64>(0)
  let spurious = Atomic<UInt64>(0)
  let late = Atomic<UInt64>(0)
  let merged = Atomic<UInt64>(0)
  let lost = Atomic<UInt64>(0)
  let lostCompletions = Atomic<UInt64>(0)

  init(progress: ChannelProgress) { self.progress = progress }

  /// Operations that ended well.
  var completed: UInt64 { unsafe progress.words.pointee.completedOperations() }

  var snapshot: NetDmaChannelStatistics {
    func read(_ counter: borrowing Atomic<UInt64>) -> UInt64 { counter.load(ordering: .relaxed) }
    var result = NetDmaChannelStatistics()
    let lanes = unsafe progress.words
    result.submittedDescriptors =
      unsafe lanes.pointee.extended(progress.submittedPosition) &- read(unowned)
    result.submittedBytes = unsafe read(lanes.pointee.bytes)
    result.doorbells = unsafe read(lanes.pointee.doorbells)
    result.completed = completed
    result.failed = read(failed)
    result.interrupts = read(interrupts)
    result.isrCalls = read(isrCalls)
    result.dpcCalls = read(dpcCalls)
    result.spuriousInterrupts = read(spurious)
    result.lateInterrupts = read(late)
    result.mergedInterrupts = read(merged)
    result.lostInterrupts = read(lost)
    result.lostCompletions = read(lostCompletions)
    result.resets = read(resets)
    result.foreignCompletions = read(foreignCompletions)
    return result
  }
}

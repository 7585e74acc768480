// SPDX-License-Identifier: Apache-2.0

import Synchronization

/// How far a channel's descriptors are, for those who must not free or reuse what they name.
///
/// Positions are free-running 32-bit counts of ring slots; at most 32,767 are outstanding, so a
/// wrapped difference tells older from newer. retired ≤ submitted ≤ written.
///
/// The producer does not publish every descriptor that it writes: one store less for each. It
/// publishes that it began a batch, and then, with the doorbell, where the batch ended. Whoever must
/// know what was written by now takes a `Mark`, which holds until that batch was submitted.
@safe package final class ChannelProgress: @unchecked Sendable {
  // @unchecked: the pointer is constant and valid while this object lives. All words behind it are
  // atomic but the producer's own and `chainBase`, which say who may touch them, and `constants`,
  // which are written before the channel has an owner and then read by the owner alone. The flag beside
  // it is atomic.
  let words: UnsafeMutablePointer<ChannelWords>
  /// Whether the engine touches nothing on the channel's behalf any more.
  private let isDetached = Atomic<Bool>(false)

  package init() {
    let memory = UnsafeMutableRawPointer.allocate(
      byteCount: MemoryLayout<ChannelWords>.size, alignment: 64)
    unsafe words = memory.bindMemory(to: ChannelWords.self, capacity: 1)
    unsafe words.initialize(to: ChannelWords(constants: LaneConstants(placeholder: memory)))
  }

  deinit {
    unsafe words.deinitialize(count: 1)
    unsafe words.deallocate()
  }

  /// The position after the newest descriptor that the engine was told of.
  package var submittedPosition: UInt32 {
    unsafe words.pointee.submitted.load(ordering: .acquiring)
  }
  /// The position after the newest descriptor that ended.
  package var retiredPosition: UInt32 { unsafe words.pointee.retired.load(ordering: .acquiring) }
  /// The number of multi-slot operations ever enqueued.
  package var spanCount: UInt32 { unsafe words.pointee.spanCount.load(ordering: .acquiring) }
  /// The position that the engine counts from: where CHAINADDR points; by who holds the gate.
  package var chainBase: UInt32 { unsafe words.pointee.chainBase }
  /// Whether nothing is outstanding, and nothing written that was not submitted.
  package var isIdle: Bool { mark == nil }

  /// Whether everything before `position` ended.
  package func hasRetired(_ position: UInt32) -> Bool {
    Int32(bitPattern: retiredPosition &- position) >= 0
  }

  // MARK: - What was written by now

  /// Where the channel must be before everything written by now is done; nil when it is there.
  ///
  /// "Written by now" is what happened before this call in the caller's eyes: on its own thread, or
  /// on another that it heard of through whatever the two threads share.
  var mark: Mark? {
    if isDetached.load(ordering: .acquiring) { return nil }
    // The order matters. A batch that was begun before this call shows in `begun`, whose value can
    // only be too new then. A value that is too new for `submitted` reads as an open batch, which is
    // the careful answer.
    let begun = unsafe words.pointee.begun.load(ordering: .acquiring)
    let submitted = submittedPosition
    if Int32(bitPattern: begun &- submitted) >= 0 {
      return Mark(position: extended(begun), isOpen: true)
    }
    return hasRetired(submitted) ? nil : Mark(position: extended(submitted), isOpen: false)
  }

  /// In 64 bits, since a mark may be looked at again when positions have wrapped.
  private func extended(_ position: UInt32) -> UInt64 { unsafe words.pointee.extended(position) }

  /// The engine is stopped for good: every mark is passed, also those of a batch that will never be
  /// submitted.
  func detach() { isDetached.store(true, ordering: .releasing) }

  /// What must be retired before memory can go.
  struct Mark: Sendable, Equatable {
    /// Where the batch in question ends; while it is open, where it begins.
    fileprivate(set) var position: UInt64
    /// Whether the batch was not submitted when last looked at.
    fileprivate(set) var isOpen: Bool
  }

  /// Whether everything that `mark` stands for ended; remembers what it learns.
  func hasPassed(_ mark: inout Mark) -> Bool {
    if isDetached.load(ordering: .acquiring) { return true }
    if mark.isOpen {
      let submitted = extended(submittedPosition)
      // The batch ends at or before what is submitted now, and everything in it was written before.
      guard submitted > mark.position else { return false }
      mark = Mark(position: submitted, isOpen: false)
    }
    return extended(retiredPosition) >= mark.position
  }

  // MARK: - Publishing

  /// By the producer, before it writes the first descriptor after a submit.
  package func publishBegun() { unsafe words.pointee.publishBegun() }
  /// By the producer, before the doorbell.
  package func publishSubmitted(_ position: UInt32) {
    unsafe words.pointee.submitted.store(position, ordering: .releasing)
  }
  /// By the producer, before the slots of the operation are submitted.
  package func publishSpans(_ count: UInt32) {
    unsafe words.pointee.spanCount.store(count, ordering: .releasing)
    raise(.spans)
  }
  /// By the reaper, after the next `slots` slots ended: `operations` that ended well, and whatever else.
  package func retire(_ slots: UInt32, operations: Int) {
    unsafe words.pointee.retire(slots, operations: operations)
  }
  /// By a control operation that holds the gate.
  package func setChainBase(_ position: UInt32) { unsafe words.pointee.chainBase = position }

  // MARK: - Attention

  /// Why a poll must look closer than at the completion word.
  package struct Attention: OptionSet, Sendable {
    package let rawValue: UInt32
    package init(rawValue: UInt32) { self.rawValue = rawValue }
    /// Control operations ended operations that the client was not told of.
    package static let mail = Self(rawValue: 1)
    /// An operation of several slots is in the ring.
    package static let spans = Self(rawValue: 2)
    /// `retired` moved by other means than the completion word, which may be an old one.
    package static let word = Self(rawValue: 4)
  }

  /// What a poll must look at now.
  package var attention: Attention {
    Attention(rawValue: unsafe words.pointee.attention.load(ordering: .acquiring))
  }
  /// Asks for the next poll's attention.
  package func raise(_ reason: Attention) {
    _ = unsafe words.pointee.attention.bitwiseOr(reason.rawValue, ordering: .sequentiallyConsistent)
  }
  /// The reason is gone.
  package func lower(_ reason: Attention) {
    _ = unsafe words.pointee.attention.bitwiseAnd(
      ~reason.rawValue, ordering: .sequentiallyConsistent)
  }
}

// SPDX-License-Identifier: Apache-2.0

public import CNetDma
public import Synchronization

/// What a poll does nearly always: hot path.
///
/// It believes a completion word under the same conditions as `RingConsumer`, and leaves everything
/// else to it: a word that tells nothing new or names no slot, and whatever `ChannelWords.attention`
/// asks for (operations of several slots, what control operations ended, a word that they overtook).
///
/// Used in the reaping lane. It keeps no state: that the word it took last is not taken again follows
/// from its slot, which lies before the oldest outstanding one, a whole ring away.
@safe @usableFromInline struct RingPoller {
  // The producer's, which the channel keeps alive.
  @usableFromInline let words: UnsafeMutablePointer<ChannelWords>
  @usableFromInline let tokens: UnsafeMutableRawPointer

  /// The poller of the ring that `producer` writes to.
  @inlinable @inline(__always)
  init(_ producer: borrowing RingProducer) {
    unsafe words = producer.words
    unsafe tokens = producer.tokens
  }

  /// What a look at the completion word told.
  @usableFromInline struct Look {
    /// The oldest position that has not ended.
    @usableFromInline let tail: UInt32
    /// How many slots ended, each an operation of its own; 0 when that is not sure.
    @usableFromInline let slots: UInt64

    @inlinable @inline(__always)
    init(tail: UInt32, slots: UInt64) {
      self.tail = tail
      self.slots = slots
    }
  }

  /// Looks at the completion word.
  @inlinable @inline(__always)
  func look() -> Look {
    // The low bits are the state, which does not matter: what a halted engine reports was done
    // before. The ring's address has zeros there, so they are shifted out.
    let word = unsafe netdma_load_acquire64(words.pointee.constants.completion)
    let slot = unsafe (word &- words.pointee.constants.ring) &>> 6
    let mask = unsafe words.pointee.constants.mask
    let tail = unsafe words.pointee.retired.load(ordering: .relaxed)
    let offset = (slot &- UInt64(tail)) & mask
    let outstanding = unsafe words.pointee.submitted.load(ordering: .relaxed) &- tail
    guard _fastPath(slot <= mask),
      _fastPath(unsafe words.pointee.attention.load(ordering: .relaxed) == 0),
      _fastPath(offset < UInt64(outstanding))
    else { return Look(tail: tail, slots: 0) }
    return Look(tail: tail, slots: offset &+ 1)
  }

  /// The token of the slot that is `offset` slots behind the oldest outstanding.
  @inlinable @inline(__always)
  func token(at offset: UInt64, _ look: Look) -> UInt64 {
    let slot = unsafe (UInt64(look.tail) &+ offset) & words.pointee.constants.mask
    // In bounds by the mask; written before the position was submitted.
    return unsafe tokens.load(
      fromByteOffset: Int(truncatingIfNeeded: slot &* 8), as: UInt64.self)
  }

  /// Ends the slots.
  @inlinable @inline(__always)
  func retire(_ look: Look) {
    unsafe words.pointee.retired.store(
      look.tail &+ UInt32(truncatingIfNeeded: look.slots), ordering: .releasing)
  }
}

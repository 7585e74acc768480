// SPDX-License-Identifier: Apache-2.0

public import CNetDma
public import Synchronization

/// What a poll does nearly always: hot path.
///
/// It believes a completion word under the same conditions as `RingConsumer`, and leaves everything
/// else to it: a word that tells nothing new or names no slot, and whatever `ProgressWords.attention`
/// asks for (operations of several slots, what control operations ended, a word that they overtook).
///
/// Used in the reaping lane. It keeps no state: that the word it took last is not taken again follows
/// from its slot, which lies before the oldest outstanding one, a whole ring away.
@safe @usableFromInline struct RingPoller {
  // Constants of the ring's memory, which the channel keeps alive.
  @usableFromInline let completion: UnsafeMutablePointer<UInt64>
  @usableFromInline let tokens: UnsafeMutablePointer<UInt64>
  @usableFromInline let words: UnsafeMutablePointer<ProgressWords>
  @usableFromInline let iova: UInt64
  @usableFromInline let mask: UInt64

  init(memory: RingMemory, progress: ChannelProgress) {
    unsafe completion = memory.completion
    unsafe tokens = memory.tokens
    unsafe words = progress.words
    iova = memory.iova
    mask = UInt64(memory.mask)
  }

  /// How many slots ended, each an operation of its own; 0 when that is not sure.
  @inlinable @inline(__always)
  func slotsDone() -> UInt32 {
    // The low bits are the state, which does not matter: what a halted engine reports was done
    // before. The ring's address has zeros there, so they are shifted out.
    let slot = (unsafe netdma_load_acquire64(completion) &- iova) &>> 6
    guard _fastPath(slot <= mask),
      _fastPath(unsafe words.pointee.attention.load(ordering: .relaxed) == 0)
    else { return 0 }
    let tail = unsafe words.pointee.retired.load(ordering: .relaxed)
    let offset = UInt32(truncatingIfNeeded: (slot &- UInt64(tail)) & mask)
    let outstanding = unsafe words.pointee.submitted.load(ordering: .relaxed) &- tail
    return _fastPath(offset < outstanding) ? offset &+ 1 : 0
  }

  /// The token of the slot that is `offset` slots behind the oldest outstanding.
  @inlinable @inline(__always)
  func token(at offset: UInt32) -> UInt64 {
    let position = unsafe words.pointee.retired.load(ordering: .relaxed) &+ offset
    // In bounds by the mask; written before the position was submitted.
    return unsafe tokens[Int(position & UInt32(truncatingIfNeeded: mask))]
  }

  /// Ends `slots` slots.
  @inlinable @inline(__always)
  func retire(_ slots: UInt32) {
    let tail = unsafe words.pointee.retired.load(ordering: .relaxed)
    unsafe words.pointee.retired.store(tail &+ slots, ordering: .releasing)
    unsafe words.pointee.completed.addAlone(UInt64(slots))
  }
}

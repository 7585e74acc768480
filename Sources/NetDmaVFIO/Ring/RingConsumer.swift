// SPDX-License-Identifier: Apache-2.0

import Synchronization

/// The reaping end of a descriptor ring.
///
/// Owned by whoever is in the reaping lane or holds the gate. It polls the completion word alone, and
/// believes it only when it names a slot between the oldest outstanding and the newest submitted.
/// A poll that finds nothing out of the ordinary takes a short cut past it, `RingPoller`.
package struct RingConsumer: ~Copyable {
  package let memory: RingMemory
  package let progress: ChannelProgress
  /// The oldest position that has not ended.
  ///
  /// One word for this and for `retired`: what everybody reads is written by the reaper alone.
  package var tail: UInt32 {
    unsafe progress.words.pointee.retired.load(ordering: .relaxed)
  }
  private var lastWord: UInt64 = 0
  private var spanTail: UInt32
  /// Completion words that named no slot of the ring: a broken engine.
  package private(set) var foreignWords: UInt64 = 0

  package init(memory: RingMemory, progress: ChannelProgress) {
    self.memory = memory
    self.progress = progress
    spanTail = progress.spanCount
  }

  /// The completion word if it changed since the last call.
  package mutating func peek() -> CompletionWord? {
    let word = memory.loadCompletion()
    if word.rawValue == lastWord { return nil }
    lastWord = word.rawValue
    return word
  }

  /// The completion word unless all that it says was taken already: for control operations, and for
  /// polls that look closer.
  ///
  /// A word that was looked at before was taken then, except one that says HALTED, which is left to
  /// the recovery. Taking a word twice is not harmless where `tail` moved past its slot by other
  /// means (`ChannelProgress.Attention.word`): it names a slot ahead of `tail` as soon as the ring is
  /// nearly full. Where only words moved `tail`, an old one names the slot before it, a whole ring
  /// away; and looking at words alone would not do, since polls take them without noting it here, and
  /// each comes again a lap later.
  package mutating func takeWord() -> CompletionWord? {
    let word = memory.loadCompletion()
    let wasSeen = word.rawValue == lastWord && word.state != .halted
    lastWord = word.rawValue
    if wasSeen, progress.attention.contains(.word) || !names(word) { return nil }
    return word
  }

  private func names(_ word: CompletionWord) -> Bool {
    word.descriptorAddress &- memory.iova < UInt64(memory.capacity) * 64
  }

  /// Sees the next completion word as new whatever it says: after the engine was restarted.
  package mutating func forgetWord() { lastWord = 0 }

  /// How many slots `word` says have ended, counted from `tail`; 0 when it tells nothing new.
  package mutating func slotsDone(_ word: CompletionWord) -> UInt32 {
    let offset = word.descriptorAddress &- memory.iova
    let slot = UInt32(truncatingIfNeeded: offset >> 6)
    guard offset >> 6 < UInt64(memory.capacity) else {
      // Address 0 means "none since the chain was loaded"; anything else is not ours.
      if word.descriptorAddress != 0 { foreignWords &+= 1 }
      return 0
    }
    let tail = tail
    var done = ((slot &- tail) & memory.mask) &+ 1
    if spanTail != progress.spanCount { done = extendedDone(done) }
    return done <= progress.submittedPosition &- tail ? done : 0
  }

  // An extended operation is reported by the address of its first slot.
  private func extendedDone(_ done: UInt32) -> UInt32 {
    var result = done
    forEachSpan { span in
      if span.layout == .extended, span.start &- tail &+ 1 == done { result = done &+ 1 }
    }
    return result
  }

  /// Whether operations of several slots are in the ring.
  var hasSpans: Bool { spanTail != progress.spanCount }

  /// Ends `slots` slots and tells how many operations ended with them, all of them well.
  package mutating func retire(_ slots: UInt32) -> Int {
    let operations = countEnding(in: slots)
    progress.retire(slots, operations: operations)
    return operations
  }

  /// Ends `slots` slots whose operations did not end well, or were nobody's.
  package mutating func drop(_ slots: UInt32) {
    _ = countEnding(in: slots)
    progress.retire(slots, operations: 0)
  }

  /// How many operations end with the next `slots` slots; they are left behind.
  private mutating func countEnding(in slots: UInt32) -> Int {
    spanTail == progress.spanCount ? Int(slots) : operationsEnding(in: slots)
  }

  private mutating func operationsEnding(in slots: UInt32) -> Int {
    var operations = Int(slots)
    var ended: UInt32 = 0
    forEachSpan { span in
      let first = span.start &- tail  // Wraps below zero when pieces ended earlier.
      let end = first &+ span.slots
      if Int32(bitPattern: end) <= Int32(bitPattern: slots) {
        // All of it has ended: its slots in this range count as one operation.
        let before = Int32(bitPattern: first) < 0 ? 0 : first
        operations -= Int(end &- before) - 1
        ended += 1
      } else if Int32(bitPattern: first) < Int32(bitPattern: slots) {
        let before = Int32(bitPattern: first) < 0 ? 0 : first
        operations -= Int(slots &- before)
      }
    }
    spanTail &+= ended
    return operations
  }

  /// Calls `body` with the token of every operation that ends within the next `slots` slots, oldest
  /// first.
  ///
  /// Nothing is retired.
  package func forEachOperation(in slots: UInt32, _ body: (UInt64) -> Void) {
    if spanTail == progress.spanCount {
      for offset in 0..<slots { body(token(at: tail &+ offset)) }
      return
    }
    var offset: UInt32 = 0
    while offset < slots {
      let end = operationEnd(of: tail &+ offset)
      let next = end &- tail
      if next > slots { return }
      body(token(at: end &- 1))
      offset = next
    }
  }

  /// The token that was enqueued with `position`.
  package func token(at position: UInt32) -> UInt64 {
    // In bounds by the mask; written before the position was published.
    unsafe memory.tokens[Int(position & memory.mask)]
  }

  /// The position after the operation that `position` belongs to.
  package func operationEnd(of position: UInt32) -> UInt32 {
    var end = position &+ 1
    forEachSpan { span in
      if position &- span.start < span.slots { end = span.start &+ span.slots }
    }
    return end
  }

  private func forEachSpan(_ body: (OperationSpan) -> Void) {
    var index = spanTail
    let end = progress.spanCount
    while index != end {
      // In bounds by the modulus; written before the count was published.
      body(unsafe memory.spans[Int(index % (memory.capacity / 2))])
      index &+= 1
    }
  }
}

// SPDX-License-Identifier: Apache-2.0

/// The writing end of a descriptor ring: hot path.
///
/// One owner, one thread at a time. A descriptor is written once, in address order, into a slot
/// whose `next` never changes; nothing of the ring is read back. Positions are free-running with
/// wrapping arithmetic and masked at access.
@safe package struct RingProducer: ~Copyable {
  package let memory: RingMemory
  package let progress: ChannelProgress
  // Copies of the memory's constants: `memory` keeps what they point to alive.
  private let descriptors: UnsafeMutablePointer<UInt64>
  private let tokens: UnsafeMutablePointer<UInt64>
  private let mask: UInt32
  /// The next position to write.
  package private(set) var head: UInt32
  /// The position that may not be written yet.
  private var limit: UInt32
  /// The position after the newest descriptor submitted.
  package private(set) var submitted: UInt32
  private var spanHead: UInt32
  /// Size and control of the newest descriptor, so that submitting need not read the ring.
  private var newestWord0: UInt64 = 0
  /// Bytes of the descriptors written so far.
  package private(set) var bytes: UInt64 = 0

  package init(memory: RingMemory, progress: ChannelProgress) {
    self.memory = memory
    self.progress = progress
    // A descriptor is eight words; the ring is bound to its own type elsewhere, and this is the
    // same memory seen as words for the life of the producer.
    unsafe descriptors = UnsafeMutableRawPointer(memory.descriptors)
      .assumingMemoryBound(to: UInt64.self)
    unsafe tokens = memory.tokens
    mask = memory.mask
    head = progress.enqueuedPosition
    submitted = progress.submittedPosition
    limit = progress.retiredPosition &+ memory.mask
    spanHead = progress.spanCount
  }

  /// Slots that can be written now; one slot of the ring always stays free.
  package mutating func freeSlots() -> Int {
    limit = progress.retiredPosition &+ mask
    return Int(limit &- head)
  }

  /// Writes one descriptor; false when the ring is full.
  @inline(__always)
  package mutating func append(
    size: UInt32, control: UInt32, source: UInt64, destination: UInt64, token: UInt64
  ) -> Bool {
    if head == limit {
      limit = progress.retiredPosition &+ mask
      if head == limit { return false }
    }
    let slot = Int(head & mask)
    let word0 = UInt64(size) | UInt64(control) << 32
    // The slot is in bounds by the mask, and free: the engine has passed it or never saw it.
    let words = unsafe descriptors + slot &* 8
    unsafe words[0] = word0
    unsafe words[1] = source
    unsafe words[2] = destination
    unsafe tokens[slot] = token
    newestWord0 = word0
    bytes &+= UInt64(size)
    head &+= 1
    progress.publishEnqueued(head)
    return true
  }

  /// Writes an operation of several slots, all of them or none; false when they do not fit.
  ///
  /// Each element gives words 0, 1, 2, 4, 5, 6 and 7 of a descriptor; word 3 is the ring's own. The
  /// last slot is a descriptor, never an extension, since it may be asked to report the batch.
  package mutating func append(
    _ slots: [DescriptorWords], layout: OperationSpan.Layout, bytes count: UInt64, token: UInt64
  ) -> Bool {
    guard !slots.isEmpty, slots.count <= freeSlots() else { return false }
    if slots.count > 1 {
      // At most capacity/2 operations of two slots or more are outstanding.
      let index = Int(spanHead % (memory.capacity / 2))
      unsafe memory.spans[index] = OperationSpan(
        start: head, slots: UInt32(slots.count), layout: layout)
      spanHead &+= 1
      progress.publishSpans(spanHead)
    }
    var position = head
    for slot in slots {
      let index = Int(position & mask)
      // As in the other `append`.
      let words = unsafe descriptors + index &* 8
      unsafe words[0] = slot.word0
      unsafe words[1] = slot.word1
      unsafe words[2] = slot.word2
      unsafe words[4] = slot.word4
      unsafe words[5] = slot.word5
      unsafe words[6] = slot.word6
      unsafe words[7] = slot.word7
      unsafe tokens[index] = token
      newestWord0 = slot.word0
      position &+= 1
    }
    bytes &+= count
    head = position
    progress.publishEnqueued(head)
    return true
  }

  /// Makes the newest descriptor report its completion: closes a batch.
  ///
  /// `report` is the status-update flag, with the interrupt flag for an interrupt-driven channel.
  @inline(__always)
  package mutating func seal(_ report: DmaControlFlags) {
    let slot = Int((head &- 1) & mask)
    unsafe descriptors[slot &* 8] = newestWord0 | UInt64(report.rawValue) << 32
    submitted = head
    progress.publishSubmitted(head)
  }
}

/// The words of a descriptor that an operation sets.
package struct DescriptorWords: Sendable {
  package var word0: UInt64
  package var word1: UInt64
  package var word2: UInt64
  package var word4: UInt64 = 0
  package var word5: UInt64 = 0
  package var word6: UInt64 = 0
  package var word7: UInt64 = 0

  package init(size: UInt32, control: DmaControlFlags, source: UInt64, destination: UInt64) {
    word0 = UInt64(size) | UInt64(control.rawValue) << 32
    word1 = source
    word2 = destination
  }

  /// An extension slot: eight plain words, `next` left to the ring.
  package init(raw words: [UInt64]) {
    func word(_ index: Int) -> UInt64 { index < words.count ? words[index] : 0 }
    word0 = word(0)
    word1 = word(1)
    word2 = word(2)
    word4 = word(4)
    word5 = word(5)
    word6 = word(6)
    word7 = word(7)
  }
}

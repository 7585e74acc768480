// SPDX-License-Identifier: Apache-2.0

public import CNetDma
public import Synchronization

/// The writing end of a descriptor ring: hot path.
///
/// One owner, one thread at a time. A descriptor is written once, in address order, into a slot
/// whose `next` never changes; nothing of the ring is read back.
///
/// What changes with every descriptor is a cursor that a loop keeps in registers. It runs up to an end
/// that a function out of the loop works out (room in the ring, end of the lap), and whatever is not
/// on the hot path takes the cursor and gives it back as a value, so that nobody has the address of
/// this struct: the optimizer takes it apart.
@safe @usableFromInline package struct RingProducer: ~Copyable {
  package let memory: RingMemory
  package let progress: ChannelProgress
  // Copies of the memory's constants: `memory` and `progress` keep what they point to alive.
  @usableFromInline let descriptors: UnsafeMutableRawPointer
  @usableFromInline let tokens: UnsafeMutableRawPointer
  @usableFromInline let words: UnsafeMutablePointer<ChannelWords>
  @usableFromInline let capacity: UInt32
  /// All that changes.
  @usableFromInline package var cursor: RingCursor

  /// Begins at the position that was submitted last.
  package init(memory: RingMemory, progress: ChannelProgress) {
    let head = progress.submittedPosition
    let next = Int(head & memory.mask) &* 8
    self.init(
      memory: memory, progress: progress, cursor: RingCursor(next: next, end: next, bytes: 0))
    unsafe words.pointee.lapStart = head & ~memory.mask
    unsafe words.pointee.lap.store(UInt64(head & ~memory.mask), ordering: .relaxed)
    unsafe words.pointee.controlEnd = head
    unsafe words.pointee.runEnd = next
    unsafe words.pointee.constants.completion = memory.completion
    unsafe words.pointee.constants.ring = memory.iova
    unsafe words.pointee.constants.mask = UInt64(memory.mask)
  }

  /// Goes on at `cursor`, which came from another producer of the ring that is used no more.
  package init(memory: RingMemory, progress: ChannelProgress, cursor: RingCursor) {
    self.memory = memory
    self.progress = progress
    unsafe descriptors = UnsafeMutableRawPointer(memory.descriptors)
    unsafe tokens = UnsafeMutableRawPointer(memory.tokens)
    unsafe words = progress.words
    capacity = memory.capacity
    self.cursor = cursor
  }

  /// The next position to write.
  @inlinable @inline(__always)
  package var head: UInt32 {
    unsafe words.pointee.lapStart &+ UInt32(truncatingIfNeeded: cursor.next &>> 3)
  }

  /// The position after the newest descriptor submitted.
  @inlinable @inline(__always)
  package var submitted: UInt32 { unsafe words.pointee.submitted.load(ordering: .relaxed) }

  /// Slots that can be written now; one slot of the ring always stays free.
  package func freeSlots() -> Int {
    Int(progress.retiredPosition &+ memory.mask &- head)
  }

  /// Writes one descriptor of `size` bytes; false when the ring is full.
  @inlinable @inline(__always)
  package mutating func append(
    size: UInt64, control: UInt32, addresses: SIMD2<UInt64>, token: UInt64
  ) -> Bool {
    // Else the Swift compiler carries each part of the cursor from one turn of a loop to the next
    // several times over, and there are not as many registers.
    unsafe netdma_touch(&cursor)
    if _slowPath(cursor.next == cursor.end) {
      if _slowPath(unsafe cursor.next == words.pointee.runEnd) {
        cursor.next = unsafe RingProducer.findRun(cursor.next, words, capacity)
        if unsafe cursor.next == words.pointee.runEnd { return false }
      }
      cursor.end = unsafe words.pointee.runEnd
      unsafe words.pointee.publishBegun()
    }
    let slot = cursor.next
    cursor.next = slot &+ 8
    // The slot is in bounds, and free: the engine has passed it or never saw it.
    let descriptor = unsafe descriptors + slot &* 8
    unsafe descriptor.storeBytes(of: size | UInt64(control) << 32, as: UInt64.self)
    unsafe descriptor.storeBytes(of: addresses, toByteOffset: 8, as: SIMD2<UInt64>.self)
    unsafe (tokens + slot).storeBytes(of: token, as: UInt64.self)
    cursor.bytes &+= size
    if control != 0 {
      // Rare, and nothing at all where the caller gives no options.
      unsafe words.pointee.control = control
      unsafe words.pointee.controlEnd = head
    }
    return true
  }

  /// Finds the run of free slots that begins at slot `next` / 8, in the next lap where this one is
  /// over: leaves its end in `runEnd` and returns where it begins; the same when the ring is full.
  @usableFromInline @inline(never)
  static func findRun(
    _ next: Int, _ words: UnsafeMutablePointer<ChannelWords>, _ capacity: UInt32
  ) -> Int {
    let head = unsafe words.pointee.lapStart &+ UInt32(truncatingIfNeeded: next / 8)
    let free = unsafe words.pointee.retired.load(ordering: .acquiring) &+ capacity &- 1 &- head
    let lapEnd = Int(capacity) * 8
    if free == 0 {
      unsafe words.pointee.runEnd = next
      return next
    }
    // Only when something is written there at once: `seal` finds the newest slot below `next`.
    let start = next == lapEnd ? 0 : next
    if start != next { unsafe words.pointee.beginLap(capacity) }
    // Forgotten before its position comes again; what is written next is newer.
    unsafe words.pointee.controlEnd = head
    unsafe words.pointee.runEnd = min(start + Int(free) * 8, lapEnd)
    return start
  }

  /// Writes an operation of several slots, all of them or none; false when they do not fit.
  ///
  /// Each element gives words 0, 1, 2, 4, 5, 6 and 7 of a descriptor; word 3 is the ring's own. The
  /// last slot is a descriptor, never an extension, since it may be asked to report the batch.
  package mutating func append(
    _ slots: [DescriptorWords], layout: OperationSpan.Layout, bytes count: UInt64, token: UInt64
  ) -> Bool {
    guard
      let next = Self.append(
        slots, at: cursor.next, layout: layout, token: token, memory, progress)
    else { return false }
    cursor = RingCursor(next: next, end: next, bytes: cursor.bytes &+ count)
    return true
  }

  /// `append` from slot `start` / 8 on; gives the new `next`, where the next descriptor looks for its
  /// run.
  static func append(
    _ slots: [DescriptorWords], at start: Int, layout: OperationSpan.Layout, token: UInt64,
    _ memory: RingMemory, _ progress: ChannelProgress
  ) -> Int? {
    let producers = unsafe progress.words
    let head = unsafe producers.pointee.lapStart &+ UInt32(truncatingIfNeeded: start / 8)
    let free = Int(progress.retiredPosition &+ memory.mask &- head)
    guard !slots.isEmpty, slots.count <= free else { return nil }
    progress.publishBegun()
    if slots.count > 1 {
      // At most capacity/2 operations of two slots or more are outstanding.
      let count = progress.spanCount
      unsafe memory.spans[Int(count % (memory.capacity / 2))] = OperationSpan(
        start: head, slots: UInt32(slots.count), layout: layout)
      progress.publishSpans(count &+ 1)
    }
    var slot = start / 8
    for words in slots {
      if slot == Int(memory.capacity) {
        slot = 0
        unsafe producers.pointee.beginLap(memory.capacity)
      }
      // As in the other `append`.
      unsafe words.store(to: memory.descriptors + slot)
      unsafe memory.tokens[slot] = token
      unsafe producers.pointee.control = UInt32(truncatingIfNeeded: words.word0 >> 32)
      slot += 1
    }
    unsafe producers.pointee.controlEnd = head &+ UInt32(slots.count)
    unsafe producers.pointee.runEnd = slot * 8
    return slot * 8
  }

  /// Makes the newest descriptor report its completion, and closes the batch at `head`.
  ///
  /// There is one: `head` is not `submitted`. `report` is the status-update flag, with the interrupt
  /// flag for an interrupt-driven channel.
  @inlinable @inline(__always)
  package mutating func seal(_ report: UInt32, at head: UInt32) {
    var control = report
    if _slowPath(unsafe words.pointee.controlEnd == head) {
      unsafe control |= words.pointee.control
    }
    // Its control word, the second of the slot before `next`: the slot was written in this lap.
    unsafe (descriptors + (cursor.next &* 8 &- 60)).storeBytes(of: control, as: UInt32.self)
    unsafe words.pointee.bytes.store(cursor.bytes, ordering: .relaxed)
    unsafe words.pointee.submitted.store(head, ordering: .releasing)
    cursor.end = cursor.next
  }

  /// `seal` for everything written.
  package mutating func seal(_ report: DmaControlFlags) { seal(report.rawValue, at: head) }
}

/// Where a producer is.
///
/// Values alone, so that those who do what is not on the hot path can be given them, and give them
/// back: nobody has the address of the channel's own, which therefore lie in registers.
@usableFromInline package struct RingCursor {
  /// The next slot to write, times 8: the offset of its token, an eighth of its descriptor's.
  @usableFromInline var next: Int
  /// Where to look again before writing: the end of the run of free slots, or `next` itself while no
  /// batch is open.
  @usableFromInline var end: Int
  /// Bytes of all that was ever enqueued.
  @usableFromInline var bytes: UInt64

  init(next: Int, end: Int, bytes: UInt64) {
    self.next = next
    self.end = end
    self.bytes = bytes
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

  /// Writes all words but the ring's own.
  @unsafe fileprivate func store(to descriptor: UnsafeMutablePointer<DmaDescriptor>) {
    // A descriptor is eight words.
    let memory = UnsafeMutableRawPointer(descriptor)
    unsafe memory.storeBytes(of: word0, as: UInt64.self)
    unsafe memory.storeBytes(of: word1, toByteOffset: 8, as: UInt64.self)
    unsafe memory.storeBytes(of: word2, toByteOffset: 16, as: UInt64.self)
    unsafe memory.storeBytes(of: word4, toByteOffset: 32, as: UInt64.self)
    unsafe memory.storeBytes(of: word5, toByteOffset: 40, as: UInt64.self)
    unsafe memory.storeBytes(of: word6, toByteOffset: 48, as: UInt64.self)
    unsafe memory.storeBytes(of: word7, toByteOffset: 56, as: UInt64.self)
  }

  /// A descriptor that transfers nothing.
  static func null(_ options: DmaControlFlags) -> DescriptorWords {
    DescriptorWords(size: 1, control: options.union(.nullTransfer), source: 0, destination: 0)
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

// SPDX-License-Identifier: Apache-2.0

public import Synchronization

/// The writing end of a descriptor ring: hot path.
///
/// One owner, one thread at a time. A descriptor is written once, in address order, into a slot
/// whose `next` never changes; nothing of the ring is read back.
///
/// What changes with every descriptor is one index, so that a loop keeps it in a register. Two things
/// see to that: it runs up to an end that a function out of the loop works out (room in the ring, end
/// of the lap), and those functions take and give the index by value, so that nobody has its address.
@safe @usableFromInline package struct RingProducer: ~Copyable {
  package let memory: RingMemory
  package let progress: ChannelProgress
  // Copies of the memory's constants: `memory` and `progress` keep what they point to alive.
  @usableFromInline let descriptors: UnsafeMutableRawPointer
  @usableFromInline let tokens: UnsafeMutableRawPointer
  @usableFromInline let words: UnsafeMutablePointer<ProgressWords>
  @usableFromInline let capacity: UInt32
  /// The next slot to write, times 8: the offset of its token, an eighth of its descriptor's.
  @usableFromInline var next: Int
  /// Where to look again before writing: the end of the run of free slots, or `next` itself while no
  /// batch is open.
  @usableFromInline var end: Int

  package init(memory: RingMemory, progress: ChannelProgress) {
    self.memory = memory
    self.progress = progress
    unsafe descriptors = UnsafeMutableRawPointer(memory.descriptors)
    unsafe tokens = UnsafeMutableRawPointer(memory.tokens)
    unsafe words = progress.words
    capacity = memory.capacity
    let head = progress.submittedPosition
    next = Int(head & memory.mask) &* 8
    end = next
    unsafe words.pointee.lapStart = head & ~memory.mask
    unsafe words.pointee.runEnd = next
  }

  /// The next position to write.
  @inlinable @inline(__always)
  package var head: UInt32 {
    unsafe words.pointee.lapStart &+ UInt32(truncatingIfNeeded: next &>> 3)
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
    size: UInt64, control: UInt32, source: UInt64, destination: UInt64, token: UInt64
  ) -> Bool {
    if _slowPath(next == end) {
      if _slowPath(unsafe next == words.pointee.runEnd) {
        next = unsafe RingProducer.findRun(next, words, capacity)
        if unsafe next == words.pointee.runEnd { return false }
      }
      end = unsafe words.pointee.runEnd
      unsafe words.pointee.newestControl = 0
      unsafe words.pointee.publishBegun()
    }
    let slot = next
    next = slot &+ 8
    // The slot is in bounds, and free: the engine has passed it or never saw it.
    let descriptor = unsafe descriptors + slot &* 8
    unsafe descriptor.storeBytes(of: size | UInt64(control) << 32, as: UInt64.self)
    unsafe descriptor.storeBytes(of: source, toByteOffset: 8, as: UInt64.self)
    unsafe descriptor.storeBytes(of: destination, toByteOffset: 16, as: UInt64.self)
    unsafe (tokens + slot).storeBytes(of: token, as: UInt64.self)
    // Where `RingMemory` put it.
    unsafe (tokens + RingProducer.countOffset).assumingMemoryBound(to: Atomic<UInt64>.self)
      .pointee.addAlone(size)
    if control != 0 {
      // Rare, and nothing at all where the caller gives no options: the next one looks again, and
      // forgets it.
      unsafe words.pointee.newestControl = control
      end = next
    }
    return true
  }

  /// Where the count of bytes lies, from the token table: a cache line before it.
  @inlinable @inline(__always)
  static var countOffset: Int { -64 }

  /// Finds the run of free slots that begins at slot `next` / 8, in the next lap where this one is
  /// over: leaves its end in `runEnd` and returns where it begins; the same when the ring is full.
  @usableFromInline @inline(never)
  static func findRun(
    _ next: Int, _ words: UnsafeMutablePointer<ProgressWords>, _ capacity: UInt32
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
    if start != next { unsafe words.pointee.lapStart &+= capacity }
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
        slots, at: next, layout: layout, bytes: count, token: token, memory, progress)
    else { return false }
    self.next = next
    end = next
    return true
  }

  /// `append` from slot `start` / 8 on; gives the new `next`, where the next descriptor looks for its
  /// run.
  static func append(
    _ slots: [DescriptorWords], at start: Int, layout: OperationSpan.Layout, bytes: UInt64,
    token: UInt64, _ memory: RingMemory, _ progress: ChannelProgress
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
        unsafe producers.pointee.lapStart &+= memory.capacity
      }
      // As in the other `append`.
      unsafe words.store(to: memory.descriptors + slot)
      unsafe memory.tokens[slot] = token
      unsafe producers.pointee.newestControl = UInt32(truncatingIfNeeded: words.word0 >> 32)
      slot += 1
    }
    unsafe memory.bytes.pointee.addAlone(bytes)
    unsafe producers.pointee.runEnd = slot * 8
    return slot * 8
  }

  /// Makes the newest descriptor report its completion, and closes the batch at `head`.
  ///
  /// There is one: `head` is not `submitted`. `report` is the status-update flag, with the interrupt
  /// flag for an interrupt-driven channel.
  @inlinable @inline(__always)
  package mutating func seal(_ report: UInt32, at head: UInt32) {
    // Its control word, the second of the slot before `next`: the slot was written in this lap.
    unsafe (descriptors + (next &* 8 &- 60)).storeBytes(
      of: words.pointee.newestControl | report, as: UInt32.self)
    unsafe words.pointee.submitted.store(head, ordering: .releasing)
    end = next
  }

  /// `seal` for everything written.
  package mutating func seal(_ report: DmaControlFlags) { seal(report.rawValue, at: head) }
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

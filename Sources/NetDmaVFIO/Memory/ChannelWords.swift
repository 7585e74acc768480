// SPDX-License-Identifier: Apache-2.0

public import CNetDma
public import Synchronization

/// The words that a channel's lanes reach by pointer: where they are, who may be in them, and what they
/// need for it.
///
/// One block, so that the hot path has one address for all of it.
@safe @usableFromInline package struct ChannelWords: ~Copyable {
  // The first cache line: nobody writes it while the channel has an owner.

  @usableFromInline var constants: LaneConstants
  private let gap: (UInt64, UInt64) = (0, 0)

  // The second: the producer's.

  @usableFromInline package let gate = GateWords()
  /// `submitted` as it was when the newest batch was begun.
  @usableFromInline let begun: Atomic<UInt32>
  @usableFromInline let submitted = Atomic<UInt32>(0)
  /// Written by control operations while they hold the gate; read in the producer lane or likewise.
  @usableFromInline var chainBase: UInt32 = 0
  /// The producer's own: the position of slot 0 in this lap of the ring.
  @usableFromInline var lapStart: UInt32 = 0
  @usableFromInline let spanCount = Atomic<UInt32>(0)
  /// The producer's own: where its run of free slots ends, in eighths of a descriptor.
  @usableFromInline var runEnd = 0
  /// The producer's own: the newest descriptor with control flags, as the position after it, and its
  /// flags.
  @usableFromInline var controlEnd: UInt32 = 0
  @usableFromInline var control: UInt32 = 0
  // What was submitted, and how often.
  @usableFromInline let doorbells = Atomic<UInt64>(0)
  @usableFromInline let bytes = Atomic<UInt64>(0)

  // The third: the reaper's, also of whoever holds the gate; and what the producer writes once a lap.

  /// `lapStart` in 64 bits, for who counts descriptors.
  let lap = Atomic<UInt64>(0)
  @usableFromInline let retired = Atomic<UInt32>(0)
  @usableFromInline let attention = Atomic<UInt32>(0)
  /// Slots that ended otherwise than each as an operation that ended well.
  private let others = Atomic<UInt64>(0)
  /// Odd while `retired` and `others` change together.
  private let settling = Atomic<UInt32>(0)
  /// Whether somebody is in the reaper lane.
  let reaperBusy = Atomic<UInt32>(0)

  init(constants: LaneConstants) {
    self.constants = constants
    // No batch is open: the newest began before what is submitted.
    begun = Atomic(UInt32.max)
  }

  /// `position`, one of the last or the next two billion, in 64 bits.
  borrowing func extended(_ position: UInt32) -> UInt64 {
    let lap = lap.load(ordering: .relaxed)
    let ahead = Int32(bitPattern: position &- UInt32(truncatingIfNeeded: lap))
    return lap &+ UInt64(bitPattern: Int64(ahead))
  }

  /// Operations that ended well; from any thread.
  ///
  /// Not counted on the hot path: they are the slots that ended, but for `others`.
  borrowing func completedOperations() -> UInt64 {
    while true {
      let turn = settling.load(ordering: .acquiring)
      let count =
        extended(retired.load(ordering: .acquiring)) &- others.load(ordering: .acquiring)
      if turn & 1 == 0, settling.load(ordering: .relaxed) == turn { return count }
      // The reaper is between two stores.
      netdma_yield()
    }
  }

  /// Ends the next `slots` slots, which were `operations` that ended well and whatever else; by the
  /// reaper.
  borrowing func retire(_ slots: UInt32, operations: Int) {
    let position = retired.load(ordering: .relaxed) &+ slots
    let more = UInt64(slots) &- UInt64(operations)
    if more == 0 { return retired.store(position, ordering: .releasing) }
    let turn = settling.load(ordering: .relaxed)
    settling.store(turn &+ 1, ordering: .relaxed)
    // Release: nobody sees these two without the odd turn.
    others.store(others.load(ordering: .relaxed) &+ more, ordering: .releasing)
    retired.store(position, ordering: .releasing)
    settling.store(turn &+ 2, ordering: .releasing)
  }

  /// The next lap of a ring of `capacity` slots.
  mutating func beginLap(_ capacity: UInt32) {
    lapStart &+= capacity
    lap.addAlone(UInt64(capacity))
  }

  @inlinable @inline(__always)
  borrowing func publishBegun() {
    // Relaxed is enough (see `mark`), and it leaves the producer's state in registers.
    begun.store(submitted.load(ordering: .relaxed), ordering: .relaxed)
  }
}

/// What submit and poll look up and nobody changes while the channel has an owner.
@safe @usableFromInline package struct LaneConstants {
  /// The completion word.
  @usableFromInline var completion: UnsafeMutablePointer<UInt64>
  /// DMACOUNT, mapped as long as the channel is allocated; of no use to whom `submitPhase` stops.
  @usableFromInline var doorbell: UnsafeMutableRawPointer
  /// The device's address of the ring.
  @usableFromInline var ring: UInt64 = 0
  /// Slots of the ring minus one.
  @usableFromInline var mask: UInt64 = 0
  /// Flags of the last descriptor of a batch.
  @usableFromInline var report: UInt32 = 0
  /// The gate's phase in which a submit is a store: open, or none where it is not.
  @usableFromInline var submitPhase = Self.noPhase
  /// The gate's phase in which a poll is a look at the completion word.
  @usableFromInline var pollPhase = Self.noPhase

  static var noPhase: UInt32 { .max }

  /// Nothing is permitted; the pointers are to `memory`, so that there is none to nowhere.
  init(placeholder memory: UnsafeMutableRawPointer) {
    unsafe completion = memory.assumingMemoryBound(to: UInt64.self)
    unsafe doorbell = memory
  }
}

/// Who is in a channel's producer lane, and who may be: the part of `ChannelGate`.
@safe @usableFromInline package struct GateWords: ~Copyable {
  /// `ChannelGate.Phase`; before there is a gate, none.
  @usableFromInline let phase = Atomic<UInt32>(.max)
  // A lane's word is written by that lane alone, read by control operations.
  @usableFromInline let producerBusy = Atomic<UInt32>(0)

  init() {}

  /// Enters the producer lane where membarrier works, and tells the phase.
  @inlinable @inline(__always)
  borrowing func enterProducer() -> UInt32 {
    producerBusy.store(1, ordering: .relaxed)
    // Pairs with the barrier in `withExclusive`: the store of the busy word comes before the load of
    // the phase, for the compiler here and for the CPU there.
    netdma_compiler_barrier()
    return phase.load(ordering: .acquiring)
  }

  @inlinable @inline(__always)
  borrowing func leaveProducer() { producerBusy.store(0, ordering: .releasing) }
}

extension Atomic where Value == UInt64 {
  /// Adds without a locked instruction: for a counter with one writer.
  @inlinable @inline(__always)
  package borrowing func addAlone(_ amount: UInt64) {
    store(load(ordering: .relaxed) &+ amount, ordering: .relaxed)
  }
  /// Adds from any thread.
  @inline(__always)
  borrowing func addShared(_ amount: UInt64) { _ = wrappingAdd(amount, ordering: .relaxed) }
}

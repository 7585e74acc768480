// SPDX-License-Identifier: Apache-2.0

public import CNetDma

/// What one poll found.
public struct NetDmaPollResult: Hashable, Sendable {
  /// Operations that ended well since the last poll.
  public var completed: Int
  /// Operations that failed since the last poll; `takeFailures()` tells which and why.
  public var failed: Int

  @inlinable
  init(completed: Int, failed: Int) {
    self.completed = completed
    self.failed = failed
  }
}

/// A client's end of an allocated channel: enqueue, submit, and for a polled channel poll.
///
/// One owner, who may move it between threads but uses it on one at a time; that is the compiler's
/// to check. Enqueue writes descriptors, submit rings the doorbell once, poll reads the completion
/// word once. None of the three allocates, locks or counts references while nothing fails.
/// Ending the value frees the channel: it waits for what is outstanding, then aborts it.
@safe public struct NetDmaChannel: ~Copyable, @unchecked Sendable {
  // @unchecked: what the pointers name is kept alive by `core`; the value has one owner, so moving it
  // to another thread moves the right to use them.

  // The three calls of the hot path are compiled into their callers, so what they use is visible to
  // them: pointers, since a class would be reference-counted, and constants.
  @usableFromInline let core: NetDmaChannelCore
  let interface: NetDmaInterface
  @usableFromInline var producer: RingProducer
  @usableFromInline let poller: RingPoller
  @usableFromInline let gate: UnsafeMutablePointer<GateWords>
  /// DMACOUNT, mapped as long as the channel is allocated; of no use to whom `submitPhase` stops.
  @usableFromInline let doorbell: UnsafeMutableRawPointer
  /// Flags of the last descriptor of a batch.
  @usableFromInline let report: UInt32
  @usableFromInline let maximumTransferSize: UInt
  /// The gate's phase in which a submit is a store: open, or none where it is not.
  @usableFromInline let submitPhase: UInt32
  /// The gate's phase in which a poll is a look at the completion word.
  @usableFromInline let pollPhase: UInt32
  var idlePolls: UInt32 = 0
  var failures: [DMACompletion] = []
  var lastProbe: UInt64 = 0
  var stalledSince: (position: UInt32, time: UInt64)?

  init(core: NetDmaChannelCore, interface: NetDmaInterface) {
    self.core = core
    self.interface = interface
    producer = RingProducer(memory: core.memory, progress: core.progress)
    poller = RingPoller(memory: core.memory, progress: core.progress)
    unsafe gate = core.gate.words
    let register = unsafe core.grant.doorbell?.address
    unsafe doorbell = register ?? UnsafeMutableRawPointer(core.gate.words)
    report = core.report.rawValue
    maximumTransferSize = UInt(UInt32(clamping: core.attributes.maximumTransferSize))
    // Where membarrier does not work the lanes need a fence, and take the long way.
    let open = core.gate.needsFence ? Self.noPhase : ChannelGate.Phase.open.rawValue
    submitPhase = unsafe register == nil ? Self.noPhase : open
    pollPhase = core.mode == .polled ? open : Self.noPhase
  }

  private static var noPhase: UInt32 { .max }

  deinit {
    // What was written and never submitted ends with the channel.
    interface.free(core, written: producer.head)
  }

  /// The handle that NetDmaIsr knows the channel by.
  public var handle: NetDmaChannelHandle { core.handle }
  /// The CPU whose DPC completes this channel (`CpuNumber`).
  public var cpuNumber: Int { core.grant.cpuNumber }
  /// What it has done.
  public var statistics: NetDmaChannelStatistics { core.counters.snapshot }
  /// Slots of the ring; at most one less is outstanding.
  public var capacity: Int { Int(core.memory.capacity) }
  /// Bytes that one descriptor may transfer; longer operations take several.
  public var maximumDescriptorSize: Int { Int(maximumTransferSize) }
  /// Descriptors that can be enqueued now.
  public mutating func freeDescriptors() -> Int { producer.freeSlots() }

  // MARK: - Enqueue

  /// Writes a copy into the ring; false when it does not fit now.
  ///
  /// - Parameters:
  ///   - source: What to copy: at most `maximumDescriptorSize` times one less than `capacity`, else
  ///     this traps.
  ///   - destination: Where to; as long as the source, else this traps. Ranges that overlap give
  ///     undefined bytes, as on the engine.
  ///   - token: Names the operation in its completion.
  ///   - options: Fence (`.serializeTransfer`), no-snoop and DCA flags; others are ignored.
  @inlinable @inline(__always)
  public mutating func enqueueCopy(
    from source: DMASlice, to destination: DMASlice, token: UInt64, options: DmaControlFlags = []
  ) -> Bool {
    precondition(source.count == destination.count, "source and destination differ in length")
    let control = options.rawValue & DmaControlFlags.optionBits
    // One compare for "fits one descriptor": zero wraps to the largest value.
    if _slowPath(UInt(bitPattern: source.count) &- 1 >= maximumTransferSize) {
      // By value, as `RingProducer` says.
      let (next, end, fits) = NetDmaChannel.enqueuePieces(
        core, producer.next, producer.end, source, destination, token, control)
      producer.next = next
      producer.end = end
      return fits
    }
    return producer.append(
      size: UInt64(UInt(bitPattern: source.count)), control: control, source: source.iova,
      destination: destination.iova, token: token)
  }

  // MARK: - Submit

  /// Rings the doorbell for everything enqueued since the last submit.
  ///
  /// - Throws: `NetDmaError.channelGone` when the channel was stopped, removed or failed: what was
  ///   enqueued then ends as aborted. `.hardware` when the transport failed.
  @inlinable @inline(__always)
  public mutating func submit() throws(NetDmaError) {
    let head = producer.head
    let count = head &- producer.submitted
    if count == 0 { return }
    if _fastPath(unsafe gate.pointee.enterProducer() == submitPhase) {
      let words = unsafe producer.words
      producer.seal(report, at: head)
      unsafe netdma_doorbell16(
        doorbell, UInt16(truncatingIfNeeded: head &- words.pointee.chainBase))
      unsafe gate.pointee.leaveProducer()
      unsafe words.pointee.doorbells.addAlone(1)
      unsafe words.pointee.descriptors.addAlone(UInt64(count))
      return
    }
    unsafe gate.pointee.leaveProducer()
    try submitSlowly()
  }

  // MARK: - Poll

  /// How many operations ended since the last poll; for a polled channel only.
  ///
  /// - Throws: `NetDmaError.channelGone` once the channel is gone and everything was reported;
  ///   `.hardware` when the engine failed and could not be brought back; `.wrongState` on an
  ///   interrupt-driven channel.
  @inlinable @inline(__always)
  public mutating func poll() throws(NetDmaError) -> NetDmaPollResult {
    // The producer lane is the reaping lane of a polled channel.
    if _fastPath(unsafe gate.pointee.enterProducer() == pollPhase) {
      let look = poller.look()
      if _fastPath(look.slots != 0) {
        poller.retire(look)
        unsafe gate.pointee.leaveProducer()
        return NetDmaPollResult(completed: Int(truncatingIfNeeded: look.slots), failed: 0)
      }
    }
    unsafe gate.pointee.leaveProducer()
    return try pollSlowly()
  }

  /// `poll()` that hands the token of every operation that ended well to `body`, oldest first.
  @inlinable @inline(__always)
  public mutating func poll(
    _ body: (UInt64) -> Void
  ) throws(NetDmaError) -> NetDmaPollResult {
    // As in `poll()`.
    if _fastPath(unsafe gate.pointee.enterProducer() == pollPhase) {
      let look = poller.look()
      if _fastPath(look.slots != 0) {
        for offset in 0..<look.slots { body(poller.token(at: offset, look)) }
        poller.retire(look)
        unsafe gate.pointee.leaveProducer()
        return NetDmaPollResult(completed: Int(truncatingIfNeeded: look.slots), failed: 0)
      }
    }
    unsafe gate.pointee.leaveProducer()
    return try pollSlowly(body)
  }

  /// The operations that failed since the last call, in the order of submission.
  public mutating func takeFailures() -> [DMACompletion] {
    let taken = failures
    failures = []
    return taken
  }
}

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
/// Ending the value frees the channel: it waits for what is outstanding, then aborts it, and for the
/// completion handler to return. So a handler must not end its own channel: that would never return.
@safe public struct NetDmaChannel: ~Copyable, @unchecked Sendable {
  // @unchecked: what the pointers name is kept alive by `core`, and `client` is this value's alone; the
  // value has one owner, so moving it to another thread moves the right to use them.

  // The three calls of the hot path are compiled into their callers, so what they use is visible to
  // them: pointers, since a class would be reference-counted, and constants.
  @usableFromInline let core: NetDmaChannelCore
  /// What is not on the hot path.
  @usableFromInline let client: NetDmaChannelClient
  @usableFromInline var producer: RingProducer
  @usableFromInline let maximumTransferSize: UInt

  init(core: NetDmaChannelCore, interface: NetDmaInterface) {
    self.core = core
    client = NetDmaChannelClient(core: core, interface: interface)
    producer = RingProducer(memory: core.memory, progress: core.progress)
    maximumTransferSize = UInt(UInt32(clamping: core.attributes.maximumTransferSize))
    let words = unsafe core.progress.words
    unsafe words.pointee.constants.report = core.report.rawValue
    // Where membarrier does not work the lanes need a fence, and take the long way.
    let open = core.gate.needsFence ? LaneConstants.noPhase : ChannelGate.Phase.open.rawValue
    if let doorbell = unsafe core.grant.doorbell?.address {
      unsafe words.pointee.constants.doorbell = doorbell
      unsafe words.pointee.constants.submitPhase = open
    }
    if core.mode == .polled { unsafe words.pointee.constants.pollPhase = open }
  }

  deinit {
    // What was written and never submitted ends with the channel.
    client.interface.free(core, written: producer.head)
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
    let addresses = SIMD2(source.iova, destination.iova)
    // One compare for "fits one descriptor": zero wraps to the largest value.
    if _slowPath(UInt(bitPattern: source.count) &- 1 >= maximumTransferSize) {
      let (cursor, fits) = NetDmaChannel.enqueuePieces(
        core, producer.cursor, addresses, source.count, token, control)
      producer.cursor = cursor
      return fits
    }
    return producer.append(
      size: UInt64(UInt(bitPattern: source.count)), control: control, addresses: addresses,
      token: token)
  }

  // MARK: - Submit

  /// Rings the doorbell for everything enqueued since the last submit.
  ///
  /// - Throws: `NetDmaError.channelGone` when the channel was stopped, removed or failed: what was
  ///   enqueued then ends as aborted. `.hardware` when the transport failed.
  @inlinable @inline(__always)
  public mutating func submit() throws(NetDmaError) {
    let head = producer.head
    if head == producer.submitted { return }
    let words = unsafe producer.words
    if _fastPath(
      unsafe words.pointee.gate.enterProducer() == words.pointee.constants.submitPhase)
    {
      producer.seal(unsafe words.pointee.constants.report, at: head)
      unsafe netdma_doorbell16(
        words.pointee.constants.doorbell,
        UInt16(truncatingIfNeeded: head &- words.pointee.chainBase))
      unsafe words.pointee.gate.leaveProducer()
      unsafe words.pointee.doorbells.addAlone(1)
      return
    }
    unsafe words.pointee.gate.leaveProducer()
    var cursor = producer.cursor
    defer { producer.cursor = cursor }
    try client.submit(&cursor)
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
    let words = unsafe producer.words
    if _fastPath(unsafe words.pointee.gate.enterProducer() == words.pointee.constants.pollPhase) {
      let look = poller.look()
      if _fastPath(look.slots != 0) {
        poller.retire(look)
        unsafe words.pointee.gate.leaveProducer()
        return NetDmaPollResult(completed: Int(truncatingIfNeeded: look.slots), failed: 0)
      }
    }
    unsafe words.pointee.gate.leaveProducer()
    var cursor = producer.cursor
    defer { producer.cursor = cursor }
    return try client.poll(&cursor)
  }

  /// The reaping end, by the producer's pointers.
  @inlinable @inline(__always)
  var poller: RingPoller { RingPoller(producer) }

  /// `poll()` that hands the token of every operation that ended well to `body`, oldest first.
  @inlinable @inline(__always)
  public mutating func poll(
    _ body: (UInt64) -> Void
  ) throws(NetDmaError) -> NetDmaPollResult {
    // As in `poll()`.
    let words = unsafe producer.words
    if _fastPath(unsafe words.pointee.gate.enterProducer() == words.pointee.constants.pollPhase) {
      let look = poller.look()
      if _fastPath(look.slots != 0) {
        for offset in 0..<look.slots { body(poller.token(at: offset, look)) }
        poller.retire(look)
        unsafe words.pointee.gate.leaveProducer()
        return NetDmaPollResult(completed: Int(truncatingIfNeeded: look.slots), failed: 0)
      }
    }
    unsafe words.pointee.gate.leaveProducer()
    var cursor = producer.cursor
    defer { producer.cursor = cursor }
    return try client.poll(&cursor, body)
  }

  /// The operations that failed since the last call, in the order of submission.
  public mutating func takeFailures() -> [DMACompletion] {
    client.takeFailures()
  }
}

// SPDX-License-Identifier: Apache-2.0

import CNetDma
import Synchronization

/// What one poll found.
public struct NetDmaPollResult: Hashable, Sendable {
  /// Operations that ended well since the last poll.
  public var completed: Int
  /// Operations that failed since the last poll; `takeFailures()` tells which and why.
  public var failed: Int
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
  let core: NetDmaChannelCore
  private let interface: NetDmaInterface
  var producer: RingProducer
  private let doorbell: UnsafeMutableRawPointer?
  private let report: DmaControlFlags
  let maximumTransferSize: UInt32
  private var idlePolls: UInt32 = 0
  private var failures: [DMACompletion] = []
  private var lastProbe: UInt64 = 0
  private var stalledSince: (position: UInt32, time: UInt64)?

  init(core: NetDmaChannelCore, interface: NetDmaInterface) {
    self.core = core
    self.interface = interface
    producer = RingProducer(memory: core.memory, progress: core.progress)
    unsafe doorbell = core.grant.doorbell?.address
    report = core.report
    maximumTransferSize = UInt32(clamping: core.attributes.maximumTransferSize)
  }

  deinit {
    interface.free(core)
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
  ///   - options: Fence (`.serializeTransfer`) and no-snoop flags.
  @inline(__always)
  public mutating func enqueueCopy(
    from source: DMASlice, to destination: DMASlice, token: UInt64, options: DmaControlFlags = []
  ) -> Bool {
    precondition(source.count == destination.count, "source and destination differ in length")
    let size = UInt32(truncatingIfNeeded: source.count)
    // One compare for "fits one descriptor": zero wraps to the largest value.
    if UInt(bitPattern: source.count) &- 1 >= UInt(maximumTransferSize) {
      return enqueuePieces(source, destination, token, options)
    }
    return producer.append(
      size: size, control: options.rawValue, source: source.iova, destination: destination.iova,
      token: token)
  }

  /// A copy of no bytes, or of more than one descriptor takes.
  @inline(never)
  private mutating func enqueuePieces(
    _ source: DMASlice, _ destination: DMASlice, _ token: UInt64, _ options: DmaControlFlags
  ) -> Bool {
    if source.count == 0 {
      return producer.append(
        size: 1, control: options.union(.nullTransfer).rawValue, source: 0, destination: 0,
        token: token)
    }
    let limit = Int(maximumTransferSize)
    let pieces = (source.count + limit - 1) / limit
    precondition(pieces < capacity, "the copy is longer than the whole ring can carry")
    guard pieces <= producer.freeSlots() else { return false }
    let words = (0..<pieces).map { index in
      let offset = index * limit
      return DescriptorWords(
        size: UInt32(min(limit, source.count - offset)), control: options,
        source: source.iova &+ UInt64(offset), destination: destination.iova &+ UInt64(offset))
    }
    return producer.append(
      words, layout: .pieces, bytes: UInt64(source.count), token: token)
  }

  // MARK: - Submit

  /// Rings the doorbell for everything enqueued since the last submit.
  ///
  /// - Throws: `NetDmaError.channelGone` when the channel was stopped, removed or failed: what was
  ///   enqueued then ends as aborted. `.hardware` when the transport failed.
  @inline(__always)
  public mutating func submit() throws(NetDmaError) {
    if producer.head == producer.submitted { return }
    if core.gate.enterProducer() == .open, let doorbell = unsafe doorbell {
      let before = producer.submitted
      producer.seal(report)
      // The register is mapped as long as the channel is allocated.
      unsafe netdma_doorbell16(
        doorbell, UInt16(truncatingIfNeeded: producer.head &- core.progress.chainBase))
      core.gate.leaveProducer()
      count(producer.head &- before)
      return
    }
    core.gate.leaveProducer()
    try submitSlowly()
  }

  @inline(__always)
  private func count(_ descriptors: UInt32) {
    core.counters.doorbells.addAlone(1)
    core.counters.submittedDescriptors.addAlone(UInt64(descriptors))
    core.counters.submittedBytes.store(producer.bytes, ordering: .relaxed)
  }

  @inline(never)
  private mutating func submitSlowly() throws(NetDmaError) {
    while true {
      let before = producer.submitted
      switch core.gate.enterProducer() {
      case .open:
        defer { core.gate.leaveProducer() }
        producer.seal(report)
        count(producer.head &- before)
        try ring(Int(producer.head &- before))
        return
      case .suspended:
        // The resume tells the engine.
        producer.seal(report)
        core.gate.leaveProducer()
        count(producer.head &- before)
        return
      case .needsStart:
        core.gate.leaveProducer()
        if try start() { return }
      case .held:
        core.gate.leaveProducer()
        netdma_yield()
      case .closed:
        core.gate.leaveProducer()
        core.failLate(before: producer.head)
        producer.seal(report)
        interface.tellClient(of: core)
        throw core.gone
      }
    }
  }

  private func ring(_ count: Int) throws(NetDmaError) {
    if let doorbell = unsafe doorbell {
      // As in `submit`.
      unsafe netdma_doorbell16(
        doorbell, UInt16(truncatingIfNeeded: producer.head &- core.progress.chainBase))
    } else {
      try core.provider.appendDma(core.grant.context, count: count)
    }
  }

  /// StartDma after an abort or reset left the engine without a chain; false when the phase changed.
  private mutating func start() throws(NetDmaError) -> Bool {
    let core = core
    let report = report
    let before = producer.submitted
    let count = producer.head &- before
    let started = try core.gate.withExclusive { phase throws(NetDmaError) in
      guard phase == .needsStart else { return (next: phase, result: false) }
      producer.seal(report)
      // What an earlier start failed to tell the engine of comes first.
      try core.startChain(at: core.progress.retiredPosition, upTo: producer.head)
      return (next: .open, result: true)
    }
    if started {
      self.count(count)
      // The engine may be done, and its DPC have found the gate held.
      interface.tellClient(of: core)
    }
    return started
  }

  // MARK: - Poll

  /// How many operations ended since the last poll; for a polled channel only.
  ///
  /// - Throws: `NetDmaError.channelGone` once the channel is gone and everything was reported;
  ///   `.hardware` when the engine failed and could not be brought back; `.wrongState` on an
  ///   interrupt-driven channel.
  @inline(__always)
  public mutating func poll() throws(NetDmaError) -> NetDmaPollResult {
    if core.gate.enterProducer() == .open, core.mode == .polled {
      // In the producer lane, which is the reaping lane of a polled channel.
      if let word = unsafe core.consumer.pointee.peek(), word.state != .halted {
        if core.hasMail { return try pollAfterMail(word) { _ in } }
        let operations = unsafe core.consumer.pointee.retire(
          core.consumer.pointee.slotsDone(word))
        core.gate.leaveProducer()
        core.counters.completed.addAlone(UInt64(operations))
        return NetDmaPollResult(completed: operations, failed: 0)
      }
    }
    core.gate.leaveProducer()
    return try pollSlowly { _ in }
  }

  /// `poll()` that hands the token of every operation that ended well to `body`, oldest first.
  @inline(__always)
  public mutating func poll(
    _ body: (UInt64) -> Void
  ) throws(NetDmaError) -> NetDmaPollResult {
    if core.gate.enterProducer() == .open, core.mode == .polled {
      // As in `poll()`.
      if let word = unsafe core.consumer.pointee.peek(), word.state != .halted {
        if core.hasMail { return try pollAfterMail(word, body) }
        let slots = unsafe core.consumer.pointee.slotsDone(word)
        unsafe core.consumer.pointee.forEachOperation(in: slots, body)
        let operations = unsafe core.consumer.pointee.retire(slots)
        core.gate.leaveProducer()
        core.counters.completed.addAlone(UInt64(operations))
        return NetDmaPollResult(completed: operations, failed: 0)
      }
    }
    core.gate.leaveProducer()
    return try pollSlowly(body)
  }

  /// The operations that failed since the last call, in the order of submission.
  public mutating func takeFailures() -> [DMACompletion] {
    let taken = failures
    failures = []
    return taken
  }

  /// In the producer lane, with a new word: what control operations ended is older and comes first.
  @inline(never)
  private mutating func pollAfterMail(
    _ word: CompletionWord, _ body: (UInt64) -> Void
  ) throws(NetDmaError) -> NetDmaPollResult {
    defer { core.gate.leaveProducer() }
    var result = takeMail(body) ?? NetDmaPollResult(completed: 0, failed: 0)
    // As in `poll()`.
    let slots = unsafe core.consumer.pointee.slotsDone(word)
    unsafe core.consumer.pointee.forEachOperation(in: slots, body)
    let operations = unsafe core.consumer.pointee.retire(slots)
    core.counters.completed.addAlone(UInt64(operations))
    result.completed += operations
    return result
  }

  @inline(never)
  private mutating func pollSlowly(
    _ body: (UInt64) -> Void
  ) throws(NetDmaError) -> NetDmaPollResult {
    guard core.mode == .polled else {
      throw .wrongState(call: "poll", state: "interrupt-driven")
    }
    if let result = takeMail(body) { return result }
    if core.gate.current == .closed { throw core.gone }
    do throws(NetDmaError) {
      if core.memory.loadCompletion().state == .halted {
        try recover(.halted)
      } else {
        idlePolls &+= 1
        if idlePolls & 0x3ff == 0 { try checkProgress() }
      }
    } catch {
      // The channel was closed; what that ended comes before the error.
      guard let result = takeMail(body) else { throw error }
      return result
    }
    return takeMail(body) ?? NetDmaPollResult(completed: 0, failed: 0)
  }

  /// What control operations ended on this channel's behalf, nil when nothing.
  private mutating func takeMail(_ body: (UInt64) -> Void) -> NetDmaPollResult? {
    let mail = core.takeMail()
    if mail.isEmpty { return nil }
    var result = NetDmaPollResult(completed: 0, failed: 0)
    for completion in mail {
      if completion.error == nil {
        result.completed += 1
        body(completion.token)
      } else {
        result.failed += 1
        failures.append(completion)
      }
    }
    return result
  }

  /// How often a channel that stands still is asked whether it halted without saying so.
  private static var probeNanoseconds: UInt64 { 250_000_000 }

  /// The watchdog of a polled channel: the poller itself.
  private mutating func checkProgress() throws(NetDmaError) {
    let tail = core.progress.retiredPosition
    guard tail != core.progress.submittedPosition, core.gate.current != .suspended else {
      stalledSince = nil
      return
    }
    let now = Deadline.now()
    guard let stalled = stalledSince, stalled.position == tail else {
      stalledSince = (tail, now)
      lastProbe = now
      return
    }
    if now &- stalled.time >= interface.watchdogNanoseconds {
      stalledSince = nil
      try recover(.noProgress)
    } else if now &- lastProbe >= Self.probeNanoseconds {
      lastProbe = now
      try recover(.probe)
    }
  }

  private func recover(_ cause: NetDmaChannelCore.RecoveryCause) throws(NetDmaError) {
    try interface.recover(core, cause)
  }
}

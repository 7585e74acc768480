// SPDX-License-Identifier: Apache-2.0

import CNetDma
import Synchronization

/// What enqueue, submit and poll leave out of the hot path: everything that is not a store or a look.
///
/// It belongs to one `NetDmaChannel`, on whose owner's thread all of it is called; the channel's
/// cursor comes and goes as a value.
@usableFromInline final class NetDmaChannelClient {
  private let core: NetDmaChannelCore
  let interface: NetDmaInterface
  private var idlePolls: UInt32 = 0
  private var failures: [DMACompletion] = []
  private var lastProbe: UInt64 = 0
  private var stalledSince: (position: UInt32, time: UInt64)?

  init(core: NetDmaChannelCore, interface: NetDmaInterface) {
    self.core = core
    self.interface = interface
  }

  /// The operations that failed since the last call.
  func takeFailures() -> [DMACompletion] {
    let taken = failures
    failures = []
    return taken
  }

  private func producer(_ cursor: RingCursor) -> RingProducer {
    RingProducer(memory: core.memory, progress: core.progress, cursor: cursor)
  }

  // MARK: - Submit

  private func countDoorbell() { unsafe core.progress.words.pointee.doorbells.addAlone(1) }

  /// `NetDmaChannel.submit` in every phase of the gate.
  @usableFromInline @inline(never)
  func submit(_ cursor: inout RingCursor) throws(NetDmaError) {
    var producer = producer(cursor)
    defer { cursor = producer.cursor }
    let head = producer.head
    while true {
      let before = producer.submitted
      switch core.gate.enterProducer() {
      case .open:
        defer { core.gate.leaveProducer() }
        producer.seal(core.report)
        countDoorbell()
        try ring(head, Int(head &- before))
        return
      case .suspended:
        // The resume tells the engine.
        producer.seal(core.report)
        core.gate.leaveProducer()
        countDoorbell()
        return
      case .needsStart:
        core.gate.leaveProducer()
        if try start(&producer) { return }
      case .held:
        core.gate.leaveProducer()
        netdma_yield()
      case .closed:
        core.gate.leaveProducer()
        endLate(&producer)
        interface.tellClient(of: core)
        throw core.gone
      }
    }
  }

  /// Ends what was written and cannot be submitted any more.
  private func endLate(_ producer: inout RingProducer) {
    core.failLate(before: producer.head)
    if producer.head != producer.submitted { producer.seal(core.report) }
  }

  private func ring(_ head: UInt32, _ count: Int) throws(NetDmaError) {
    if let doorbell = unsafe core.grant.doorbell?.address {
      // As in `submit`.
      unsafe netdma_doorbell16(
        doorbell, UInt16(truncatingIfNeeded: head &- core.progress.chainBase))
    } else {
      try core.provider.appendDma(core.grant.context, count: count)
    }
  }

  /// StartDma after an abort or reset left the engine without a chain; false when the phase changed.
  private func start(_ producer: inout RingProducer) throws(NetDmaError) -> Bool {
    let started = try core.gate.withExclusive { phase throws(NetDmaError) in
      guard phase == .needsStart else { return (next: phase, result: false) }
      producer.seal(core.report)
      // What an earlier start failed to tell the engine of comes first.
      try core.startChain(at: core.progress.retiredPosition, upTo: producer.head)
      return (next: .open, result: true)
    }
    if started {
      countDoorbell()
      // The engine may be done, and its DPC have found the gate held.
      interface.tellClient(of: core)
    }
    return started
  }

  // MARK: - Poll

  /// `poll` below for those who want no tokens.
  @usableFromInline @inline(never)
  func poll(_ cursor: inout RingCursor) throws(NetDmaError) -> NetDmaPollResult {
    try poll(&cursor) { _ in }
  }

  /// `NetDmaChannel.poll` whatever there is.
  @usableFromInline @inline(never)
  func poll(
    _ cursor: inout RingCursor, _ body: (UInt64) -> Void
  ) throws(NetDmaError) -> NetDmaPollResult {
    guard core.mode == .polled else {
      throw .wrongState(call: "poll", state: "interrupt-driven")
    }
    if let result = reap(body) { return result }
    if core.gate.current == .closed {
      var producer = producer(cursor)
      if producer.head != producer.submitted {
        endLate(&producer)
        cursor = producer.cursor
      }
      // What ended with the channel was left before it closed, maybe after the look above.
      if let result = takeMail(body) { return result }
      throw core.gone
    }
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

  /// In the producer lane: what control operations ended, which is older, then what is new; nil when
  /// there is nothing.
  private func reap(_ body: (UInt64) -> Void) -> NetDmaPollResult? {
    let phase = core.gate.enterProducer()
    defer { core.gate.leaveProducer() }
    var result = takeMail(body)
    guard phase == .open, let word = core.takeNewWord() else { return result }
    // In the lane, which is the reaping lane of a polled channel.
    let slots = unsafe core.consumer.pointee.slotsDone(word)
    unsafe core.consumer.pointee.forEachOperation(in: slots, body)
    let operations = core.finish(slots)
    if slots == 0 { return result }
    let before = result ?? NetDmaPollResult(completed: 0, failed: 0)
    result = NetDmaPollResult(completed: before.completed + operations, failed: before.failed)
    return result
  }

  /// What control operations ended on this channel's behalf, nil when nothing.
  private func takeMail(_ body: (UInt64) -> Void) -> NetDmaPollResult? {
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
  private func checkProgress() throws(NetDmaError) {
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

extension NetDmaChannel {
  /// A copy of no bytes, or of more than one descriptor takes.
  @usableFromInline @inline(never)
  static func enqueuePieces(
    _ core: NetDmaChannelCore, _ cursor: RingCursor, _ addresses: SIMD2<UInt64>,
    _ byteCount: Int, _ token: UInt64, _ control: UInt32
  ) -> (cursor: RingCursor, fits: Bool) {
    let limit = Int(UInt32(clamping: core.attributes.maximumTransferSize))
    let control = DmaControlFlags(rawValue: control)
    var words = [DescriptorWords.null(control)]
    if byteCount > 0 {
      let pieces = (byteCount + limit - 1) / limit
      precondition(
        pieces < Int(core.memory.capacity), "the copy is longer than the whole ring can carry")
      words = (0..<pieces).map { index in
        let offset = index * limit
        return DescriptorWords(
          size: UInt32(min(limit, byteCount - offset)), control: control,
          source: addresses[0] &+ UInt64(offset), destination: addresses[1] &+ UInt64(offset))
      }
    }
    var producer = RingProducer(memory: core.memory, progress: core.progress, cursor: cursor)
    let fits = producer.append(
      words, layout: .pieces, bytes: UInt64(max(1, byteCount)), token: token)
    return (producer.cursor, fits)
  }
}

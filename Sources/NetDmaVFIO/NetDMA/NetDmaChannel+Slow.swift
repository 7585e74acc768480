// SPDX-License-Identifier: Apache-2.0

import CNetDma
import Synchronization

/// What enqueue, submit and poll leave out of the hot path: everything that is not a store or a look.
extension NetDmaChannel {
  /// A copy of no bytes, or of more than one descriptor takes; gives the producer's new `next` and
  /// `end`.
  @usableFromInline @inline(never)
  static func enqueuePieces(
    _ core: NetDmaChannelCore, _ next: Int, _ end: Int, _ source: DMASlice,
    _ destination: DMASlice, _ token: UInt64, _ control: UInt32
  ) -> (next: Int, end: Int, fits: Bool) {
    let limit = Int(UInt32(clamping: core.attributes.maximumTransferSize))
    let control = DmaControlFlags(rawValue: control)
    var words = [DescriptorWords.null(control)]
    if source.count > 0 {
      let pieces = (source.count + limit - 1) / limit
      precondition(
        pieces < Int(core.memory.capacity), "the copy is longer than the whole ring can carry")
      words = (0..<pieces).map { index in
        let offset = index * limit
        return DescriptorWords(
          size: UInt32(min(limit, source.count - offset)), control: control,
          source: source.iova &+ UInt64(offset), destination: destination.iova &+ UInt64(offset))
      }
    }
    guard
      let after = RingProducer.append(
        words, at: next, layout: .pieces, bytes: UInt64(max(1, source.count)), token: token,
        core.memory, core.progress)
    else { return (next, end, false) }
    return (after, after, true)
  }

  // MARK: - Submit

  private func count(_ descriptors: UInt32) {
    unsafe producer.words.pointee.doorbells.addAlone(1)
    unsafe producer.words.pointee.descriptors.addAlone(UInt64(descriptors))
  }

  @usableFromInline @inline(never)
  mutating func submitSlowly() throws(NetDmaError) {
    let head = producer.head
    while true {
      let before = producer.submitted
      switch core.gate.enterProducer() {
      case .open:
        defer { core.gate.leaveProducer() }
        producer.seal(core.report)
        count(head &- before)
        try ring(Int(head &- before))
        return
      case .suspended:
        // The resume tells the engine.
        producer.seal(core.report)
        core.gate.leaveProducer()
        count(head &- before)
        return
      case .needsStart:
        core.gate.leaveProducer()
        if try start() { return }
      case .held:
        core.gate.leaveProducer()
        netdma_yield()
      case .closed:
        core.gate.leaveProducer()
        endLate()
        interface.tellClient(of: core)
        throw core.gone
      }
    }
  }

  /// Ends what was written and cannot be submitted any more.
  private mutating func endLate() {
    core.failLate(before: producer.head)
    if producer.head != producer.submitted { producer.seal(core.report) }
  }

  private func ring(_ count: Int) throws(NetDmaError) {
    if let doorbell = unsafe core.grant.doorbell?.address {
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
    let before = producer.submitted
    let count = producer.head &- before
    let started = try core.gate.withExclusive { phase throws(NetDmaError) in
      guard phase == .needsStart else { return (next: phase, result: false) }
      producer.seal(core.report)
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

  @usableFromInline @inline(never)
  mutating func pollSlowly() throws(NetDmaError) -> NetDmaPollResult { try pollSlowly { _ in } }

  @usableFromInline @inline(never)
  mutating func pollSlowly(
    _ body: (UInt64) -> Void
  ) throws(NetDmaError) -> NetDmaPollResult {
    guard core.mode == .polled else {
      throw .wrongState(call: "poll", state: "interrupt-driven")
    }
    if let result = reap(body) { return result }
    if core.gate.current == .closed {
      if producer.head != producer.submitted {
        endLate()
        if let result = takeMail(body) { return result }
      }
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
  private mutating func reap(_ body: (UInt64) -> Void) -> NetDmaPollResult? {
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

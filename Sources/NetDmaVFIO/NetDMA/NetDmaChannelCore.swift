// SPDX-License-Identifier: Apache-2.0

import Logging
import Synchronization

/// How one operation ended.
public struct DMACompletion: Sendable {
  /// The token that it was enqueued with.
  public let token: UInt64
  /// Why it was not done, nil when it was.
  public let error: DMAOperationError?

  /// Describes an ended operation.
  public init(token: UInt64, error: DMAOperationError?) {
    self.token = token
    self.error = error
  }
}

/// What the client's end, the DPC and control operations share of an allocated channel.
///
/// The reaping state is touched only from the lane that the completion mode names (the producer
/// lane of a polled channel, the reaper lane otherwise) or with the gate held.
@safe final class NetDmaChannelCore: @unchecked Sendable {
  // @unchecked: `consumer` is the one mutable state that is not atomic; the gate's lanes make its
  // users exclude each other, as said above. Tests run this under ThreadSanitizer.
  let provider: any NetDmaProvider
  let providerName: String
  let grant: NetDmaChannelGrant
  let handle: NetDmaChannelHandle
  let mode: NetDmaCompletionMode
  let attributes: NetDmaProviderAttributes
  let memory: RingMemory
  let progress: ChannelProgress
  let gate: ChannelGate
  let counters = ChannelCounters()
  let logger: Logger
  let consumer: UnsafeMutablePointer<RingConsumer>
  private let handler: @Sendable (DMACompletion) -> Void
  /// What control operations ended on behalf of a polled channel; its owner's next poll takes it.
  private let mailbox = Mutex<[DMACompletion]>([])
  private let hasMail = Atomic<Bool>(false)
  /// Whether the channel was shut down; held while that is under way.
  let isShutDown = Mutex<Bool>(false)
  /// Why the channel is gone, once it is.
  private let goneReason = Mutex<String>("It was freed.")

  init(
    provider: any NetDmaProvider, providerName: String, grant: NetDmaChannelGrant,
    handle: NetDmaChannelHandle, mode: NetDmaCompletionMode,
    attributes: NetDmaProviderAttributes, memory: RingMemory, progress: ChannelProgress,
    gate: ChannelGate, logger: Logger, handler: @escaping @Sendable (DMACompletion) -> Void
  ) {
    self.provider = provider
    self.providerName = providerName
    self.grant = grant
    self.handle = handle
    self.mode = mode
    self.attributes = attributes
    self.memory = memory
    self.progress = progress
    self.gate = gate
    self.logger = logger
    self.handler = handler
    unsafe consumer = .allocate(capacity: 1)
    unsafe consumer.initialize(to: RingConsumer(memory: memory, progress: progress))
  }

  deinit {
    // The last reference: nobody is in a lane.
    unsafe consumer.deinitialize(count: 1)
    unsafe consumer.deallocate()
  }

  /// Flags of the last descriptor of a batch.
  var report: DmaControlFlags {
    mode == .interrupt
      ? [.statusUpdateOnCompletion, .interruptOnCompletion] : .statusUpdateOnCompletion
  }

  // MARK: - Starting

  /// Has the engine run one null descriptor, which proves that it masters the bus and that the
  /// completion word arrives, and leaves it IDLE with the chain behind it.
  func proveAlive(milliseconds: Int) throws(NetDmaError) {
    var producer = RingProducer(memory: memory, progress: progress)
    _ = producer.append(
      size: 1, control: DmaControlFlags.nullTransfer.rawValue, source: 0, destination: 0, token: 0)
    let first = producer.submitted
    producer.seal(.statusUpdateOnCompletion)
    try gate.withExclusive { _ throws(NetDmaError) in
      progress.setChainBase(first)
      try provider.startDma(grant.context, descriptor: memory.address(of: first), count: 1)
      let alive = Deadline(after: .milliseconds(milliseconds)).poll {
        () throws(Never) -> Bool in
        // The gate is held.
        guard let word = unsafe consumer.pointee.peek() else { return false }
        let slots = unsafe consumer.pointee.slotsDone(word)
        _ = unsafe consumer.pointee.retire(slots)
        return progress.isIdle
      }
      guard alive else {
        let registers = (try? provider.channelFault(grant.context))?.summary ?? "unreadable"
        throw .engineDead(
          provider: providerName, milliseconds: milliseconds, registers: registers)
      }
      return (next: .open, result: ())
    }
  }

  // MARK: - Reaping

  /// What a reaping found.
  enum Reaped: Equatable {
    /// Operations ended; 0 when there was nothing new.
    case completed(Int)
    /// The engine halted: recovery is due.
    case halted
    /// A control operation holds the channel and will reap.
    case held
  }

  /// NetDmaInterruptDpc's work: completes what is done, in submission order, on this thread.
  func reapForDpc() -> Reaped {
    guard gate.enterReaper() else { return .held }
    defer { gate.leaveReaper() }
    let phase = gate.current
    guard phase == .open || phase == .suspended || phase == .needsStart else { return .held }
    var total = 0
    // In the reaper lane, which is the reaping lane of an interrupt-driven channel.
    while let word = unsafe consumer.pointee.peek() {
      total += deliver(unsafe consumer.pointee.slotsDone(word))
      if word.state == .halted { return .halted }
    }
    return .completed(total)
  }

  /// Ends `slots` slots well and tells their clients; the caller may touch the reaping state.
  @discardableResult
  private func deliver(_ slots: UInt32) -> Int {
    guard slots > 0 else { return 0 }
    unsafe consumer.pointee.forEachOperation(in: slots) { token in
      tell(DMACompletion(token: token, error: nil))
    }
    let operations = unsafe consumer.pointee.retire(slots)
    counters.completed.addAlone(UInt64(operations))
    counters.foreignCompletions.store(
      unsafe consumer.pointee.foreignWords, ordering: .relaxed)
    return operations
  }

  /// Tells the client of an operation's end: its handler, or its next poll.
  private func tell(_ completion: DMACompletion) {
    if mode == .interrupt { return handler(completion) }
    mailbox.withLock { $0.append(completion) }
    hasMail.store(true, ordering: .releasing)
  }

  /// Takes what was left for the owner of a polled channel; empty when there is nothing.
  func takeMail() -> [DMACompletion] {
    guard hasMail.load(ordering: .relaxed) else { return [] }
    hasMail.store(false, ordering: .sequentiallyConsistent)
    return mailbox.withLock { mail in
      let taken = mail
      mail = []
      return taken
    }
  }

  // MARK: - Ending operations without their being done

  /// Ends every operation before `position` with `error` and tells the failed ones; gate held.
  func failOutstanding(before position: UInt32, _ error: DMAOperationError) {
    while Int32(bitPattern: position &- (unsafe consumer.pointee.tail)) > 0 { failOldest(error) }
  }

  /// Ends the oldest operation with `error`; gate held.
  private func failOldest(_ error: DMAOperationError) {
    let tail = unsafe consumer.pointee.tail
    let end = unsafe consumer.pointee.operationEnd(of: tail)
    let token = unsafe consumer.pointee.token(at: end &- 1)
    _ = unsafe consumer.pointee.retire(end &- tail)
    counters.failed.addAlone(1)
    tell(DMACompletion(token: token, error: error))
  }

  /// Ends the channel: whatever is outstanding fails, whatever comes later is refused.
  ///
  /// `stopEngine` runs with the gate held, so that no doorbell follows it; afterwards the engine
  /// touches nothing of the channel any more.
  func close(reason: String, stopEngine: () -> Void) {
    gate.withExclusive { phase in
      if phase != .closed { goneReason.withLock { $0 = reason } }
      stopEngine()
      takeFinished()
      failOutstanding(before: progress.enqueuedPosition, .aborted(reason: reason))
      return (next: .closed, result: ())
    }
  }

  /// Ends what the producer enqueued before `position` and after the channel was closed.
  func failLate(before position: UInt32) {
    let reason = goneReason.withLock { $0 }
    gate.withExclusive { phase in
      failOutstanding(before: position, .aborted(reason: reason))
      return (next: phase, result: ())
    }
  }

  /// The error of a channel that is gone.
  var gone: NetDmaError { .channelGone(reason: goneReason.withLock { $0 }) }

  /// Takes what the engine finished and nobody reaped yet; gate held.
  func takeFinished() {
    // The word itself, not only a change of it: whoever saw the change may have left it to us.
    let word = memory.loadCompletion()
    deliver(unsafe consumer.pointee.slotsDone(word))
  }

  // MARK: - Recovery

  /// Why a recovery runs.
  enum RecoveryCause: Equatable {
    /// The completion word said HALTED.
    case halted
    /// Nothing ended for a while: look whether the engine halted without saying so.
    case probe
    /// Nothing ended for the watchdog's time.
    case noProgress
  }

  /// Fails what failed, resets the channel and goes on behind it; order is kept.
  ///
  /// Throws when the channel cannot be brought back; its operations are then still outstanding.
  func recover(_ cause: RecoveryCause) throws(NetDmaError) {
    try gate.withExclusive { phase throws(NetDmaError) in
      let isRunning = phase == .open || phase == .suspended
      let startFailed = phase == .needsStart && !progress.isIdle
      guard isRunning || startFailed else { return (next: phase, result: ()) }
      takeFinished()
      let fault = try provider.channelFault(grant.context)
      if fault.state == .halted {
        // Where the completion word did not arrive the register still tells how far it got.
        let word = CompletionWord(rawValue: fault.lastDescriptor)
        deliver(unsafe consumer.pointee.slotsDone(word))
      } else if cause != .noProgress {
        // It runs, or the word is from before a recovery.
        return (next: phase, result: ())
      }
      let submitted = progress.submittedPosition
      let tail = unsafe consumer.pointee.tail
      logger.warning(
        "channel recovery",
        metadata: [
          "provider": "\(providerName)", "cause": "\(cause)", "registers": "\(fault.summary)",
          "outstanding": "\(submitted &- tail)",
        ])
      if fault.state == .halted, tail != submitted {
        let descriptor = memory.descriptor(at: tail)
        failOldest(
          .channelError(
            descriptor: memory.address(of: tail), errors: fault.errors,
            source: descriptor.sourceAddress, destination: descriptor.destinationAddress,
            length: Int(descriptor.transferSize)))
      }
      try provider.resetChannel(grant.context)
      counters.resets.addAlone(1)
      return (next: try restart(), result: ())
    }
  }

  /// Has a channel that was reset go on with the oldest outstanding descriptor; gate held.
  func restart() throws(NetDmaError) -> ChannelGate.Phase {
    let submitted = progress.submittedPosition
    let tail = unsafe consumer.pointee.tail
    memory.clearCompletion()
    unsafe consumer.pointee.forgetWord()
    guard tail != submitted else { return .needsStart }
    progress.setChainBase(tail)
    try provider.startDma(
      grant.context, descriptor: memory.address(of: tail), count: Int(submitted &- tail))
    return .open
  }

  // MARK: - Draining

  /// Waits until everything submitted has ended; false when `deadline` passes first.
  ///
  /// For a polled channel, whose owner may have stopped polling, it reaps with the gate held.
  func drain(until deadline: Deadline) -> Bool {
    deadline.poll { () throws(Never) -> Bool in
      if progress.retiredPosition == progress.submittedPosition { return true }
      if mode == .interrupt {
        _ = reapForDpc()
      } else {
        gate.withExclusive { phase in
          if phase == .open || phase == .suspended { takeFinished() }
          return (next: phase, result: ())
        }
      }
      return progress.retiredPosition == progress.submittedPosition
    }
  }
}

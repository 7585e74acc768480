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
@safe @usableFromInline final class NetDmaChannelCore: @unchecked Sendable {
  // @unchecked: `consumer` is the one mutable state that is not atomic; the gate's lanes make its
  // users exclude each other, as said above. Tests run this under ThreadSanitizer.
  let provider: any NetDmaProvider
  let providerName: String
  let optionalHandlers: NetDmaOptionalHandlers
  let grant: NetDmaChannelGrant
  let handle: NetDmaChannelHandle
  let mode: NetDmaCompletionMode
  let attributes: NetDmaProviderAttributes
  let memory: RingMemory
  let progress: ChannelProgress
  let gate: ChannelGate
  let counters: ChannelCounters
  let logger: Logger
  let consumer: UnsafeMutablePointer<RingConsumer>
  private let handler: @Sendable (DMACompletion) -> Void
  /// What control operations ended: told by the owner's next poll, or from the reaper lane.
  ///
  /// A control operation runs on a thread that may hold its client's locks, so it never calls the
  /// client's handler itself.
  private let mailbox = Mutex<[DMACompletion]>([])
  /// Whether operations ended for which an interrupt may still come.
  private let reapedAhead = Atomic<Bool>(false)
  /// Whether the channel was shut down; held while that is under way.
  let isShutDown = Mutex<Bool>(false)
  /// What its channel's later calls throw, once it is gone.
  let goneCause = Mutex<NetDmaError>(.channelGone(reason: "It was freed."))
  /// What control operations know of the channel; used with the gate held.
  let control: Mutex<ControlState> = Mutex(ControlState())

  init(
    provider: any NetDmaProvider, characteristics: NetDmaProviderCharacteristics,
    grant: NetDmaChannelGrant,
    handle: NetDmaChannelHandle, mode: NetDmaCompletionMode,
    attributes: NetDmaProviderAttributes, memory: RingMemory, progress: ChannelProgress,
    gate: ChannelGate, logger: Logger, handler: @escaping @Sendable (DMACompletion) -> Void
  ) {
    self.provider = provider
    providerName = characteristics.friendlyName
    optionalHandlers = characteristics.optionalHandlers
    self.grant = grant
    self.handle = handle
    self.mode = mode
    self.attributes = attributes
    self.memory = memory
    self.progress = progress
    counters = ChannelCounters(progress: progress)
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
    _ = producer.append([.null], layout: .pieces, bytes: 0, token: 0)
    let first = producer.submitted
    producer.seal(.statusUpdateOnCompletion)
    counters.unowned.addAlone(1)
    try gate.withExclusive { _ throws(NetDmaError) in
      defer {
        // The descriptor touches no memory and is nobody's: whatever becomes of it, no client hears of it.
        let left = progress.submittedPosition &- progress.retiredPosition
        if left > 0 { unsafe consumer.pointee.drop(left) }
      }
      try startChain(at: first, upTo: first &+ 1)
      let alive = Deadline(after: .milliseconds(milliseconds)).poll {
        () throws(Never) -> Bool in
        // The gate is held.
        guard let word = unsafe consumer.pointee.peek() else { return false }
        let slots = unsafe consumer.pointee.slotsDone(word)
        unsafe consumer.pointee.drop(slots)
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
    /// Another reaper is in the lane; it may have looked before what is new now.
    case busy
    /// A control operation holds the channel, or the channel is closed.
    case held
  }

  /// NetDmaInterruptDpc's work: completes what is done, in submission order, on this thread.
  ///
  /// What control operations ended is older, so it is told first.
  func reapForDpc() -> Reaped {
    guard gate.enterReaper() else { return .busy }
    defer { gate.leaveReaper() }
    // The phase first: whoever sees the gate open again sees what was left before that, too.
    let phase = gate.current
    if mode == .interrupt { for completion in takeMail() { handler(completion) } }
    guard phase == .open || phase == .suspended || phase == .needsStart else { return .held }
    var total = 0
    // In the reaper lane, which is the reaping lane of an interrupt-driven channel.
    while let word = unsafe consumer.pointee.peek() {
      let slots = unsafe consumer.pointee.slotsDone(word)
      if slots > 0 {
        unsafe consumer.pointee.forEachOperation(in: slots) { token in
          handler(DMACompletion(token: token, error: nil))
        }
        total += finish(slots)
      }
      if word.state == .halted { return .halted }
    }
    return .completed(total)
  }

  /// Counts an interrupt without work: late when its work was taken before, by a DPC that ended more
  /// than one operation or by a control operation, else spurious.
  func classifyInterrupt(ended operations: Int) {
    if operations > 0 {
      if operations > 1 { noteReapedAhead() }
    } else if reapedAhead.exchange(false, ordering: .relaxed) {
      counters.late.addShared(1)
    } else {
      counters.spurious.addShared(1)
    }
  }

  /// Operations ended whose interrupt may still come.
  func noteReapedAhead() { reapedAhead.store(true, ordering: .relaxed) }

  /// Retires `slots` slots that ended well and counts their operations.
  func finish(_ slots: UInt32) -> Int {
    // The caller may touch the reaping state.
    let operations = unsafe consumer.pointee.retire(slots)
    counters.foreignCompletions.store(unsafe consumer.pointee.foreignWords, ordering: .relaxed)
    return operations
  }

  /// Ends `slots` slots well on behalf of a control operation; gate held.
  @discardableResult
  func settle(_ slots: UInt32) -> Int {
    guard slots > 0 else { return 0 }
    unsafe consumer.pointee.forEachOperation(in: slots) { token in
      post(DMACompletion(token: token, error: nil))
    }
    noteReapedAhead()
    progress.raise(.word)
    return finish(slots)
  }

  /// Leaves an operation's end for its client; gate held.
  func post(_ completion: DMACompletion) {
    mailbox.withLock { $0.append(completion) }
    progress.raise(.mail)
  }

  /// Takes what was left for the client; empty when there is nothing.
  func takeMail() -> [DMACompletion] {
    guard progress.attention.contains(.mail) else { return [] }
    progress.lower(.mail)
    return mailbox.withLock { mail in
      let taken = mail
      mail = []
      return taken
    }
  }

  /// For a poll that looks closer, in its lane: the completion word, unless it is an old one or says
  /// HALTED.
  func takeNewWord() -> CompletionWord? {
    // The caller is in the lane.
    if progress.attention.contains(.spans), unsafe !consumer.pointee.hasSpans {
      progress.lower(.spans)
    }
    guard let word = unsafe consumer.pointee.takeWord(), word.state != .halted else { return nil }
    // It is newer than what control operations took, so words can be trusted again.
    if progress.attention.contains(.word) { progress.lower(.word) }
    return word
  }

  /// Takes what the engine finished and nobody reaped yet; gate held.
  func takeFinished() {
    guard let word = unsafe consumer.pointee.takeWord() else { return }
    settle(unsafe consumer.pointee.slotsDone(word))
  }

  /// Takes what the registers say is done beyond the completion word; gate held.
  ///
  /// Returns how many descriptors that were.
  @discardableResult
  func takeReported(_ fault: NetDmaChannelFault) -> UInt32 {
    // Without a chain CHANSTS may still name a descriptor of the one before.
    guard control.withLock({ $0.hasChain }) else { return 0 }
    let before = unsafe consumer.pointee.tail
    settle(unsafe consumer.pointee.slotsDone(CompletionWord(rawValue: fault.lastDescriptor)))
    // A word that came between the two looks may be behind `tail` now. That shows only as long as
    // nothing is submitted, so it is looked at here, and known afterwards.
    takeFinished()
    return (unsafe consumer.pointee.tail) &- before
  }

  // MARK: - Chains

  /// Has the engine begin with the descriptor at `first` of `submitted`, by StartDma; gate held.
  ///
  /// `dropChain` came before.
  func startChain(at first: UInt32, upTo submitted: UInt32) throws(NetDmaError) {
    progress.setChainBase(first)
    try provider.startDma(
      grant.context, descriptor: memory.address(of: first), count: Int(submitted &- first))
    control.withLock { $0.hasChain = true }
  }

  /// The engine stands still and will not go on with its chain: what it said of that is void; gate
  /// held.
  func dropChain() {
    memory.clearCompletion()
    unsafe consumer.pointee.forgetWord()
    control.withLock { $0.hasChain = false }
  }
}

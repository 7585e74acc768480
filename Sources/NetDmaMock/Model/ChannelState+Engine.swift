// SPDX-License-Identifier: Apache-2.0

import NetDmaVFIO

/// One descriptor for the engine to do, and how many behind it in the same turn.
struct EngineJob: Sendable {
  /// The chain that it belongs to; an outcome of another one counts for nothing.
  var epoch: UInt32
  /// Where the descriptor is, unless `link` says where to read that.
  var address: UInt64
  /// After a RESUME: the descriptor whose `next` has to be read first.
  var link: UInt64?
  /// The first descriptor behind CHAINADDR.
  var isChainStart: Bool
  /// Slots that DMACOUNT makes valid from here on, at least 1.
  var remaining: Int
  /// Number of descriptors that the channel began before.
  var index: UInt64
  /// CHANERRMASK.
  var errorMask: UInt32
  /// Whether the engine may go on behind a descriptor that nobody has to hear of, as long as the channel's
  /// `attention` is this.
  var mayGoOn: Bool
  var attention: UInt32 = 0

  /// The descriptor behind the one that ended so.
  mutating func advance(over outcome: borrowing EngineOutcome) {
    address = outcome.next
    link = nil
    isChainStart = false
    remaining -= Int(outcome.slots)
    index += 1
  }
}

/// Descriptors of one turn that ended well and asked for no word and no interrupt.
struct EngineProgress: Sendable {
  var descriptors: UInt64 = 0
  var slots: UInt16 = 0
  var bytes: UInt64 = 0
  /// Of the last one, as in `EngineOutcome`.
  var address: UInt64 = 0
  var link: UInt64 = 0
  var next: UInt64 = 0

  /// One more.
  mutating func add(_ outcome: borrowing EngineOutcome) {
    descriptors += 1
    slots &+= outcome.slots
    bytes &+= outcome.bytes
    address = outcome.address
    link = outcome.link
    next = outcome.next
  }
}

/// What came out of a job: of its last descriptor, and of those done before it.
struct EngineOutcome: Sendable {
  var epoch: UInt32
  var before = EngineProgress()
  /// Address of the descriptor (of the base one, where there is an extension).
  var address: UInt64 = 0
  /// Address of the last slot taken.
  var link: UInt64 = 0
  /// Where the chain goes on.
  var next: UInt64 = 0
  /// Slots taken.
  var slots: UInt16 = 1
  /// Bytes moved.
  var bytes: UInt64 = 0
  var writesCompletion = false
  var interrupts = false
  /// CHANERRMASK when the job began.
  var errorMask: UInt32 = 0
  /// CHANERR bits of the fault, 0 for none.
  var errors: UInt32 = 0
  /// The target of a DCA context change.
  var dcaTarget: UInt16?

  // Injected faults.
  var isHung = false
  var delay: UInt64 = 0
  var losesInterrupt = false
  var losesCompletion = false
  var interruptsSpuriously = false
  var completionXor: UInt64 = 0
  var injected: UInt64 = 0

  init(epoch: UInt32) { self.epoch = epoch }

  /// Whether it ended well, and nobody has to hear of that at once.
  var isQuiet: Bool {
    errors == 0 && !writesCompletion && !interrupts && !isHung && delay == 0 && injected == 0
      && dcaTarget == nil
  }

  /// The engine goes on behind it.
  mutating func goOn() {
    var progress = before
    progress.add(self)
    let mask = errorMask
    self = EngineOutcome(epoch: epoch)
    errorMask = mask
    before = progress
  }
}

/// What a channel reaches outside its own registers when a descriptor ends.
struct SettleContext: Sendable {
  let function: FunctionState
  let memory: any BusMemory

  /// Stores the completion word; false when the address is bad or the bus refuses.
  func store(_ word: UInt64, at address: UInt64) -> Bool {
    guard address & 7 == 0, function.configuration.reaches(address, count: 8),
      function.isBusMaster, !function.isRemoved
    else { return false }
    do throws(BusFault) {
      try memory.storeRelease(word, to: address)
      return true
    } catch {
      return false
    }
  }

  /// Latches CHANERR bits into CHANERR_INT.
  func mirror(_ bits: UInt32) { function.latchChannelError(bits) }

  /// From an event to its interrupt, in nanoseconds.
  var interruptDelay: UInt64 { function.interruptDelay }
}

extension ChannelState {
  /// Takes the next descriptor, when there is one to take.
  mutating func begin() -> EngineJob? {
    guard phase == .active, !isHung, count != counter else { return nil }
    isBusy = true
    turnEpoch = epoch
    let job = EngineJob(
      epoch: epoch, address: next, link: rereadsLink ? lastLink : nil,
      isChainStart: nextIsChainStart, remaining: Int(remaining), index: statistics.descriptors,
      errorMask: errorMask, mayGoOn: dueTime == nil)
    statistics.descriptors += 1
    current = next
    return job
  }

  /// The engine touches nothing any more on behalf of what it had begun.
  mutating func finish() {
    isBusy = false
    resetPending = false
  }

  /// Accounts for a descriptor: registers first, then the completion word, then the interrupt.
  ///
  /// Returns whether to signal the interrupt.
  mutating func settle(_ outcome: EngineOutcome, _ context: borrowing SettleContext) -> Bool {
    statistics.descriptors += outcome.before.descriptors
    guard outcome.epoch == epoch else { return false }
    statistics.injectedFaults += outcome.injected
    rereadsLink = false
    if outcome.before.descriptors != 0 { advance(over: outcome.before) }
    if outcome.isHung {
      isHung = true
      return false
    }
    let failure = outcome.errors & ~errorMask
    if failure != 0, fail(failure, context) { return reportError(context) }
    var signals = failure != 0 && reportError(context)

    // Done (or wrong in a way that was masked, or that stops nothing).
    let before = (counter, lastCompleted, lastLink, next, nextIsChainStart, phase)
    counter &+= outcome.slots
    lastCompleted = outcome.address
    lastLink = outcome.link
    next = outcome.next
    nextIsChainStart = false
    if counter == count { phase = .idle }
    if let target = outcome.dcaTarget {
      dcaControl = dcaControl & 0xffff_0000 | UInt32(target)
    }
    if outcome.writesCompletion, !outcome.losesCompletion,
      !writeCompletion(outcome.completionXor, context),
      errorMask & ChannelErrorBit.completionAddress == 0
    {
      let blames = control & ChannelControlBit.anyErrorAbort != 0
      if blames { (counter, lastCompleted, lastLink, next, nextIsChainStart, phase) = before }
      // The word cannot be written, so neither can the error's.
      error |= ChannelErrorBit.completionAddress
      context.mirror(ChannelErrorBit.completionAddress)
      statistics.errors += 1
      let raises = reportError(context)
      if blames {
        halt()
        return raises
      }
      signals = signals || raises
    }
    statistics.bytes += outcome.bytes
    switch stopRequest {
    case .none: break
    case .suspend: enterSuspended()
    case .halt:
      halt()
      reportHalt(context)
    }
    if outcome.interrupts, !outcome.losesInterrupt {
      let raises = interruptEvent(delay: context.interruptDelay, now: Deadline.now())
      signals = signals || raises
    }
    return signals
  }

  /// Accounts for what ended well before the descriptor that a turn ended with.
  private mutating func advance(over progress: EngineProgress) {
    counter &+= progress.slots
    lastCompleted = progress.address
    lastLink = progress.link
    next = progress.next
    current = progress.next
    nextIsChainStart = false
    statistics.bytes += progress.bytes
  }

  /// Shows in the registers how far the engine is in the middle of a turn.
  mutating func show(done: UInt64, current: UInt64) {
    guard isBusy, turnEpoch == epoch, done != 0 else { return }
    lastCompleted = done
    self.current = current
  }

  /// Latches the cause.
  ///
  /// Whether the channel halts: always for what a descriptor is to blame for, else only with
  /// ANY_ERR_ABORT_EN.
  private mutating func fail(_ bits: UInt32, _ context: borrowing SettleContext) -> Bool {
    error |= bits
    context.mirror(bits)
    statistics.errors += 1
    guard
      control & ChannelControlBit.anyErrorAbort != 0
        || bits & ~ChannelErrorBit.notTiedToDescriptor != 0
    else { return false }
    halt()
    reportHalt(context)
    return true
  }

  mutating func reportError(_ context: borrowing SettleContext) -> Bool {
    control & ChannelControlBit.errorInterrupt != 0
      && interruptEvent(delay: context.interruptDelay, now: Deadline.now())
  }

  /// Writes the completion word of a halted channel, if it was told to.
  mutating func reportHalt(_ context: borrowing SettleContext) {
    guard control & ChannelControlBit.errorCompletion != 0 else { return }
    _ = writeCompletion(0, context)
  }

  /// The last good descriptor and the state; `xor` is an injected fault.
  private mutating func writeCompletion(_ xor: UInt64, _ context: borrowing SettleContext) -> Bool {
    // A suspension is not pushed to memory: software polls CHANSTS for it.
    let word = lastCompleted & ChannelStatusBit.addressMask | phase.rawValue
    guard context.store(word ^ xor, at: completionAddress) else { return false }
    statistics.completionWords += 1
    return true
  }
}

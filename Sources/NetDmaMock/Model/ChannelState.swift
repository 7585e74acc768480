// SPDX-License-Identifier: Apache-2.0

/// One channel's registers and the position of its engine: the state machine without threads or
/// memory.
///
/// Guarded by `ChannelModel`'s lock. The engine takes a descriptor (`begin`), works without the lock, goes
/// on behind it where nobody has to hear of its end, and hands in what came out (`settle`). Whatever drops the chain in between (RESET, ABORT,
/// a new CHAINADDR) changes `epoch`, and the outcome of an older epoch counts for nothing.
struct ChannelState: Sendable {
  /// Bits 2:0 of CHANSTS.
  enum Phase: UInt64, Sendable {
    case active = 0
    case idle = 1
    case suspended = 2
    case halted = 3
    case armed = 4
  }

  /// What was asked for while a descriptor was in flight, to happen at its end.
  enum StopRequest: Sendable {
    case none
    case suspend
    case halt
  }

  var phase = Phase.halted

  // Registers.
  var control: UInt16 = 0
  var interruptDisabled = false
  var inUse = false
  var chainAddress: UInt64 = 0
  var completionAddress: UInt64 = 0
  var count: UInt16 = 0
  var error: UInt32 = 0
  var errorMask: UInt32 = 0
  var dcaControl: UInt32 = 0
  var ringSizeControl: UInt16 = 0
  var latencySelect: UInt8 = 0
  var latencyActive: UInt32 = 0
  var latencyIdle: UInt32 = 0
  /// High half of CHANSTS as it was when the low half was last read alone.
  var latchedStatusHigh: UInt32?

  // The engine's position in the chain.
  var counter: UInt16 = 0
  var next: UInt64 = 0
  var nextIsChainStart = true
  var lastCompleted: UInt64 = 0
  /// The slot whose `next` led to `next`: the last one that the last operation took.
  var lastLink: UInt64 = 0
  /// After a RESUME the engine reads that `next` again, since software may have edited the chain.
  var rereadsLink = false
  var current: UInt64 = 0

  // The engine's work.
  var epoch: UInt32 = 0
  var isBusy = false
  /// The epoch of what the engine is busy with.
  var turnEpoch: UInt32 = 0
  var isHung = false
  var stopRequest = StopRequest.none
  /// RESET was written while a descriptor was in flight: reads back until its end.
  var resetPending = false
  /// A fault: this RESET never ends.
  var resetIsStuck = false
  /// No descriptor begins before this time; 0 for no limit.
  var startTime: UInt64 = 0

  // Interrupts.
  var latched: LatchedInterrupt?
  /// When the interrupt that is being delayed is to be raised.
  var dueTime: UInt64?

  var statistics = ChannelStatistics()

  /// An event that came while interrupts were disabled, and the earliest time to raise it.
  struct LatchedInterrupt: Sendable { var dueTime: UInt64 }

  /// CHANSTS as it reads now.
  var status: UInt64 {
    lastCompleted & ChannelStatusBit.addressMask | phase.rawValue
      | (error & ChannelErrorBit.unaffiliated != 0 ? ChannelStatusBit.unaffiliatedError : 0)
  }

  /// What CHANCMD reads: RESET until it has finished.
  var commandReadBack: UInt8 { resetPending || resetIsStuck ? ChannelCommandBit.reset : 0 }

  /// CHANCTRL as it reads now, without the side effect.
  var controlReadBack: UInt16 {
    control | (interruptDisabled ? ChannelControlBit.interruptDisable : 0)
      | (inUse ? ChannelControlBit.inUse : 0)
  }

  /// Descriptors that the engine may still take.
  var remaining: UInt16 { count &- counter }

  // MARK: - Transitions by software

  /// Loads CHAINADDR: the counters and the completed address start from zero.
  mutating func arm() {
    dropChain()
    next = chainAddress
    phase = .armed
  }

  /// RESET: halted, nothing pending; the programmed control, mask and completion address stay.
  mutating func reset(neverEnds: Bool) {
    dropChain()
    phase = .halted
    error = 0
    current = 0
    latched = nil
    dueTime = nil
    latchedStatusHigh = nil
    resetPending = isBusy
    resetIsStuck = neverEnds
    statistics.resets += 1
  }

  /// Every register as after power-on.
  mutating func resetFunction() {
    var fresh = ChannelState()
    fresh.epoch = epoch &+ 1
    fresh.isBusy = isBusy
    fresh.statistics = statistics
    self = fresh
  }

  private mutating func dropChain() {
    epoch &+= 1
    counter = 0
    count = 0
    next = 0
    nextIsChainStart = true
    lastCompleted = 0
    lastLink = 0
    rereadsLink = false
    isHung = false
    stopRequest = .none
    startTime = 0
  }

  /// SUSPEND: after the descriptor in flight; without effect unless the channel runs or is idle.
  mutating func suspend() {
    switch phase {
    case .active where isBusy || isHung: if stopRequest == .none { stopRequest = .suspend }
    case .active, .idle: enterSuspended()
    case .suspended, .halted, .armed: break
    }
  }

  mutating func enterSuspended() {
    phase = .suspended
    stopRequest = .none
    startTime = 0
    // Whatever was read ahead is forgotten: software may edit the chain now.
    epoch &+= 1
    statistics.suspensions += 1
  }

  /// RESUME: goes on behind the last descriptor done.
  mutating func resume() {
    guard phase == .suspended else { return }
    rereadsLink = lastLink != 0
    phase = count == counter ? .idle : .active
  }

  /// DMACOUNT.
  ///
  /// Whether the engine has to be woken.
  mutating func ring(_ value: UInt16, now: @autoclosure () -> UInt64, startDelay: UInt64) -> Bool {
    statistics.doorbells += 1
    switch phase {
    case .armed, .idle:
      count = value
      guard count != counter else { return false }
      phase = .active
      startTime = startDelay == 0 ? 0 : now() &+ startDelay
      return true
    case .active:
      count = value
      // Lowered to where the engine stands: nothing is left to do.
      if count == counter, !isBusy, !isHung { phase = .idle }
      return false
    case .suspended:
      count = value
      return false
    case .halted:
      return false
    }
  }

  // MARK: - Interrupts

  /// Something to interrupt for happened.
  ///
  /// Whether to signal now.
  mutating func interruptEvent(delay: UInt64, now: @autoclosure () -> UInt64) -> Bool {
    let due = delay == 0 ? 0 : now() &+ delay
    if interruptDisabled {
      if latched == nil {
        latched = LatchedInterrupt(dueTime: due)
        statistics.interruptsHeld += 1
      } else {
        statistics.interruptsMerged += 1
      }
      return false
    }
    if delay != 0 {
      if dueTime == nil { dueTime = due } else { statistics.interruptsMerged += 1 }
      return false
    }
    raiseInterrupt()
    return true
  }

  /// Hardware raises an interrupt and disables further ones.
  mutating func raiseInterrupt() {
    dueTime = nil
    interruptDisabled = true
    statistics.interruptsRaised += 1
  }

  /// What a re-arm leads to.
  enum Rearmed {
    case nothing
    case signal
    case delayed
  }

  /// CHANCTRL bit 0 was written 1.
  mutating func rearm(now: @autoclosure () -> UInt64) -> Rearmed {
    interruptDisabled = false
    guard let event = latched else { return .nothing }
    latched = nil
    if event.dueTime != 0, event.dueTime > now() {
      dueTime = event.dueTime
      return .delayed
    }
    raiseInterrupt()
    return .signal
  }
}

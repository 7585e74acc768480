// SPDX-License-Identifier: Apache-2.0

import CNetDma
import NetDmaVFIO
import Synchronization

/// One channel: its registers, behind a lock, and its engine, a thread.
///
/// Lock discipline: the lock guards `ChannelState`. Register accesses hold it for a few instructions;
/// the engine takes it between turns only, never while it reads a descriptor or moves data, so a
/// register read never waits for a copy. A turn is one descriptor, with those before it that nobody had
/// to hear of; it ends behind the descriptor in which software wrote a register, and what is done of it
/// shows in the registers at once. The 8-byte completion word is stored under the lock:
/// after a RESET write has returned, no word of the old chain can appear any more. Interrupts are
/// signalled without any lock.
final class ChannelModel: Sendable {
  let index: Int
  private let function: FunctionState
  private let memory: any BusMemory
  private let settleContext: SettleContext
  private let bell: EngineBell
  private let state: Mutex<ChannelState>
  /// The state's epoch, for the engine to notice without the lock that its work is void.
  private let epoch = Atomic<UInt32>(0)
  private let isStopping = Atomic<Bool>(false)
  /// Changes with everything that software does: the engine's turn is over then.
  private let attention = Atomic<UInt32>(0)
  // How far the turn is, written by the engine alone: the last descriptor done, 0 for none, and the next.
  private let turnDone = Atomic<UInt64>(0)
  private let turnNext = Atomic<UInt64>(0)
  /// Where software may store DMACOUNT; its lock is taken before the state's.
  private let doorbell = Mutex(Doorbell())
  private let hasDoorbell = Atomic<Bool>(false)

  private struct Doorbell {
    var page: DoorbellPage?
    /// What was there when it was last looked at.
    var seen: UInt16 = 0
  }

  init(index: Int, function: FunctionState, memory: any BusMemory) throws(SystemCallError) {
    self.index = index
    self.function = function
    self.memory = memory
    settleContext = SettleContext(function: function, memory: memory)
    bell = try EngineBell()
    state = Mutex(ChannelState())
  }

  /// Runs `body`, which software asked for, under the lock, with the registers as they are now;
  /// publishes the epoch that results, and ends the engine's turn unless the effect leaves it as it is.
  @discardableResult
  private func withState(_ body: (inout ChannelState) -> RegisterEffect) -> RegisterEffect {
    state.withLock { state in
      show(&state)
      let effect = body(&state)
      epoch.store(state.epoch, ordering: .releasing)
      if !effect.contains(.extends) { endTurn() }
      return effect
    }
  }

  /// Something changed that the engine asks for once in a turn.
  func endTurn() { attention.wrappingAdd(1, ordering: .releasing) }

  /// Brings the registers up to where the engine is.
  private func show(_ state: inout ChannelState) {
    let next = turnNext.load(ordering: .relaxed)
    state.show(done: turnDone.load(ordering: .acquiring), current: next)
  }

  // MARK: - Registers

  /// The word at 8 × `word` of the window, nil when nothing of what is touched is implemented.
  func read(word: Int, lanes: ByteLanes) -> UInt64? {
    let configuration = function.configuration
    guard lanes.bits & ChannelState.implemented(word: word, configuration) != 0 else { return nil }
    return state.withLock { state in
      show(&state)
      return state.read(word: word, lanes: lanes, configuration)
    }
  }

  /// Whether anything of what is touched is implemented.
  func write(word: Int, lanes: ByteLanes, value: UInt64) -> Bool {
    let configuration = function.configuration
    guard lanes.bits & ChannelState.implemented(word: word, configuration) != 0 else {
      return false
    }
    let context = RegisterContext(
      configuration: configuration, mirrorBlocksStart: function.errorMirrorBlocksStart,
      resetNeverEnds: function.faults.resetNeverEnds, now: Deadline.now)
    let effect = withState { state in
      let before = state.error
      let effect = state.write(word: word, lanes: lanes, value: value, context)
      let new = state.error & ~before
      if new != 0 { function.latchChannelError(new) }
      if effect.contains(.reportHalt) {
        state.reportHalt(settleContext)
        if new != 0, state.reportError(settleContext) { return effect.union(.signal) }
      }
      return effect
    }
    if effect.isEmpty { return true }
    if effect.contains(.wakeEngine) { bell.ring() }
    if effect.contains(.signal) { function.raise(channel: index) }
    if effect.contains(.withdraw) {
      // Unless the engine raised the next one meanwhile, which must not be taken back.
      state.withLock { if !$0.interruptDisabled { function.withdraw(channel: index) } }
    }
    if effect.contains(.reset), configuration.quirks.contains(.resetWipesMSIX) {
      function.msix?.wipeMSIX()
    }
    return true
  }

  /// Every register as after power-on; the engine gives up what it does.
  func resetFunction() {
    withState { state in
      state.resetFunction()
      return .reset
    }
    bell.ring()
  }

  /// Sets registers as if firmware or a former owner had left them so.
  func preset(inUse: Bool, error: UInt32) {
    withState { state in
      if inUse { state.inUse = true }
      state.error |= error & ChannelErrorBit.all
      return []
    }
  }

  /// Whether the engine is in the middle of a descriptor.
  var isBusy: Bool { state.withLock { $0.isBusy } }

  var statistics: ChannelStatistics { state.withLock { $0.statistics } }

  // MARK: - Doorbells in memory

  /// Looks at `page` for DMACOUNT from now on, besides the register; at none when nil.
  func attach(_ page: DoorbellPage?) {
    doorbell.withLock { $0 = Doorbell(page: page) }
    mirrorCount()
    hasDoorbell.store(page != nil, ordering: .releasing)
    bell.ring()
  }

  /// Takes over a count that was stored in memory; whether there was a new one.
  ///
  /// Under the lock, because the engine and the register accesses of software both look: an older
  /// count taken over after a newer one would send the engine around the whole counter.
  @discardableResult
  func takeDoorbell() -> Bool {
    guard hasDoorbell.load(ordering: .acquiring) else { return false }
    return doorbell.withLock { doorbell in
      guard let value = doorbell.page?.load(channel: index), value != doorbell.seen else {
        return false
      }
      doorbell.seen = value
      _ = write(
        word: 0, lanes: ByteLanes(start: ModelChannelRegister.count, width: 2),
        value: UInt64(value) << UInt64(8 * ModelChannelRegister.count))
      return true
    }
  }

  /// Shows in memory what DMACOUNT became otherwise (a reset, a new chain, a write of the register),
  /// so that the next store of the same number is seen as a new one.
  func mirrorCount() {
    doorbell.withLock { doorbell in
      guard let page = doorbell.page else { return }
      let count = state.withLock { $0.count }
      // A store that came in between stays, and is taken over next.
      if count != doorbell.seen, page.replace(channel: index, doorbell.seen, with: count) {
        doorbell.seen = count
      }
    }
  }

  /// For this long after the last descriptor the engine looks at memory without a pause.
  private static let watchSpin: UInt64 = 200_000
  /// For this long it looks again after the shortest sleep there is, later once a millisecond.
  private static let watchSpan: UInt64 = 100_000_000

  /// Waits like the bell, and looks for a count in memory meanwhile.
  private func watch(since seen: UInt32, until time: UInt64?) {
    let start = Deadline.now()
    while bell.count == seen, !takeDoorbell() {
      netdma_cpu_pause()
      let now = Deadline.now()
      if let time, now >= time { return }
      guard now &- start > Self.watchSpin else { continue }
      let nap: UInt64 = now &- start < Self.watchSpan ? 1000 : 1_000_000
      bell.wait(since: seen, until: min(now + nap, time ?? .max), spin: 0)
    }
  }

  // MARK: - The engine's thread

  /// Makes `run` return after the descriptor in flight.
  func stop() {
    isStopping.store(true, ordering: .releasing)
    endTurn()
    bell.ring()
  }

  private enum Step {
    case run(EngineJob)
    case signal
    case sleep(until: UInt64?)
    case stop
  }

  /// The engine: runs until `stop`.
  func run() {
    var execution = DescriptorExecution(channel: index, function: function, memory: memory)
    var pacer = EnginePacer(timing: function.configuration.timing)
    var outcome: EngineOutcome?
    while true {
      let seen = bell.count
      // Before it is said that nothing is left to do.
      takeDoorbell()
      let step = nextStep(outcome)
      outcome = nil
      switch step {
      case .run(let job):
        pacer.begin()
        let result = execution.run(job) {
          self.isVoid(job.epoch)
        } goesOn: { done, next in
          self.goesOn(behind: done, to: next, since: job.attention)
        }
        if result.interruptsSpuriously { function.raiseSpuriously(channel: index) }
        if let time = pacer.end(of: result) { pause(until: time, epoch: job.epoch) }
        outcome = result
      case .signal:
        // An interrupt must not overtake the word that it is about.
        memory.settleStores()
        function.raise(channel: index)
      case .sleep(let time):
        pacer.idle()
        execution.rest()
        if hasDoorbell.load(ordering: .acquiring) {
          watch(since: seen, until: time)
          continue
        }
        bell.wait(since: seen, until: time, spin: function.configuration.timing.idleSpin)
      case .stop:
        return
      }
    }
  }

  private func isVoid(_ jobEpoch: UInt32) -> Bool {
    epoch.load(ordering: .acquiring) != jobEpoch || isStopping.load(ordering: .acquiring)
  }

  /// Says in the middle of a turn what is done; false when the turn is over.
  private func goesOn(behind done: UInt64, to next: UInt64, since seen: UInt32) -> Bool {
    guard attention.load(ordering: .acquiring) == seen else { return false }
    turnNext.store(next, ordering: .relaxed)
    turnDone.store(done, ordering: .releasing)
    return true
  }

  /// Accounts for what is done and says what to do now.
  ///
  /// Until the next call the engine counts as busy if it was given something to do.
  private func nextStep(_ outcome: EngineOutcome?) -> Step {
    let isStopping = isStopping.load(ordering: .acquiring)
    return state.withLock { state in
      defer { epoch.store(state.epoch, ordering: .releasing) }
      turnDone.store(0, ordering: .relaxed)
      if let outcome {
        if !isStopping, state.settle(outcome, settleContext) { return .signal }
      }
      state.finish()
      if isStopping { return .stop }
      if let due = state.dueTime, Deadline.now() >= due {
        state.raiseInterrupt()
        state.isBusy = true
        return .signal
      }
      if state.startTime != 0 {
        if Deadline.now() < state.startTime {
          return .sleep(until: min(state.startTime, state.dueTime ?? .max))
        }
        state.startTime = 0
      }
      guard var job = state.begin() else { return .sleep(until: state.dueTime) }
      // With modelled time each descriptor has an end of its own.
      if function.configuration.timing.isPaced { job.mayGoOn = false }
      job.attention = attention.load(ordering: .relaxed)
      return .run(job)
    }
  }

  /// Below this many nanoseconds the engine looks at the clock instead of sleeping, because a
  /// sleep takes longer than that to end.
  private static let spinLimit: UInt64 = 60_000

  /// Lets modelled time pass, unless the work becomes void.
  private func pause(until time: UInt64, epoch: UInt32) {
    while !isVoid(epoch) {
      let seen = bell.count
      let now = Deadline.now()
      if now >= time { return }
      if time - now > Self.spinLimit {
        if isVoid(epoch) { return }
        bell.wait(since: seen, until: time - Self.spinLimit / 2, spin: 0)
      }
    }
  }
}

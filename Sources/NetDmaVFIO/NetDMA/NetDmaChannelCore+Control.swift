// SPDX-License-Identifier: Apache-2.0

import Synchronization

/// Suspend, resume, abort and reset of a channel that is allocated.
extension NetDmaChannelCore {
  /// Who wants the engine to stand still.
  struct Holds: OptionSet {
    let rawValue: UInt8
    /// SuspendDma, by a client.
    static let client = Holds(rawValue: 1)
    /// The provider has no power.
    static let power = Holds(rawValue: 2)
  }

  /// What control operations know of a channel.
  struct ControlState {
    var holds: Holds = []
    var stage = WatchdogStage.quiet
    /// Operations done when the watchdog last acted.
    var completedAtStage: UInt64 = 0
  }

  /// Stops the engine behind the descriptor in progress.
  ///
  /// Returns the device's address of the last descriptor that was finished, 0 when none was since
  /// the engine last started.
  func suspend(_ hold: Holds, call: String) throws(NetDmaError) -> UInt64 {
    try gate.withExclusive { phase throws(NetDmaError) in
      try checkLive(phase, call: call)
      let holds = control.withLock { $0.holds }
      guard !holds.contains(hold) else {
        throw .wrongState(call: call, state: hold == .client ? "suspended" : "powered down")
      }
      if holds.isEmpty, phase == .open {
        _ = try provider.suspendDma(grant.context)
        takeFinished()
        // SUSPENDED reports need not reach memory; the register tells of the last one done.
        let fault = try provider.channelFault(grant.context)
        settle(unsafe consumer.pointee.slotsDone(CompletionWord(rawValue: fault.lastDescriptor)))
      }
      control.withLock { _ = $0.holds.insert(hold) }
      let tail = unsafe consumer.pointee.tail
      let last = tail == progress.chainBase ? 0 : memory.address(of: tail &- 1)
      return (next: .suspended, result: last)
    }
  }

  /// Goes on behind the last descriptor that was finished, once nobody holds the channel any more.
  ///
  /// `contextIsLost` says that the engine forgot its registers and must be programmed anew.
  func resume(_ hold: Holds, contextIsLost: Bool, call: String) throws(NetDmaError) {
    try gate.withExclusive { phase throws(NetDmaError) in
      try checkLive(phase, call: call)
      let holds = control.withLock { $0.holds }
      guard holds.contains(hold) else {
        throw .wrongState(call: call, state: "not suspended")
      }
      if contextIsLost { try provider.resetChannel(grant.context) }
      var next = ChannelGate.Phase.suspended
      if holds == hold {
        let fault = try provider.channelFault(grant.context)
        // The engine may have halted on the descriptor that it was to finish.
        if fault.state == .halted, !fault.errors.isEmpty {
          try failAndReset(fault)
        }
        next = try goOn(isReset: contextIsLost || fault.state == .halted)
      }
      control.withLock { _ = $0.holds.remove(hold) }
      return (next: next, result: ())
    }
  }

  private func failAndReset(_ fault: NetDmaChannelFault) throws(NetDmaError) {
    failHalted(fault)
    try provider.resetChannel(grant.context)
    counters.resets.addAlone(1)
  }

  private func goOn(isReset: Bool) throws(NetDmaError) -> ChannelGate.Phase {
    if isReset { return try restart() }
    let submitted = progress.submittedPosition
    let tail = unsafe consumer.pointee.tail
    guard tail != submitted else { return .needsStart }
    progress.setChainBase(tail)
    memory.clearCompletion()
    unsafe consumer.pointee.forgetWord()
    try provider.resumeDma(
      grant.context, descriptor: memory.address(of: tail), count: Int(submitted &- tail))
    return .open
  }

  /// Stops the engine at once; everything submitted and not done ends as aborted.
  ///
  /// What is enqueued and not submitted stays. The next submit starts the engine again.
  func abort(
    call: String, _ stop: (any NetDmaChannelContext) throws(NetDmaError) -> Void
  ) throws(NetDmaError) {
    try gate.withExclusive { phase throws(NetDmaError) in
      try checkLive(phase, call: call)
      guard control.withLock({ !$0.holds.contains(.power) }) else {
        throw .wrongState(call: call, state: "powered down")
      }
      takeFinished()
      try stop(grant.context)
      takeFinished()
      failOutstanding(
        before: progress.submittedPosition, .aborted(reason: "\(call) was called."))
      counters.resets.addAlone(1)
      memory.clearCompletion()
      unsafe consumer.pointee.forgetWord()
      control.withLock { $0.holds = [] }
      return (next: .needsStart, result: ())
    }
  }

  private func checkLive(_ phase: ChannelGate.Phase, call: String) throws(NetDmaError) {
    switch phase {
    case .open, .suspended, .needsStart: return
    case .closed: throw gone
    case .held: throw .wrongState(call: call, state: "held")
    }
  }
}

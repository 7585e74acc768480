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
    /// Whether the provider was told to suspend; a channel without a chain need not be.
    var isEngineSuspended = false
    /// Whether the engine works on a chain: its word and registers tell of operations.
    var hasChain = false
    var stage = WatchdogStage.quiet
    /// Operations done when the watchdog last acted.
    var completedAtStage: UInt64 = 0
  }

  /// Stops the engine behind the descriptor in progress.
  ///
  /// Returns the device's address of the last descriptor that was finished, 0 when none was since
  /// the engine last started.
  func suspend(
    _ hold: Holds, call: String, drain: Duration = .zero
  ) throws(NetDmaError) -> UInt64 {
    try gate.withExclusive { phase throws(NetDmaError) in
      try checkLive(phase, call: call)
      let holds = control.withLock { $0.holds }
      guard !holds.contains(hold) else {
        throw .wrongState(call: call, state: hold == .client ? "suspended" : "powered down")
      }
      if holds.isEmpty, phase == .open { try stopBetweenDescriptors(within: drain) }
      control.withLock { _ = $0.holds.insert(hold) }
      let tail = unsafe consumer.pointee.tail
      let last = tail == progress.chainBase ? 0 : memory.address(of: tail &- 1)
      return (next: .suspended, result: last)
    }
  }

  /// Where the engine cannot be suspended it is given `limit` to finish everything; gate held.
  private func stopBetweenDescriptors(within limit: Duration) throws(NetDmaError) {
    guard optionalHandlers.contains(.suspendResume) else {
      let isDone = Deadline(after: limit).poll { () throws(Never) in
        takeFinished()
        return (unsafe consumer.pointee.tail) == progress.submittedPosition
      }
      guard isDone else {
        throw .drainTimedOut(
          provider: providerName,
          aborted: Int(progress.submittedPosition &- progress.retiredPosition),
          milliseconds: limit.wholeMilliseconds)
      }
      return
    }
    _ = try provider.suspendDma(grant.context)
    control.withLock { $0.isEngineSuspended = true }
    takeFinished()
    // SUSPENDED reports need not reach memory; the register tells of the last one done.
    takeReported(try provider.channelFault(grant.context))
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
      if contextIsLost {
        try resetIfOffered()
        control.withLock { $0.isEngineSuspended = false }
      }
      var next = ChannelGate.Phase.suspended
      if holds == hold {
        let fault = try provider.channelFault(grant.context)
        // The engine may have halted on the descriptor that it was to finish.
        if fault.state == .halted, !fault.errors.isEmpty {
          try failAndReset(fault)
        }
        let isSuspended = control.withLock { $0.isEngineSuspended }
        next = try goOn(isReset: !isSuspended || fault.state == .halted)
      }
      control.withLock { control in
        control.holds.remove(hold)
        if control.holds.isEmpty { control.isEngineSuspended = false }
      }
      return (next: next, result: ())
    }
  }

  private func failAndReset(_ fault: NetDmaChannelFault) throws(NetDmaError) {
    failHalted(fault)
    try resetIfOffered()
    counters.resets.addAlone(1)
  }

  /// ResetChannel, which a provider may lack.
  func resetIfOffered() throws(NetDmaError) {
    if optionalHandlers.contains(.reset) { try provider.resetChannel(grant.context) }
  }

  private func goOn(isReset: Bool) throws(NetDmaError) -> ChannelGate.Phase {
    if isReset { return try restart() }
    let submitted = progress.submittedPosition
    let tail = unsafe consumer.pointee.tail
    dropChain()
    if tail != submitted { progress.setChainBase(tail) }
    try provider.resumeDma(
      grant.context, descriptor: memory.address(of: tail), count: Int(submitted &- tail))
    guard tail != submitted else { return .needsStart }
    control.withLock { $0.hasChain = true }
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
      dropChain()
      control.withLock { control in
        control.holds = []
        control.isEngineSuspended = false
      }
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

// SPDX-License-Identifier: Apache-2.0

import Logging
import Synchronization

/// Bringing a channel back after its engine halted or stood still.
extension NetDmaChannelCore {
  /// Why a recovery runs.
  enum RecoveryCause: String {
    /// The completion word said HALTED.
    case halted
    /// Nothing ended for a while: look whether the engine halted without saying so.
    case probe
    /// Nothing ended for the watchdog's time.
    case noProgress = "no progress"
  }

  /// What a recovery came to.
  enum RecoveryResult: Equatable {
    /// The channel goes on, or never had to stop.
    case running
    /// A channel reset did not help before, or does not work: the device is next.
    ///
    /// `stalledAt` is the position of the operation that had its chances and fails unless it ends
    /// meanwhile; nil where the channel halted, since the one to blame has ended already.
    case deviceReset(stalledAt: UInt32?)
    /// A device reset did not help either.
    case providerFailed
  }

  /// Where a channel stood still, and after how long that was too long.
  struct Stall {
    let position: UInt32
    let milliseconds: Int
  }

  /// How far the watchdog went without an operation ending well since.
  enum WatchdogStage: Int, Comparable {
    case quiet, channelWasReset, deviceWasReset
    static func < (a: Self, b: Self) -> Bool { a.rawValue < b.rawValue }
  }

  /// Fails what failed, resets the channel and goes on behind it; order is kept.
  ///
  /// A suspended channel stays suspended. What is outstanding stays so unless the result is
  /// `.running`.
  /// - Throws: what the provider says when its registers cannot be read or its chain not loaded.
  func recover(_ cause: RecoveryCause) throws(NetDmaError) -> RecoveryResult {
    try gate.withExclusive { phase throws(NetDmaError) in
      let startFailed =
        phase == .needsStart && progress.retiredPosition != progress.submittedPosition
      // Whoever suspended the channel wants it to stand still; without power nothing can be asked.
      let mayAsk =
        phase == .suspended
        ? cause == .halted && control.withLock { !$0.holds.contains(.power) }
        : phase == .open || startFailed
      guard mayAsk else { return (next: phase, result: .running) }
      takeFinished()
      let tail = unsafe consumer.pointee.tail
      let fault = try provider.channelFault(grant.context)
      takeLost(fault)
      guard fault.state == .halted || cause == .noProgress else {
        // It runs, or the word is from before a recovery.
        return (next: phase, result: .running)
      }
      if fault.state != .halted {
        if tail != (unsafe consumer.pointee.tail) {
          // Only the report was lost.
          return (next: phase, result: .running)
        }
        let stage = advanceWatchdog()
        log(cause, fault, action: stage.action)
        if stage == .deviceWasReset { return (next: phase, result: .providerFailed) }
        if stage == .channelWasReset {
          return (next: phase, result: .deviceReset(stalledAt: tail))
        }
      } else {
        log(cause, fault, action: "channel reset")
        // An engine that took no chain has no descriptor to blame: StartDma failed.
        if !fault.errors.isEmpty || control.withLock({ $0.hasChain }) { failHalted(fault) }
      }
      let deviceReset = RecoveryResult.deviceReset(
        stalledAt: fault.state == .halted ? nil : tail)
      guard optionalHandlers.contains(.reset) else { return (next: phase, result: deviceReset) }
      do throws(NetDmaError) {
        try provider.resetChannel(grant.context)
      } catch {
        logger.error(
          "channel reset failed", metadata: ["provider": "\(providerName)", "reason": "\(error)"])
        return (next: phase, result: error.isDeviceGone ? .providerFailed : deviceReset)
      }
      counters.resets.addAlone(1)
      return (next: phase == .suspended ? staySuspended() : try restart(), result: .running)
    }
  }

  /// Leaves a channel that was reset suspended; gate held.
  private func staySuspended() -> ChannelGate.Phase {
    dropChain()
    return .suspended
  }

  /// Where completion words were lost the registers still tell how far the engine got; gate held.
  private func takeLost(_ fault: NetDmaChannelFault) {
    let found = takeReported(fault)
    if found > 0, fault.state != .halted {
      counters.lostCompletions.addShared(UInt64(found))
      logger.warning(
        "completion words were lost",
        metadata: [
          "provider": "\(providerName)", "descriptors": "\(found)",
          "registers": "\(fault.summary)",
        ])
    }
  }

  /// Fails the operation that the engine halted on; gate held.
  func failHalted(_ fault: NetDmaChannelFault) {
    defer { dropChain() }
    let tail = unsafe consumer.pointee.tail
    guard tail != progress.submittedPosition else { return }
    let descriptor = memory.descriptor(at: tail)
    let validation = fault.errors.intersection([.xorPOrCRC, .xorQ])
    if !validation.isEmpty, validation == fault.errors {
      return failOldest(
        .validationFailed(
          descriptor: memory.address(of: tail), p: validation.contains(.xorPOrCRC),
          q: validation.contains(.xorQ)))
    }
    failOldest(
      .channelError(
        descriptor: memory.address(of: tail), errors: fault.errors,
        source: descriptor.sourceAddress, destination: descriptor.destinationAddress,
        length: Int(descriptor.transferSize)))
  }

  /// Has a channel that was reset go on with the oldest outstanding descriptor; gate held.
  func restart() throws(NetDmaError) -> ChannelGate.Phase {
    let submitted = progress.submittedPosition
    let tail = unsafe consumer.pointee.tail
    dropChain()
    guard tail != submitted else { return .needsStart }
    try startChain(at: tail, upTo: submitted)
    return .open
  }

  // MARK: - The watchdog

  /// Goes one stage on, and tells the stage before; gate held.
  private func advanceWatchdog() -> WatchdogStage {
    let completed = counters.completed
    return control.withLock { control in
      if control.completedAtStage != completed { control.stage = .quiet }
      control.completedAtStage = completed
      let before = control.stage
      control.stage = before == .quiet ? .channelWasReset : .deviceWasReset
      return before
    }
  }

  /// Makes ready for a reset of the whole device: the engine stops between descriptors, so that
  /// what it finished is known; gate held.
  func quiesce() {
    // A channel that does not stop is what the reset is for.
    if optionalHandlers.contains(.suspendResume) {
      _ = try? provider.suspendDma(grant.context)
    }
    takeFinished()
    if let fault = try? provider.channelFault(grant.context) { takeReported(fault) }
  }

  /// Goes on after a reset of the whole device; gate held.
  ///
  /// `stall` is set for the channel that stood still: the operation at its position, which had a
  /// second chance already, fails. It may have been slow and have ended before the reset.
  func resume(afterDeviceReset phase: ChannelGate.Phase, _ stall: Stall?)
    throws(NetDmaError) -> ChannelGate.Phase
  {
    if let stall, (unsafe consumer.pointee.tail) == stall.position,
      stall.position != progress.submittedPosition
    {
      failOldest(
        .timedOut(
          descriptor: memory.address(of: stall.position), milliseconds: stall.milliseconds))
    }
    control.withLock { control in
      if stall != nil { control.stage = .deviceWasReset }
      control.completedAtStage = counters.completed
    }
    try resetIfOffered()
    counters.resets.addAlone(1)
    return phase == .suspended ? staySuspended() : try restart()
  }

  private func log(_ cause: RecoveryCause, _ fault: NetDmaChannelFault, action: String) {
    let outstanding = progress.submittedPosition &- progress.retiredPosition
    logger.warning(
      "channel recovery",
      metadata: [
        "provider": "\(providerName)", "cause": "\(cause.rawValue)", "action": "\(action)",
        "registers": "\(fault.summary)", "outstanding": "\(outstanding)",
      ])
  }
}

extension NetDmaChannelCore.WatchdogStage {
  /// What is done in this stage when an operation stands still.
  fileprivate var action: String {
    switch self {
    case .quiet: "channel reset"
    case .channelWasReset: "device reset"
    case .deviceWasReset: "provider failed"
    }
  }
}

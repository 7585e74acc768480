// SPDX-License-Identifier: Apache-2.0

import Synchronization

/// The end of operations that are not done, and of the channel.
extension NetDmaChannelCore {
  /// Ends every operation before `position` with `error`; gate held.
  func failOutstanding(before position: UInt32, _ error: DMAOperationError) {
    while Int32(bitPattern: position &- (unsafe consumer.pointee.tail)) > 0 { failOldest(error) }
  }

  /// Ends the oldest operation with `error`; gate held.
  func failOldest(_ error: DMAOperationError) {
    let tail = unsafe consumer.pointee.tail
    let end = unsafe consumer.pointee.operationEnd(of: tail)
    let token = unsafe consumer.pointee.token(at: end &- 1)
    unsafe consumer.pointee.drop(end &- tail)
    counters.failed.addAlone(1)
    progress.raise(.word)
    post(DMACompletion(token: token, error: error))
  }

  /// Ends the channel: whatever was submitted fails, whatever comes later is refused with `cause`.
  ///
  /// What was written and not submitted only the owner knows of: `failLate` ends it.
  ///
  /// `stopEngine` runs with the gate held, so that no doorbell follows it; afterwards the engine
  /// touches nothing of the channel any more.
  func close(_ cause: NetDmaError, stopEngine: () -> Void) {
    gate.withExclusive { phase in
      if phase != .closed { goneCause.withLock { $0 = cause } }
      stopEngine()
      takeFinished()
      failOutstanding(before: progress.submittedPosition, .aborted(reason: cause.sentence))
      return (next: .closed, result: ())
    }
  }

  /// Ends what the producer wrote before `position` and cannot submit, since the channel is closed;
  /// tells how many operations that were.
  @discardableResult
  func failLate(before position: UInt32) -> Int {
    let reason = gone.sentence
    return gate.withExclusive { phase in
      let before = counters.failed.load(ordering: .relaxed)
      failOutstanding(before: position, .aborted(reason: reason))
      return (next: phase, result: Int(counters.failed.load(ordering: .relaxed) &- before))
    }
  }

  /// What calls on a channel that is gone throw.
  var gone: NetDmaError { goneCause.withLock { $0 } }

  /// Ends what is done on a polled channel whose owner may have stopped polling.
  ///
  /// An interrupt-driven one goes on being reaped by its DPC.
  func reapForOwner() {
    guard mode == .polled else { return }
    gate.withExclusive { phase in
      if phase == .open { takeFinished() }
      return (next: phase, result: ())
    }
    // What cannot be recovered here is left to the owner's next call, which escalates.
    if memory.loadCompletion().state == .halted { _ = try? recover(.halted) }
  }

  /// Waits until everything submitted has ended; false when that cannot be, or not by `deadline`.
  func drain(until deadline: Deadline) -> Bool {
    deadline.poll { () throws(Never) -> Bool in
      if progress.retiredPosition == progress.submittedPosition { return true }
      if gate.current == .suspended { return true }
      reapForOwner()
      return progress.retiredPosition == progress.submittedPosition
    } && progress.retiredPosition == progress.submittedPosition
  }
}

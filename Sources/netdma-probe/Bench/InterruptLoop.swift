// SPDX-License-Identifier: Apache-2.0

import NetDmaVFIO

/// Keeps an interrupt-driven channel busy; sleeps while it can submit nothing.
struct InterruptLoop: ChannelLoop, ~Copyable {
  private let arrivals = CompletionCounter()
  private var channel: NetDmaChannel
  private let point: BenchPoint

  init(_ engine: DMAEngine, _ point: BenchPoint, ringCapacity: Int) throws(NetDmaError) {
    channel = try engine.openChannel(mode: .interrupt, ringCapacity: ringCapacity) {
      [arrivals] in arrivals.post($0)
    }
    self.point = point
  }

  var statistics: NetDmaChannelStatistics { channel.statistics }

  mutating func round(
    _ memory: borrowing BenchMemory, limit: Int, window: BenchWindow,
    _ latencies: inout LatencyHistogram
  ) throws -> Int {
    let (depth, batch, places) = (point.depth, point.batch, memory.targets.count)
    var (started, ended, place) = (0, 0, 0)
    var isOpen = true
    arrivals.reset()
    while true {
      // The token of an operation is the time of its submission.
      var now = Deadline.now()
      if ended > 0, window.isOver(at: now) { isOpen = false }
      while isOpen, started < limit, started - ended + batch <= depth {
        let before = started
        for _ in 0..<min(batch, limit - started) {
          guard try channel.enqueue(point.operation, memory, place, token: now) else { break }
          place = place + 1 == places ? 0 : place + 1
          started += 1
        }
        guard started > before else { break }
        try channel.submit()
        now = Deadline.now()
      }
      if ended == started { break }
      // For room for another batch, and at the end for everything.
      let isFilling = isOpen && started < limit
      ended = arrivals.wait(until: isFilling ? min(started, started - depth + batch) : started)
    }
    let (histogram, failure) = arrivals.take()
    latencies.add(histogram)
    if let failure { throw BenchError.operationFailed(point: point, error: failure) }
    return ended
  }
}

/// Completions on their way from the DPC to the thread that submits.
private final class CompletionCounter: Sendable {
  private struct State {
    var ended = 0
    /// The count at which the submitting thread goes on.
    var goal = Int.max
    var latencies = LatencyHistogram()
    var failure: DMAOperationError?
  }
  private let state = Mutex(State())
  private let isReached = Signal()

  /// In the DPC, or wherever a control operation ends operations.
  func post(_ completion: DMACompletion) {
    let now = Deadline.now()
    let wakes = state.withLock { state in
      state.ended += 1
      state.latencies.record(now &- completion.token)
      if let error = completion.error { state.failure = state.failure ?? error }
      guard state.ended >= state.goal else { return false }
      state.goal = .max
      return true
    }
    if wakes { isReached.set() }
  }

  /// Starts from zero; nothing is in flight.
  func reset() {
    state.withLock { $0 = State() }
    isReached.clear()
  }

  /// Waits until `goal` operations have ended; tells how many have.
  func wait(until goal: Int) -> Int {
    while true {
      let ended = state.withLock { state -> Int? in
        if state.ended >= goal { return state.ended }
        state.goal = goal
        return nil
      }
      if let ended { return ended }
      isReached.wait()
      isReached.clear()
    }
  }

  func take() -> (LatencyHistogram, DMAOperationError?) {
    state.withLock { ($0.latencies, $0.failure) }
  }
}

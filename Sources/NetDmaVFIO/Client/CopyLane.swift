// SPDX-License-Identifier: Apache-2.0

import Synchronization

/// One interrupt-driven channel shared by tasks: each copy suspends until its completion.
///
/// The submitting side is behind one lock, which may be held across a doorbell; the completing
/// side, which runs in the DPC, takes only the table's lock, which is never held that long.
final class CopyLane: Sendable {
  private let table: CompletionTable
  private let channel: Mutex<NetDmaChannel?>

  init(
    interface: NetDmaInterface, provider: NetDmaProviderHandle, ringCapacity: Int
  ) throws(NetDmaError) {
    let table = CompletionTable(capacity: RingMemory.capacityRange.upperBound)
    self.table = table
    channel = Mutex(
      try interface.allocateChannel(provider, ringCapacity: ringCapacity, mode: .interrupt) {
        table.complete($0)
      })
  }

  /// Frees the channel; what is outstanding was ended by stopping the provider.
  func close() {
    // The value ends here, outside the lock.
    let last = channel.withLock { $0.take() }
    _ = consume last
    table.wakeWaiters()
  }

  /// Enqueues an operation with the token that `enqueue` is given, and waits for its end.
  ///
  /// `enqueue` answers false when the ring is full; it is asked again when something has ended.
  func run(
    _ enqueue: (inout NetDmaChannel, UInt64) throws(NetDmaError) -> Bool
  ) async throws {
    while true {
      let seen = table.generation
      // Resumed by the completion, or here when the operation was not taken.
      let outcome: Outcome = await unsafe withUnsafeContinuation { continuation in
        let suspension = unsafe Suspension<Outcome>(continuation)
        let token = table.insert(suspension)
        let refused = channel.withLock { channel -> Outcome? in
          guard channel != nil else { return .failed(.channelGone(reason: "It was closed.")) }
          guard let token else { return .full }
          do throws(NetDmaError) {
            guard try channel?.enqueue(enqueue, UInt64(token)) ?? false else { return .full }
          } catch { return .failed(error) }
          // Where the doorbell fails the operation is outstanding: the channel's end or the
          // watchdog ends it, and that resumes the continuation.
          try? channel?.submit()
          return nil
        }
        if let refused {
          if let token { table.take(UInt64(token)) }
          suspension.resume(refused)
        }
      }
      switch outcome {
      case .done: return
      case .operationFailed(let error): throw error
      case .failed(let error): throw error
      case .full: await table.waitForCompletion(after: seen)
      }
    }
  }
}

extension NetDmaChannel {
  /// `body` on this channel, for callers that reach it through an optional.
  fileprivate mutating func enqueue(
    _ body: (inout NetDmaChannel, UInt64) throws(NetDmaError) -> Bool, _ token: UInt64
  ) throws(NetDmaError) -> Bool {
    try body(&self, token)
  }
}

/// How an attempt ended.
enum Outcome: Sendable {
  case done
  case operationFailed(DMAOperationError)
  case failed(NetDmaError)
  case full
}

/// A suspended task that is resumed exactly once.
@safe struct Suspension<Value: Sendable>: Sendable {
  // Half the price of a checked continuation. `CompletionTable` takes each out of its slot before it
  // resumes it, under a lock, so none is resumed twice; an operation always ends, so none is forgotten.
  private let continuation: UnsafeContinuation<Value, Never>
  init(_ continuation: UnsafeContinuation<Value, Never>) { unsafe self.continuation = continuation }
  func resume(_ value: sending Value) { unsafe continuation.resume(returning: value) }
}

/// Suspensions of the copies in flight, by token.
final class CompletionTable: Sendable {
  private struct State {
    var slots: [Suspension<Outcome>?] = []
    var free: [UInt32] = []
    var waiters: [Suspension<Void>] = []
    /// Counts completions, so that a waiter can tell whether one came before it waited.
    var generation: UInt64 = 0
  }
  private let state = Mutex(State())
  private let capacity: Int

  init(capacity: Int) { self.capacity = capacity }

  var generation: UInt64 { state.withLock { $0.generation } }

  /// Keeps the suspension until its token completes; nil when the table is full.
  func insert(_ suspension: Suspension<Outcome>) -> UInt32? {
    state.withLock { state in
      if let token = state.free.popLast() {
        state.slots[Int(token)] = suspension
        return token
      }
      guard state.slots.count < capacity else { return nil }
      state.slots.append(suspension)
      return UInt32(state.slots.count - 1)
    }
  }

  /// Takes a suspension out; nil when it was taken before.
  @discardableResult
  func take(_ token: UInt64) -> Suspension<Outcome>? {
    state.withLock { state in
      guard token < UInt64(state.slots.count) else { return nil }
      let index = Int(token)
      guard let suspension = state.slots[index] else { return nil }
      state.slots[index] = nil
      state.free.append(UInt32(token))
      return suspension
    }
  }

  /// Resumes the copy with `completion`'s token.
  func complete(_ completion: DMACompletion) {
    take(completion.token)?.resume(completion.error.map(Outcome.operationFailed) ?? .done)
    wakeWaiters()
  }

  /// Resumes everyone who waits for room.
  func wakeWaiters() {
    let waiters = state.withLock { state in
      state.generation &+= 1
      let waiters = state.waiters
      state.waiters = []
      return waiters
    }
    for waiter in waiters { waiter.resume(()) }
  }

  /// Suspends until a completion came since `generation` was read.
  func waitForCompletion(after seen: UInt64) async {
    // Resumed by the next completion, or here when that came already.
    await unsafe withUnsafeContinuation { continuation in
      let suspension = unsafe Suspension<Void>(continuation)
      let isOver = state.withLock { state in
        if state.generation != seen { return true }
        state.waiters.append(suspension)
        return false
      }
      if isOver { suspension.resume(()) }
    }
  }
}

// SPDX-License-Identifier: Apache-2.0

/// What a polling executor's thread works with: its jobs, its channel, and who waits for what.
///
/// Used on that thread alone. A task that is resumed does not run before the call that resumed it has
/// returned: it becomes a job.
@safe struct PollingState: ~Copyable {
  /// What a task wants of the engine.
  enum Operation: Sendable {
    case copy(from: DMASlice, to: DMASlice)
    case fill(DMASlice, pattern: UInt64)
  }

  typealias Waiter = UnsafeContinuation<Void, any Error>

  /// An operation that the ring had no room for.
  @safe private struct Queued {
    let operation: Operation
    // Half the price of a checked continuation; resumed where it leaves its queue or its slot, and
    // nowhere else.
    let waiter: Waiter
    init(_ operation: Operation, _ waiter: Waiter) {
      self.operation = operation
      unsafe self.waiter = waiter
    }
  }

  var ready = JobQueue<UnownedJob>()
  var channel: NetDmaChannel?
  /// Operations in the ring, and of those the ones that have no doorbell yet.
  private(set) var outstanding = 0
  private var hasNew = false
  private var queued = JobQueue<Queued>()
  // By token: who waits for the operation. An operation takes a slot of the ring at least, and they end in
  // order, so as many as the ring has slots are enough.
  private let waiters: UnsafeMutablePointer<Waiter?>
  private let mask: UInt64
  private var nextToken: UInt64 = 0
  /// Why the channel takes nothing any more.
  private var failure: NetDmaError?

  init(channel: consuming NetDmaChannel) {
    let capacity = channel.capacity
    mask = UInt64(capacity - 1)
    unsafe waiters = .allocate(capacity: capacity)
    unsafe waiters.initialize(repeating: nil, count: capacity)
    self.channel = consume channel
  }

  deinit {
    // Everybody was resumed: an operation always ends, and the thread stays until it has.
    unsafe waiters.deallocate()
  }

  // MARK: - Starting

  /// Starts an operation, or has it wait for room; `waiter` is resumed when it has ended.
  mutating func begin(_ operation: Operation, _ waiter: Waiter) {
    if let failure { return unsafe waiter.resume(throwing: failure) }
    // In the order of the calls.
    guard queued.isEmpty, unsafe start(operation, waiter) else {
      unsafe queued.append(Queued(operation, waiter))
      return
    }
  }

  /// False when the ring is full.
  private mutating func start(_ operation: Operation, _ waiter: Waiter) -> Bool {
    let token = nextToken
    do throws(NetDmaError) {
      let isTaken =
        switch operation {
        case .copy(let source, let destination):
          channel?.enqueueCopy(from: source, to: destination, token: token) ?? false
        case .fill(let destination, let pattern):
          try channel?.enqueueFill(destination, pattern: pattern, token: token) ?? false
        }
      guard isTaken else { return false }
    } catch {
      unsafe waiter.resume(throwing: error)
      return true
    }
    // In bounds by the mask, and free: see `waiters`.
    unsafe waiters[Int(token & mask)] = waiter
    nextToken &+= 1
    outstanding += 1
    hasNew = true
    return true
  }

  // MARK: - A turn

  /// Rings the doorbell for what is new, polls once, and resumes whose operation has ended; whether any
  /// had.
  mutating func turn() -> Bool {
    guard outstanding > 0 else { return false }
    if hasNew {
      hasNew = false
      // Where this fails the operations are outstanding all the same; the polls tell how they end.
      try? channel?.submit()
    }
    let before = outstanding
    do throws(NetDmaError) {
      try poll()
    } catch {
      // The channel is gone, and the polls before told of everything that was in it.
      fail(error)
    }
    guard outstanding < before else { return false }
    while let next = queued.first, unsafe start(next.operation, next.waiter) {
      _ = queued.popFirst()
    }
    return true
  }

  private mutating func poll() throws(NetDmaError) {
    let waiters = unsafe waiters
    let mask = mask
    guard
      let result = try channel?.poll({ token in
        // In bounds by the mask.
        unsafe Self.take(waiters + Int(token & mask))?.resume()
      })
    else { return }
    outstanding -= result.completed + result.failed
    if result.failed > 0 { try tellFailures() }
  }

  @inline(never)
  private mutating func tellFailures() throws(NetDmaError) {
    for failure in channel?.takeFailures() ?? [] {
      // In bounds by the mask.
      let waiter = unsafe Self.take(waiters + Int(failure.token & mask))
      if let error = failure.error {
        unsafe waiter?.resume(throwing: error)
      } else {
        unsafe waiter?.resume()
      }
    }
  }

  private static func take(_ slot: UnsafeMutablePointer<Waiter?>) -> Waiter? {
    let waiter = unsafe slot.pointee
    unsafe slot.pointee = nil
    return unsafe waiter
  }

  @inline(never)
  private mutating func fail(_ error: NetDmaError) {
    failure = error
    outstanding = 0
    for slot in 0...Int(mask) {
      unsafe Self.take(waiters + slot)?.resume(throwing: error)
    }
    while let next = queued.popFirst() { unsafe next.waiter.resume(throwing: error) }
  }
}

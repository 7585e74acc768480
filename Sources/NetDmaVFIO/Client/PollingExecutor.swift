// SPDX-License-Identifier: Apache-2.0

import CNetDma
import Glibc
import Logging
import Synchronization

/// A thread that runs tasks and polls a channel for them: async copies without an interrupt, a lock or a
/// change of threads.
///
/// `DMAEngine.withPollingExecutor` makes one. Tasks that run on it (the body and its child tasks) write
/// their copies straight into the channel's ring. When each of them waits for something, one
/// doorbell submits all that they asked for, and the channel is polled; a task goes on where it was, on
/// the same thread. So a copy costs its task a suspension and a resumption, a few hundred nanoseconds,
/// and many tasks share a doorbell.
///
///     try await engine.withPollingExecutor(cpu: 1) { executor in
///       try await withThrowingTaskGroup(of: Void.self) { group in
///         for piece in pieces {
///           group.addTask { try await executor.copy(from: piece.source, to: piece.target) }
///         }
///         try await group.waitForAll()
///       }
///     }
///
/// The thread takes its CPU for itself as long as copies are outstanding, and sleeps when nothing is. What
/// blocks it blocks every task on it. Any task may call it: one that runs elsewhere comes to this thread for
/// the call, and goes back afterwards.
@safe public final class PollingExecutor: TaskExecutor, @unchecked Sendable {
  // @unchecked: `local` is used by the executor's thread alone, between its start and its end;
  // everything else is constant, atomic or behind a lock. Tests run this under ThreadSanitizer.
  let local: UnsafeMutablePointer<PollingState>
  /// Bytes of the longest operation that goes into the ring at once: of a longer one the pieces follow
  /// each other, so that others get their turn.
  let longest: Int
  private let thread = Mutex<PinnedThread?>(nil)
  /// The executor's thread while it runs, else 0, which no thread is.
  private let runner = Atomic<UInt>(0)
  private let isStopping = Atomic<Bool>(false)

  /// What other threads leave for this one.
  private struct Inbox {
    var jobs: [UnownedJob] = []
    /// The thread is gone: jobs go elsewhere.
    var isClosed = false
  }
  private let inbox = Mutex(Inbox())
  private let hasMail = Atomic<Bool>(false)
  private let isAsleep = Atomic<Bool>(false)
  private let wake: EventFD

  /// Takes over `channel`, which is polled, and starts the thread.
  init(
    channel: consuming NetDmaChannel, cpu: Int?, logger: Logger
  ) throws(SystemCallError) {
    wake = try EventFD()
    longest = channel.maximumDescriptorSize * max(1, channel.capacity / 8)
    unsafe local = .allocate(capacity: 1)
    unsafe local.initialize(to: PollingState(channel: channel))
    try thread.withLock { thread throws(SystemCallError) in
      // The thread keeps the executor until `close`.
      thread = try PinnedThread(name: "netdma-poll", cpu: cpu) { [self] placement in
        if let refusal = placement.refusal {
          logger.notice(
            "polling thread is not pinned",
            metadata: ["cpu": "\(cpu ?? -1)", "reason": "\(refusal)"])
        }
        run()
      }
    }
  }

  deinit {
    // The thread is gone, or never was: it would hold a reference.
    unsafe local.deinitialize(count: 1)
    unsafe local.deallocate()
  }

  /// Ends the thread when every copy has ended, and frees the channel; not from the thread itself.
  func close() {
    isStopping.store(true, ordering: .sequentiallyConsistent)
    ring()
    thread.withLock { $0 = nil }
  }

  /// Whether the caller runs on the executor's thread.
  public var isCurrent: Bool { runner.load(ordering: .relaxed) == UInt(pthread_self()) }

  /// Whether `close` was called, after which copies are refused.
  var isClosing: Bool { isStopping.load(ordering: .relaxed) }

  // MARK: - Jobs

  /// Runs `job` on the thread, in turn; called by the Swift runtime.
  public func enqueue(_ job: consuming ExecutorJob) {
    let job = UnownedJob(job)
    if isCurrent {
      // This thread owns the state.
      unsafe local.pointee.ready.append(job)
      return
    }
    let isTaken = inbox.withLock { inbox in
      if inbox.isClosed { return false }
      inbox.jobs.append(job)
      hasMail.store(true, ordering: .sequentiallyConsistent)
      return true
    }
    if isTaken { ring() } else { Self.forward(job) }
  }

  /// A task that outlived the scope goes on where tasks without a preference run.
  private static func forward(_ job: UnownedJob) {
    globalConcurrentExecutor.enqueue(ExecutorJob(job))
  }

  /// Wakes the thread if it sleeps: it says so before it looks for mail the last time.
  private func ring() {
    if isAsleep.load(ordering: .sequentiallyConsistent) { wake.signal() }
  }

  private func takeMail() {
    guard hasMail.load(ordering: .relaxed) else { return }
    let jobs = inbox.withLock { inbox in
      hasMail.store(false, ordering: .sequentiallyConsistent)
      let jobs = inbox.jobs
      inbox.jobs = []
      return jobs
    }
    for job in jobs { unsafe local.pointee.ready.append(job) }
  }

  // MARK: - The thread

  private enum Pace {
    /// Turns without work until the thread sleeps, if no copy is outstanding.
    static let spins = 1000
    /// Turns without work after which somebody else may have the CPU, perhaps the engine's process.
    static let yields = 64
  }

  private func run() {
    runner.store(UInt(pthread_self()), ordering: .relaxed)
    let executor = unsafe asUnownedTaskExecutor()
    var idle = 0
    while true {
      takeMail()
      // Those that are ready now: what they make ready comes after the next poll.
      let count = unsafe local.pointee.ready.count
      for _ in 0..<count {
        guard let job = unsafe local.pointee.ready.popFirst() else { break }
        unsafe job.runSynchronously(on: executor)
      }
      let hasEnded = unsafe local.pointee.turn()
      // Also while a task that outlives the scope keeps itself ready.
      if isStopping.load(ordering: .acquiring), unsafe local.pointee.outstanding == 0, end() {
        return
      }
      if hasEnded || count > 0 {
        idle = 0
        continue
      }
      idle += 1
      if unsafe local.pointee.outstanding > 0 {
        if idle % Pace.yields == 0 { netdma_yield() } else { netdma_cpu_pause() }
      } else if idle < Pace.spins {
        netdma_cpu_pause()
      } else {
        sleep()
        idle = 0
      }
    }
  }

  private func sleep() {
    isAsleep.store(true, ordering: .sequentiallyConsistent)
    if !hasMail.load(ordering: .sequentiallyConsistent),
      !isStopping.load(ordering: .sequentiallyConsistent)
    {
      _ = netdma_wait_readable(wake.rawValue, -1)
    }
    isAsleep.store(false, ordering: .sequentiallyConsistent)
    _ = wake.drain()
  }

  /// Closes the inbox, unless something came in meanwhile.
  private func end() -> Bool {
    let isOver = inbox.withLock { inbox in
      guard inbox.jobs.isEmpty else { return false }
      inbox.isClosed = true
      return true
    }
    guard isOver else { return false }
    runner.store(0, ordering: .relaxed)
    while let job = unsafe local.pointee.ready.popFirst() { Self.forward(job) }
    // The engine lets go of the ring here, not when the last reference to this ends.
    unsafe local.pointee.channel = nil
    return true
  }
}

// SPDX-License-Identifier: Apache-2.0

import CNetDma
import Glibc
import Logging
import Synchronization

/// One CPU's thread: it takes that CPU's interrupts and then runs its DPCs.
///
/// As on Windows, an interrupt service routine runs first and does little; what it queued runs when
/// every pending interrupt was taken. A DPC for this CPU therefore costs no second wake-up. Every
/// eventfd has one processor; a DPC may be queued to any.
final class InterruptProcessor: Sendable {
  let cpu: Int
  private let shared: Shared
  private let thread: Mutex<PinnedThread?>

  /// What the thread and everybody else use.
  private final class Shared: Sendable {
    let epoll: OwnedFileDescriptor
    let wake: EventFD
    let isStopping = Atomic<Bool>(false)
    /// True while the thread is, or is about to be, asleep: only then a queuer wakes it.
    let isAsleep = Atomic<Bool>(false)
    let state = Mutex(State())
    init() throws(SystemCallError) {
      let fd = try systemCall("epoll_create1", on: "interrupt thread") { netdma_epoll_create() }
      epoll = OwnedFileDescriptor(owning: fd)
      wake = try EventFD()
    }
  }

  private struct State {
    /// Sources by registration number, which a late event carries.
    var sources: [UInt64: InterruptSource] = [:]
    var nextRegistration: UInt64 = 1
    /// DPCs to run, in the order of queueing; each stands here at most once.
    var pending: [Dpc] = []
  }

  init(cpu: Int, pinned: Bool, realTimePriority: Int?, logger: Logger) throws(SystemCallError) {
    self.cpu = cpu
    let shared = try Shared()
    self.shared = shared
    _ = try systemCall("epoll_ctl", on: "wake eventfd") {
      netdma_epoll_add(shared.epoll.rawValue, shared.wake.rawValue, 0)
    }
    shared.state.withLock { $0.pending.reserveCapacity(64) }
    thread = Mutex(
      try PinnedThread(name: "netdma-isr/\(cpu)", cpu: pinned ? cpu : nil) { placement in
        if let refusal = placement.refusal {
          logger.notice(
            "interrupt thread is not pinned", metadata: ["cpu": "\(cpu)", "reason": "\(refusal)"])
        }
        if let realTimePriority, netdma_set_fifo(CInt(clamping: realTimePriority)) != 0 {
          logger.info(
            "interrupt thread runs without real-time priority", metadata: ["cpu": "\(cpu)"])
        }
        Self.run(shared)
      })
  }

  /// Calls `isr` on this thread for every signal of `fd`, with the number of signals since the
  /// last call (0 when the wake-up was for nothing).
  func connect(
    _ fd: CInt, isr: @escaping @Sendable (UInt64) -> Void
  ) throws(SystemCallError) -> UInt64 {
    let registration = shared.state.withLock { state in
      let number = state.nextRegistration
      state.nextRegistration += 1
      state.sources[number] = InterruptSource(fd: fd, isr: isr)
      return number
    }
    do throws(SystemCallError) {
      let epoll = shared.epoll.rawValue
      _ = try systemCall("epoll_ctl", on: "fd \(fd)") { netdma_epoll_add(epoll, fd, registration) }
    } catch {
      _ = shared.state.withLock { $0.sources.removeValue(forKey: registration) }
      throw error
    }
    return registration
  }

  /// Afterwards the routine is not called any more and is not running; the eventfd may be closed.
  ///
  /// From an ISR or DPC of this processor it returns at once, since that routine is the caller.
  func disconnect(_ registration: UInt64) {
    guard
      let source = shared.state.withLock({ $0.sources.removeValue(forKey: registration) })
    else { return }
    // Removing what was never added fails harmlessly.
    _ = netdma_epoll_remove(shared.epoll.rawValue, source.fd)
    flush()
  }

  /// Runs `dpc` on this thread.
  func queue(_ dpc: Dpc) {
    guard dpc.markQueued() else { return }
    shared.state.withLock { $0.pending.append(dpc) }
    if shared.isAsleep.load(ordering: .sequentiallyConsistent) { shared.wake.signal() }
  }

  /// Waits until everything that was queued or being served before has run.
  func flush() {
    let onThread = thread.withLock { $0?.isCurrent ?? true }
    if onThread { return }
    let passed = Signal()
    queue(Dpc { passed.set() })
    passed.wait()
  }

  /// Ends the thread after what is queued; must not be called on it.
  func stop() {
    shared.isStopping.store(true, ordering: .sequentiallyConsistent)
    shared.wake.signal()
    thread.withLock { $0 = nil }
  }

  deinit {
    shared.isStopping.store(true, ordering: .sequentiallyConsistent)
    shared.wake.signal()
  }

  private static func run(_ shared: Shared) {
    var ready = [UInt64](repeating: 0, count: 64)
    var batch: [Dpc] = []
    batch.reserveCapacity(64)
    while true {
      shared.isAsleep.store(true, ordering: .sequentiallyConsistent)
      let hasWork = shared.state.withLock { !$0.pending.isEmpty }
      if !hasWork, shared.isStopping.load(ordering: .sequentiallyConsistent) { return }
      // The buffer has 64 elements and lives for the call.
      let count = unsafe ready.withUnsafeMutableBufferPointer { buffer -> CInt in
        guard let base = buffer.baseAddress else { return 0 }
        return unsafe netdma_epoll_wait(shared.epoll.rawValue, base, 64, hasWork ? 0 : -1)
      }
      shared.isAsleep.store(false, ordering: .sequentiallyConsistent)
      for index in 0..<Int(max(0, count)) {
        if ready[index] == 0 {
          _ = shared.wake.drain()
          continue
        }
        // A registration that is gone is a late event: its eventfd may be closed already.
        guard let source = shared.state.withLock({ $0.sources[ready[index]] }) else { continue }
        source.isr(EventFD.drain(source.fd))
      }
      shared.state.withLock { swap(&$0.pending, &batch) }
      for dpc in batch { dpc.run() }
      batch.removeAll(keepingCapacity: true)
    }
  }
}

private final class InterruptSource: Sendable {
  let fd: CInt
  let isr: @Sendable (UInt64) -> Void
  init(fd: CInt, isr: @escaping @Sendable (UInt64) -> Void) {
    self.fd = fd
    self.isr = isr
  }
}

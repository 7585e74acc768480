// SPDX-License-Identifier: Apache-2.0

import CNetDma
import Logging
import Synchronization

/// Work that may wait: recoveries that a DPC asked for, completions that a control operation left,
/// and the watchdog of interrupt-driven channels (a passive-level work item, in Windows' words).
final class MaintenanceThread: Sendable {
  private let shared: Shared
  private let thread: Mutex<PinnedThread?>

  private final class Shared: Sendable {
    let wake = Signal()
    let isStopping = Atomic<Bool>(false)
    let requests = Mutex<[Request]>([])
    let interface = Mutex(WeakInterface())
  }

  private struct WeakInterface {
    weak var value: NetDmaInterface?
  }

  private enum Request {
    case recover(NetDmaChannelCore)
    case end(NetDmaChannelCore, NetDmaError)
    case failProvider(NetDmaProviderHandle, @Sendable () -> NetDmaError)
    case tellClient(NetDmaChannelCore, Signal?)
  }

  init(watchdog: Duration) throws(SystemCallError) {
    let shared = Shared()
    self.shared = shared
    thread = Mutex(
      try PinnedThread(name: "netdma-work") { _ in Self.run(shared, watchdog: watchdog) })
  }

  /// From now on it works for `interface`, which it does not keep alive.
  func serve(_ interface: NetDmaInterface) {
    shared.interface.withLock { $0.value = interface }
  }

  /// Has the channel recovered soon; for a DPC, which must not wait.
  func recover(_ core: NetDmaChannelCore) { request(.recover(core)) }

  /// Has the channel's operations end with `error` soon.
  func end(_ core: NetDmaChannelCore, _ error: NetDmaError) { request(.end(core, error)) }

  /// Has the provider fail soon; for an ISR, which must not wait.
  ///
  /// `diagnose` may, and says why.
  func failProvider(
    _ handle: NetDmaProviderHandle, diagnose: @escaping @Sendable () -> NetDmaError
  ) {
    request(.failProvider(handle, diagnose))
  }

  /// Has the channel's handler called soon for what control operations ended.
  func tellClient(of core: NetDmaChannelCore) { request(.tellClient(core, nil)) }

  /// As `tellClient(of:)`; afterwards the handler was called, and does not run.
  func tellClientNow(of core: NetDmaChannelCore) {
    if thread.withLock({ $0?.isCurrent ?? true }) { return Self.tell(core, nil) }
    let told = Signal()
    request(.tellClient(core, told))
    told.wait()
  }

  /// Stops a provider on a thread of its own, since that waits for this one.
  func stopProvider(_ handle: NetDmaProviderHandle) {
    let shared = shared
    do throws(SystemCallError) {
      let stopper = try PinnedThread(name: "netdma-removal") { _ in
        guard let interface = shared.interface.withLock({ $0.value }) else { return }
        do throws(NetDmaError) {
          try interface.stopProvider(handle)
        } catch .staleHandle, .wrongState {
          // It was stopped by somebody else.
        } catch {
          interface.logger.error("removal", metadata: ["reason": "\(error)"])
        }
      }
      stopper.detach()
    } catch {
      shared.interface.withLock { $0.value }?.logger.error(
        "the provider is not stopped", metadata: ["reason": "\(error)"])
    }
  }

  private func request(_ request: Request) {
    shared.requests.withLock { $0.append(request) }
    shared.wake.set()
  }

  /// Ends the thread.
  func stop() {
    shared.isStopping.store(true, ordering: .sequentiallyConsistent)
    shared.wake.set()
    thread.withLock { $0 = nil }
  }

  /// How often channels are looked at: often enough that a dead engine is noticed soon.
  private static let longestPeriod: Duration = .milliseconds(250)

  private static func run(_ shared: Shared, watchdog: Duration) {
    let period = min(watchdog, longestPeriod)
    var stalls: [NetDmaChannelHandle: Stall] = [:]
    var nextCheck = Deadline(after: period)
    while true {
      shared.wake.wait(for: nextCheck.remaining)
      shared.wake.clear()
      let requests = shared.requests.withLock { list in
        let copy = list
        list = []
        return copy
      }
      let interface = shared.interface.withLock { $0.value }
      for request in requests { serve(request, interface) }
      if shared.isStopping.load(ordering: .sequentiallyConsistent) { return }
      guard nextCheck.hasPassed else { continue }
      nextCheck = Deadline(after: period)
      if let interface { stalls = check(interface, before: stalls, watchdog: watchdog) }
    }
  }

  private static func serve(_ request: Request, _ interface: NetDmaInterface?) {
    switch request {
    case .tellClient(let core, let told):
      tell(core, interface)
      told?.set()
    case .recover(let core):
      if let interface { recover(core, .halted, interface) }
    case .end(let core, let error):
      interface?.end(core, error)
      tell(core, interface)
    case .failProvider(let handle, let diagnose):
      interface?.providerFailed(handle, diagnose())
    }
  }

  /// Calls the handler for what ended and nobody told of, unless somebody else does now.
  private static func tell(_ core: NetDmaChannelCore, _ interface: NetDmaInterface?) {
    while true {
      switch core.reapForDpc() {
      case .busy:
        // It leaves soon, perhaps without having seen what is new.
        netdma_yield()
      case .halted:
        guard let interface else { return }
        do throws(NetDmaError) { try interface.recover(core, .halted) } catch {
          // The channel was ended; the next turn tells its client.
        }
      case .completed, .held: return
      }
    }
  }

  /// A channel that stands still.
  private struct Stall {
    let position: UInt32
    let overdue: Deadline
  }

  /// Looks at every interrupt-driven channel; gives those that stand still.
  private static func check(
    _ interface: NetDmaInterface, before: [NetDmaChannelHandle: Stall], watchdog: Duration
  ) -> [NetDmaChannelHandle: Stall] {
    var stalls: [NetDmaChannelHandle: Stall] = [:]
    for space in interface.addressSpaces { space.sweep() }
    for core in interface.channels.all() where core.mode == .interrupt {
      let phase = core.gate.current
      guard phase == .open || phase == .needsStart else { continue }
      let position = core.progress.retiredPosition
      guard position != core.progress.submittedPosition else { continue }
      guard let stall = before[core.handle], stall.position == position else {
        stalls[core.handle] = Stall(position: position, overdue: Deadline(after: watchdog))
        continue
      }
      // A whole period without an end: perhaps only the interrupt was lost.
      switch core.reapForDpc() {
      case .completed(0) where stall.overdue.hasPassed: recover(core, .noProgress, interface)
      case .completed(0):
        recover(core, .probe, interface)
        stalls[core.handle] = stall
      case .completed(let count):
        core.counters.lost.addShared(UInt64(count))
        core.noteReapedAhead()
        core.logger.warning(
          "completions without an interrupt",
          metadata: ["provider": "\(core.providerName)", "operations": "\(count)"])
      case .halted: recover(core, .halted, interface)
      case .busy, .held: stalls[core.handle] = stall
      }
    }
    return stalls
  }

  private static func recover(
    _ core: NetDmaChannelCore, _ cause: NetDmaChannelCore.RecoveryCause,
    _ interface: NetDmaInterface
  ) {
    do throws(NetDmaError) { try interface.recover(core, cause) } catch {
      // The channel was ended; its client is told below.
    }
    tell(core, interface)
  }
}

// SPDX-License-Identifier: Apache-2.0

import Logging
import Synchronization

/// Work that may wait: recoveries that a DPC asked for, and the watchdog of interrupt-driven
/// channels (a passive-level work item, in Windows' words).
final class MaintenanceThread: Sendable {
  private let shared: Shared
  private let thread: Mutex<PinnedThread?>

  private final class Shared: Sendable {
    let wake = Signal()
    let isStopping = Atomic<Bool>(false)
    let requests = Mutex<[Request]>([])
  }

  private struct Request {
    let core: NetDmaChannelCore
    /// Nil: recover; else end the channel.
    let failure: NetDmaError?
  }

  init(channels: ChannelTable, watchdog: Duration) throws(SystemCallError) {
    let shared = Shared()
    self.shared = shared
    thread = Mutex(
      try PinnedThread(name: "netdma-work") { _ in
        Self.run(shared, channels: channels, watchdog: watchdog)
      })
  }

  /// Has the channel recovered soon; for a DPC, which must not wait.
  func recover(_ core: NetDmaChannelCore) {
    shared.requests.withLock { $0.append(Request(core: core, failure: nil)) }
    shared.wake.set()
  }

  /// Has the channel's operations end with `error` soon.
  func fail(_ core: NetDmaChannelCore, _ error: NetDmaError) {
    shared.requests.withLock { $0.append(Request(core: core, failure: error)) }
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

  private static func run(_ shared: Shared, channels: ChannelTable, watchdog: Duration) {
    let period = min(watchdog, longestPeriod)
    var stalls: [NetDmaChannelHandle: Stall] = [:]
    var nextCheck = Deadline(after: period)
    while true {
      shared.wake.wait(for: nextCheck.remaining)
      shared.wake.clear()
      if shared.isStopping.load(ordering: .sequentiallyConsistent) { return }
      let requests = shared.requests.withLock { list in
        let copy = list
        list = []
        return copy
      }
      for request in requests {
        if let failure = request.failure {
          end(request.core, failure)
        } else {
          recover(request.core, .halted)
        }
      }
      guard nextCheck.hasPassed else { continue }
      nextCheck = Deadline(after: period)
      stalls = check(channels.all(), before: stalls, watchdog: watchdog)
    }
  }

  /// A channel that stands still.
  private struct Stall {
    let position: UInt32
    let overdue: Deadline
  }

  /// Looks at every interrupt-driven channel; gives those that stand still.
  private static func check(
    _ cores: [NetDmaChannelCore], before: [NetDmaChannelHandle: Stall], watchdog: Duration
  ) -> [NetDmaChannelHandle: Stall] {
    var stalls: [NetDmaChannelHandle: Stall] = [:]
    for core in cores where core.mode == .interrupt && core.gate.current == .open {
      let position = core.progress.retiredPosition
      guard position != core.progress.submittedPosition else { continue }
      guard let stall = before[core.handle], stall.position == position else {
        stalls[core.handle] = Stall(position: position, overdue: Deadline(after: watchdog))
        continue
      }
      // A whole period without an end: perhaps only the interrupt was lost.
      switch core.reapForDpc() {
      case .completed(0) where stall.overdue.hasPassed: recover(core, .noProgress)
      case .completed(0):
        recover(core, .probe)
        stalls[core.handle] = stall
      case .completed(let count):
        core.counters.lost.addShared(UInt64(count))
        core.logger.warning(
          "completions without an interrupt",
          metadata: ["provider": "\(core.providerName)", "operations": "\(count)"])
      case .halted: recover(core, .halted)
      case .held: stalls[core.handle] = stall
      }
    }
    return stalls
  }

  private static func recover(_ core: NetDmaChannelCore, _ cause: NetDmaChannelCore.RecoveryCause) {
    do throws(NetDmaError) {
      try core.recover(cause)
      // What ended while the gate was held found no reaper.
      if case .halted = core.reapForDpc() { try core.recover(.halted) }
    } catch {
      end(core, error)
    }
  }

  private static func end(_ core: NetDmaChannelCore, _ error: NetDmaError) {
    guard core.gate.current != .closed else { return }
    core.logger.error("channel failed", metadata: ["reason": "\(error)"])
    core.close(reason: "\(error)") { try? core.provider.resetChannel(core.grant.context) }
  }
}

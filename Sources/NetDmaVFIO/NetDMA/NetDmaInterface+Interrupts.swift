// SPDX-License-Identifier: Apache-2.0

import Synchronization

extension NetDmaInterface {
  /// NetDmaIsr: called by a provider in its interrupt service routine; answers with the number of
  /// the CPU whose DPC shall finish the work, nil when the channel is gone (a late interrupt).
  ///
  /// Constant time; no lock, no allocation.
  /// - Parameters:
  ///   - channel: From `allocateDmaChannel`.
  ///   - descriptor: The device's address of the descriptor associated with the interrupt. The
  ///     channel may be past it already, so it only informs.
  public func isr(channel: NetDmaChannelHandle, descriptor: UInt64) -> Int? {
    guard let slot = channels.live(channel) else {
      channels.staleCalls.addShared(1)
      return nil
    }
    return slot.cpu.load(ordering: .relaxed)
  }

  /// NetDmaInterruptDpc: called by a provider in its DPC; completes everything that is done, in
  /// submission order.
  ///
  /// - Parameters:
  ///   - channel: From `allocateDmaChannel`; a stale one does nothing.
  ///   - descriptor: The last descriptor processed, if the provider knows. The completion word
  ///     decides, since it is newer.
  /// - Returns: Operations that ended.
  @discardableResult
  public func interruptDpc(channel: NetDmaChannelHandle, descriptor: UInt64? = nil) -> Int {
    guard let core = channels.core(channel) else {
      channels.staleCalls.addShared(1)
      return 0
    }
    core.counters.dpcCalls.addShared(1)
    switch core.reapForDpc() {
    case .completed(let count):
      core.classifyInterrupt(ended: count)
      return count
    case .halted:
      maintenance.recover(core)
      return 0
    case .busy:
      // Whoever is in the lane may have looked before what is new now.
      maintenance.tellClient(of: core)
      return 0
    case .held:
      // Whoever holds the channel has it reaped afterwards.
      return 0
    }
  }

  /// Called by a provider whose hardware or transport failed: the channel's operations end with
  /// the error, soon and on another thread.
  public func channelFailed(_ channel: NetDmaChannelHandle, _ error: NetDmaError) {
    guard let core = channels.core(channel) else { return }
    maintenance.end(core, error)
  }

  /// Counts signals of a channel's eventfd: `count` since the last wake-up.
  func countInterrupt(channel: NetDmaChannelHandle, signals count: UInt64) {
    guard let core = channels.core(channel) else { return }
    core.counters.interrupts.addShared(count)
    core.counters.isrCalls.addShared(1)
    if count > 1 { core.counters.merged.addShared(count - 1) }
  }

  /// The sum over every channel that was ever allocated.
  public var statistics: NetDmaChannelStatistics {
    let live = channels.all().reduce(NetDmaChannelStatistics()) { $0 + $1.counters.snapshot }
    return live + ended.withLock { $0 }
  }

  /// ISR and DPC calls for channels that were gone.
  public var staleCalls: UInt64 { channels.staleCalls.load(ordering: .relaxed) }
}

// SPDX-License-Identifier: Apache-2.0

import Logging
import Synchronization

extension NetDmaInterface {
  /// Recovers a channel on the caller's thread: by a reset of the channel, where that does not help
  /// of the device, and where that does not either the provider fails and its operations end.
  ///
  /// Not from a lane of the channel.
  /// - Throws: what the channel's later calls will throw, when it is gone afterwards.
  func recover(
    _ core: NetDmaChannelCore, _ cause: NetDmaChannelCore.RecoveryCause
  ) throws(NetDmaError) {
    defer { tellClient(of: core) }
    do throws(NetDmaError) {
      switch try core.recover(cause) {
      case .running: return
      case .deviceReset(let position): try resetDevice(of: core, stalledAt: position)
      case .providerFailed:
        throw .hardware(
          .deviceDead(
            device: core.providerName,
            state: (try? core.provider.channelFault(core.grant.context))?.summary ?? "unreadable"))
      }
    } catch {
      if let handle = provider(of: core) { providerFailed(handle, error) }
      // Also where the provider was stopped meanwhile.
      end(core, error)
      throw error
    }
  }

  /// The provider that `core` was allocated from, nil when that is gone or stopping.
  private func provider(of core: NetDmaChannelCore) -> NetDmaProviderHandle? {
    providers.withLock { table in
      table.entries.first { $0.value.channels.contains(core.handle) }
        .map { NetDmaProviderHandle(rawValue: $0.key) }
    }
  }

  /// Resets the device under all its channels, and has each go on.
  private func resetDevice(
    of core: NetDmaChannelCore, stalledAt position: UInt32?
  ) throws(NetDmaError) {
    let stall = position.map {
      NetDmaChannelCore.Stall(
        position: $0, milliseconds: options.watchdog.wholeMilliseconds)
    }
    let handles = providers.withLock { table in
      table.entries.values.first { $0.channels.contains(core.handle) }?.channels ?? []
    }
    // One order for everybody: two channels that stand still do not wait for each other.
    let cores = handles.compactMap { channels.core($0) }.sorted { $0.handle.slot < $1.handle.slot }
    logger.warning(
      "device reset",
      metadata: ["provider": "\(core.providerName)", "channels": "\(cores.count)"])
    try deviceResets.withLock { _ throws(NetDmaError) in
      try hold(cores[...], stall.map { (core, $0) }) { () throws(NetDmaError) in
        try core.provider.resetDevice()
      }
    }
    for core in cores { tellClient(of: core) }
  }

  /// Runs `body` while the gates of `cores` are held; then each channel goes on.
  private func hold(
    _ cores: ArraySlice<NetDmaChannelCore>,
    _ stalled: (core: NetDmaChannelCore, stall: NetDmaChannelCore.Stall)?,
    _ body: () throws(NetDmaError) -> Void
  ) throws(NetDmaError) {
    guard let core = cores.first else { return try body() }
    try core.gate.withExclusive { phase throws(NetDmaError) in
      if phase != .closed { core.quiesce() }
      try hold(cores.dropFirst(), stalled, body)
      guard phase != .closed else { return (next: phase, result: ()) }
      let stall = core === stalled?.core ? stalled?.stall : nil
      let next = try core.resume(afterDeviceReset: phase, stall)
      return (next: next, result: ())
    }
  }
}

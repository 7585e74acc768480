// SPDX-License-Identifier: Apache-2.0

import Logging
import Synchronization

extension NetDmaInterface {
  /// What happens to providers and channels from now on, as clients see it.
  ///
  /// It begins with the registration and arrival of the providers that are there already. Any number
  /// of tasks may listen; a stream ends with the interface.
  public func pnpNotifications() -> AsyncStream<NetDmaPnPNotification> {
    providers.withLock { table in
      let past = table.entries.sorted { $0.key < $1.key }.flatMap { key, entry in
        entry.history(NetDmaProviderHandle(rawValue: key))
      }
      return pnp.stream(past: past)
    }
  }

  /// NetDmaPnPEventNotify: a provider tells that its device is about to lose power, or has it again.
  ///
  /// When a power-down returns, no engine runs and no register is touched any more; operations wait.
  /// With the power-up every channel is programmed anew and goes on where it was.
  /// - Throws: `NetDmaError.staleHandle`, `.wrongState` unless the provider is started (power down)
  ///   or powered down (power up), `.invalidParameter` for codes that are not a provider's,
  ///   `.hardware`, after which the provider counts as failed.
  public func notifyPnPEvent(
    _ handle: NetDmaProviderHandle, _ code: NetDmaPnPNotificationCode
  ) throws(NetDmaError) {
    switch code {
    case .providerPowerDown: try powerDown(handle)
    case .providerPowerUp: try powerUp(handle)
    case .providerRegistered, .providerArrival, .providerRemoval, .channelArrival:
      throw .invalidParameter(
        call: "NetDmaPnPEventNotify", detail: "The interface itself sends \(code) to clients.")
    }
  }

  private func powerDown(_ handle: NetDmaProviderHandle) throws(NetDmaError) {
    let call = "NetDmaPnPEventNotify"
    let entry = try providers.withLock { table throws(NetDmaError) in
      guard var entry = table.entries[handle.rawValue] else { throw .staleHandle(call: call) }
      guard case .started(let attributes) = entry.state else {
        throw .wrongState(call: call, state: entry.state.name)
      }
      entry.state = .poweredDown(attributes)
      table.entries[handle.rawValue] = entry
      pnp.send(entry.notification(.providerPowerDown, handle))
      return entry
    }
    waitForAllocations(handle)
    do throws(NetDmaError) {
      try forEachLive(entry) { core throws(NetDmaError) in
        _ = try core.suspend(.power, call: call, drain: options.drain)
      }
    } catch {
      providerFailed(handle, error)
      throw error
    }
  }

  private func powerUp(_ handle: NetDmaProviderHandle) throws(NetDmaError) {
    let call = "NetDmaPnPEventNotify"
    let entry = try providers.withLock { table throws(NetDmaError) in
      guard let entry = table.entries[handle.rawValue] else { throw .staleHandle(call: call) }
      guard case .poweredDown = entry.state else {
        throw .wrongState(call: call, state: entry.state.name)
      }
      return entry
    }
    do throws(NetDmaError) {
      try forEachLive(entry) { core throws(NetDmaError) in
        try core.resume(.power, contextIsLost: true, call: call)
      }
    } catch {
      providerFailed(handle, error)
      throw error
    }
    providers.withLock { table in
      guard var entry = table.entries[handle.rawValue],
        case .poweredDown(let attributes) = entry.state
      else { return }
      entry.state = .started(attributes)
      table.entries[handle.rawValue] = entry
      pnp.send(entry.notification(.providerPowerUp, handle))
    }
  }

  /// Runs `body` for each of the provider's channels that is not gone, nor goes meanwhile.
  private func forEachLive(
    _ entry: ProviderTable.Entry, _ body: (NetDmaChannelCore) throws(NetDmaError) -> Void
  ) throws(NetDmaError) {
    for core in entry.channels.compactMap({ channels.core($0) })
    where core.gate.current != .closed {
      do throws(NetDmaError) { try body(core) } catch {
        // Its owner ended it: that is no failure of the provider's.
        guard core.gate.current == .closed else { throw error }
      }
      tellClient(of: core)
    }
  }

  /// Called by a provider whose device is wanted back (IRP_MN_REMOVE_DEVICE; VFIO's device-request
  /// notifier): clients hear of it, then the provider is stopped, on another thread.
  ///
  /// A second call, or one for a provider that is not started, does nothing.
  public func removalRequested(_ handle: NetDmaProviderHandle) {
    logger.notice("the device is wanted back; its provider is stopped")
    maintenance.stopProvider(handle)
  }

  /// Called by a provider whose hardware failed for good: every operation of its channels ends with
  /// `error`, clients hear of the removal, and nothing can be allocated until it was stopped and
  /// started again.
  ///
  /// Not from an ISR or DPC; `channelFailed` and `removalRequested` are for those.
  public func providerFailed(_ handle: NetDmaProviderHandle, _ error: NetDmaError) {
    let failed = providers.withLock { table -> ProviderTable.Entry? in
      guard var entry = table.entries[handle.rawValue], let attributes = entry.state.attributes
      else { return nil }
      entry.state = .failed(attributes)
      table.entries[handle.rawValue] = entry
      pnp.send(entry.notification(.providerRemoval, handle, failure: error))
      return entry
    }
    guard let failed else { return }
    logger.error(
      "provider failed",
      metadata: [
        "provider": "\(failed.characteristics.friendlyName)", "reason": "\(error)",
        "channels": "\(failed.channels.count)",
      ])
    for core in failed.channels.compactMap({ channels.core($0) }) { end(core, error) }
  }

  /// Ends a channel's operations with `error`; the channel stays allocated until its owner ends it.
  func end(_ core: NetDmaChannelCore, _ error: NetDmaError) {
    guard core.gate.current != .closed else { return }
    core.close(error) {
      // Where nothing answers, nothing touches memory either.
      if !error.isDeviceGone { try? core.resetIfOffered() }
    }
    tellClient(of: core)
  }
}

extension ProviderTable.Entry {
  func notification(
    _ code: NetDmaPnPNotificationCode, _ handle: NetDmaProviderHandle, channelCount: Int = 0,
    failure: NetDmaError? = nil
  ) -> NetDmaPnPNotification {
    NetDmaPnPNotification(
      code: code, provider: handle, providerName: characteristics.friendlyName,
      channelCount: channelCount, failure: failure)
  }

  /// What a client that begins to listen now has missed and must know.
  func history(_ handle: NetDmaProviderHandle) -> [NetDmaPnPNotification] {
    let registered = notification(.providerRegistered, handle)
    switch state {
    case .registered, .stopping, .failed: return [registered]
    case .started(let attributes): return [registered] + arrival(handle, attributes)
    case .poweredDown(let attributes):
      return [registered] + arrival(handle, attributes)
        + [notification(.providerPowerDown, handle)]
    }
  }

  func arrival(
    _ handle: NetDmaProviderHandle, _ attributes: NetDmaProviderAttributes
  ) -> [NetDmaPnPNotification] {
    [
      notification(.providerArrival, handle),
      notification(.channelArrival, handle, channelCount: attributes.channelCount),
    ]
  }
}

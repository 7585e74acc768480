// SPDX-License-Identifier: Apache-2.0

import Synchronization

/// NET_DMA_PNP_NOTIFICATION_CODE: what happened to a provider or its channels.
public enum NetDmaPnPNotificationCode: UInt32, Sendable, CaseIterable {
  /// NetDmaNotificationProviderRegistered, to clients: a provider registered.
  case providerRegistered = 0
  /// NetDmaNotificationProviderArrival, to clients: a provider started.
  case providerArrival = 1
  /// NetDmaNotificationProviderRemoval, to clients: a provider stops, was removed or failed; its
  /// channels end.
  case providerRemoval = 2
  /// NetDmaNotificationChannelArrival, to clients: channels can be allocated.
  case channelArrival = 3
  /// NetDmaNotificationProviderPowerDown, from providers: the device is about to lose power.
  case providerPowerDown = 4
  /// NetDmaNotificationProviderPowerUp, from providers: the device has power again.
  case providerPowerUp = 5
}

/// NET_DMA_PNP_NOTIFICATION, as clients get it.
public struct NetDmaPnPNotification: Equatable, Sendable {
  /// `StructureRevision`.
  public static let structureRevision = 1
  /// `NotificationCode`.
  public let code: NetDmaPnPNotificationCode
  /// The provider that it is about.
  public let provider: NetDmaProviderHandle
  /// The provider's `FriendlyName`.
  public let providerName: String
  /// Channels of the provider, with `channelArrival`; else 0.
  public let channelCount: Int
  /// Why a provider was removed, where it was not asked for.
  public let failure: NetDmaError?

  /// Describes what happened.
  public init(
    code: NetDmaPnPNotificationCode, provider: NetDmaProviderHandle, providerName: String,
    channelCount: Int = 0, failure: NetDmaError? = nil
  ) {
    self.code = code
    self.provider = provider
    self.providerName = providerName
    self.channelCount = channelCount
    self.failure = failure
  }
}

/// Hands notifications to every client that listens, to each in the order of events.
final class NetDmaPnPHub: Sendable {
  private struct State {
    var listeners: [UInt64: AsyncStream<NetDmaPnPNotification>.Continuation] = [:]
    var next: UInt64 = 0
  }
  private let state = Mutex(State())

  /// A stream that begins with `past`.
  func stream(past: [NetDmaPnPNotification]) -> AsyncStream<NetDmaPnPNotification> {
    AsyncStream { continuation in
      for notification in past { continuation.yield(notification) }
      let number = state.withLock { state in
        state.next += 1
        state.listeners[state.next] = continuation
        return state.next
      }
      continuation.onTermination = { [weak self] _ in
        self?.state.withLock { _ = $0.listeners.removeValue(forKey: number) }
      }
    }
  }

  func send(_ notification: NetDmaPnPNotification) {
    state.withLock { state in
      // Yielding only queues; no listener runs here.
      for listener in state.listeners.values { listener.yield(notification) }
    }
  }

  /// Ends every stream.
  func finish() {
    let listeners = state.withLock { state in
      let listeners = state.listeners
      state.listeners = [:]
      return listeners
    }
    for listener in listeners.values { listener.finish() }
  }
}

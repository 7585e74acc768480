// SPDX-License-Identifier: Apache-2.0

import Logging
import NetDmaMock
import NetDmaVFIO
import Synchronization
import TestSupport
import Testing

/// An interface with a provider that records what it is told, and memory to name in descriptors.
final class ProviderBench: Sendable {
  let transport = RecordingTransport()
  let interface: NetDmaInterface
  let provider: RecordingProvider
  let space: DMAAddressSpace
  let log = CompletionLog()
  let characteristics: NetDmaProviderCharacteristics

  init(
    channels: Int = 2, optional: NetDmaOptionalHandlers = [.suspendResume, .abort, .reset],
    options: NetDmaInterface.Options = ProviderBench.options(),
    logger: Logger = EngineBench.silent
  ) throws {
    interface = try NetDmaInterface(options: options, logger: logger)
    provider = RecordingProvider(channels: channels, memory: transport.memory)
    space = DMAAddressSpace(transport, addressWidth: 48, logger: logger)
    characteristics = NetDmaProviderCharacteristics(
      maximumChannelCount: channels, optionalHandlers: optional, friendlyName: "recording")
  }

  /// The watchdog keeps out of the way; what does not end is soon aborted.
  static func options() -> NetDmaInterface.Options {
    var options = NetDmaInterface.Options()
    options.watchdog = .seconds(3600)
    options.drain = .milliseconds(100)
    options.cpus = [0, 1, 2]
    return options
  }

  func attributes(
    channels: Int? = nil, transferSize: Int = 1 << 20, capabilities: DMACapability = []
  ) -> NetDmaProviderAttributes {
    NetDmaProviderAttributes(
      majorHardwareVersion: 3, minorHardwareVersion: 3, vendorID: 0x8086,
      channelCount: channels ?? characteristics.maximumChannelCount,
      maximumTransferSize: transferSize, maximumAddress: (1 << 48) - 1,
      capabilities: capabilities, addressSpace: space)
  }

  func register() throws -> NetDmaProviderHandle {
    try interface.registerProvider(provider, characteristics: characteristics)
  }

  /// Registered and started.
  func start() throws -> NetDmaProviderHandle {
    let handle = try register()
    try interface.startProvider(handle, attributes: attributes())
    return handle
  }

  func open(
    _ handle: NetDmaProviderHandle, mode: NetDmaCompletionMode = .interrupt,
    ringCapacity: Int = 64, affinity: Set<Int> = [], priority: Int = 0
  ) throws -> NetDmaChannel {
    let log = log
    return try interface.allocateChannel(
      handle, ringCapacity: ringCapacity, mode: mode, affinity: affinity, priority: priority
    ) { log.post($0) }
  }

  func openAndEnd(_ handle: NetDmaProviderHandle) throws { end(try open(handle)) }
}

/// Blocking code on a thread of its own.
final class Background<R: Sendable>: Sendable {
  private let done = Signal()
  private let result = Mutex<R?>(nil)

  init(_ body: @escaping @Sendable () -> R) throws {
    let thread = try PinnedThread(name: "test") { [self] _ in
      let value = body()
      result.withLock { $0 = value }
      done.set()
    }
    thread.detach()
  }

  /// What came of it; nil when it hangs.
  func wait() -> R? {
    done.wait(for: .seconds(60))
    return result.withLock { $0 }
  }
}

/// Waits until `condition` holds; an issue is recorded when it never does.
func eventually(
  _ what: String, sourceLocation: SourceLocation = #_sourceLocation, _ condition: () -> Bool
) {
  let came = Deadline(after: .seconds(20)).poll { () throws(Never) in condition() }
  if !came { Issue.record("it never came: \(what)", sourceLocation: sourceLocation) }
}

/// The end of a channel's life, which frees it.
func end(_ channel: consuming NetDmaChannel) {}

extension NetDmaChannel {
  /// Enqueues null descriptors with these tokens and submits them as one batch.
  mutating func submitNulls(_ tokens: Range<UInt64>) throws {
    for token in tokens where !enqueueNull(token: token) {
      Issue.record("the ring is full")
    }
    try submit()
  }

  /// Why the submission of one more null descriptor is refused, nil when it is not.
  mutating func submitRefusal(token: UInt64 = .max) -> NetDmaError? {
    if !enqueueNull(token: token) { Issue.record("the ring is full") }
    do throws(NetDmaError) {
      try submit()
      return nil
    } catch { return error }
  }

  /// Why a poll is refused, nil when it is not.
  mutating func pollRefusal() -> NetDmaError? {
    do throws(NetDmaError) {
      _ = try poll()
      return nil
    } catch { return error }
  }
}

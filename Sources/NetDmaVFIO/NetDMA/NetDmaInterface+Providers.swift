// SPDX-License-Identifier: Apache-2.0

import Synchronization

/// Providers by handle.
struct ProviderTable {
  struct Entry {
    let provider: any NetDmaProvider
    let characteristics: NetDmaProviderCharacteristics
    var state = State.registered
    /// Channels allocated now.
    var channels: [NetDmaChannelHandle] = []
    /// Allocations under way: the provider is about to be called for them.
    var allocating = 0
  }
  enum State {
    case registered
    case started(NetDmaProviderAttributes)
    case stopping(NetDmaProviderAttributes)
    case poweredDown(NetDmaProviderAttributes)
    case failed(NetDmaProviderAttributes)

    var name: String {
      switch self {
      case .registered: "registered, not started"
      case .started: "started"
      case .stopping: "stopping"
      case .poweredDown: "powered down"
      case .failed: "failed"
      }
    }

    /// What it was started with, nil when it is not, or is on its way out.
    var attributes: NetDmaProviderAttributes? {
      switch self {
      case .registered, .stopping, .failed: nil
      case .started(let attributes), .poweredDown(let attributes): attributes
      }
    }
  }
  var entries: [UInt64: Entry] = [:]
  var nextHandle: UInt64 = 1
}

extension NetDmaInterface {
  /// NetDmaRegisterProvider: registers a DMA engine.
  ///
  /// Inside this call `setDmaChannelCpuAffinity` is called for the maximum channel count; what it
  /// throws ends the registration.
  /// - Throws: `NetDmaError.versionTooNew`, `.invalidParameter`, and what the handler throws.
  public func registerProvider(
    _ provider: any NetDmaProvider, characteristics: NetDmaProviderCharacteristics
  ) throws(NetDmaError) -> NetDmaProviderHandle {
    let call = "NetDmaRegisterProvider"
    guard characteristics.version <= .current else {
      throw .versionTooNew(characteristics.version)
    }
    guard characteristics.version >= NetDmaVersion(major: 1, minor: 0) else {
      throw .invalidParameter(call: call, detail: "There is no version below 1.0.")
    }
    guard (1...4096).contains(characteristics.maximumChannelCount) else {
      throw .invalidParameter(call: call, detail: "A provider has 1 to 4096 channels.")
    }
    let cpus = cpus
    try provider.setDmaChannelCpuAffinity(
      (0..<characteristics.maximumChannelCount).map {
        NetDmaChannelCpuAffinity(channel: $0, cpu: cpus[$0 % cpus.count])
      })
    return providers.withLock { table in
      let handle = table.nextHandle
      table.nextHandle += 1
      let entry = ProviderTable.Entry(provider: provider, characteristics: characteristics)
      table.entries[handle] = entry
      let result = NetDmaProviderHandle(rawValue: handle)
      pnp.send(entry.notification(.providerRegistered, result))
      return result
    }
  }

  /// NetDmaDeregisterProvider: forgets a provider that is stopped.
  ///
  /// - Throws: `NetDmaError.staleHandle`, `.wrongState` while it is started.
  public func deregisterProvider(_ handle: NetDmaProviderHandle) throws(NetDmaError) {
    let call = "NetDmaDeregisterProvider"
    try providers.withLock { table throws(NetDmaError) in
      guard let entry = table.entries[handle.rawValue] else { throw .staleHandle(call: call) }
      guard case .registered = entry.state else {
        throw .wrongState(call: call, state: entry.state.name)
      }
      table.entries[handle.rawValue] = nil
    }
  }

  /// NetDmaProviderStart: the provider's channels may be allocated from now on.
  ///
  /// - Throws: `NetDmaError.staleHandle`, `.wrongState` when it is started, `.invalidParameter`.
  public func startProvider(
    _ handle: NetDmaProviderHandle, attributes: NetDmaProviderAttributes
  ) throws(NetDmaError) {
    let call = "NetDmaProviderStart"
    try providers.withLock { table throws(NetDmaError) in
      guard var entry = table.entries[handle.rawValue] else { throw .staleHandle(call: call) }
      guard case .registered = entry.state else {
        throw .wrongState(call: call, state: entry.state.name)
      }
      guard (1...entry.characteristics.maximumChannelCount).contains(attributes.channelCount) else {
        throw .invalidParameter(
          call: call,
          detail: "DmaChannelCount is 1 to \(entry.characteristics.maximumChannelCount).")
      }
      guard attributes.maximumTransferSize >= 4096 else {
        throw .invalidParameter(call: call, detail: "MaximumTransferSize is at least 4096.")
      }
      entry.state = .started(attributes)
      table.entries[handle.rawValue] = entry
      for notification in entry.arrival(handle, attributes) { pnp.send(notification) }
    }
  }

  /// NetDmaProviderStop: waits for outstanding operations, then frees every allocated channel.
  ///
  /// Clients hear of the removal first. What does not end within `Options.drain` is aborted, its
  /// clients are told, and the call still stops the provider before it throws. A provider that
  /// failed or has no power can be stopped too.
  /// - Throws: `NetDmaError.staleHandle`, `.wrongState` when it is not started, `.drainTimedOut`.
  public func stopProvider(_ handle: NetDmaProviderHandle) throws(NetDmaError) {
    let call = "NetDmaProviderStop"
    let entry = try providers.withLock { table throws(NetDmaError) in
      guard var entry = table.entries[handle.rawValue] else { throw .staleHandle(call: call) }
      switch entry.state {
      case .registered, .stopping: throw .wrongState(call: call, state: entry.state.name)
      case .started(let attributes), .poweredDown(let attributes):
        pnp.send(entry.notification(.providerRemoval, handle))
        entry.state = .stopping(attributes)
      case .failed(let attributes): entry.state = .stopping(attributes)
      }
      table.entries[handle.rawValue] = entry
      return entry
    }
    waitForAllocations(handle)
    let deadline = Deadline(after: options.drain)
    var aborted = 0
    for channel in entry.channels {
      guard let core = channels.core(channel) else { continue }
      aborted += shutDown(
        core, deadline: deadline, cause: .channelGone(reason: "Its provider was stopped."))
    }
    providers.withLock { table in
      table.entries[handle.rawValue]?.state = .registered
      table.entries[handle.rawValue]?.channels = []
    }
    if aborted > 0 {
      throw .drainTimedOut(
        provider: entry.characteristics.friendlyName, aborted: aborted,
        milliseconds: options.drain.wholeMilliseconds)
    }
  }

  /// Waits for the end of a stop that another thread is about.
  func waitUntilStopped(_ handle: NetDmaProviderHandle) {
    _ = Deadline(after: options.drain + .seconds(60)).poll { () throws(Never) in
      providers.withLock { table in
        if case .stopping = table.entries[handle.rawValue]?.state { false } else { true }
      }
    }
  }

  /// Waits until the provider is called for no channel that is not among its own.
  ///
  /// The state must refuse new allocations; each one under way ends in bounded time.
  func waitForAllocations(_ handle: NetDmaProviderHandle) {
    while providers.withLock({ ($0.entries[handle.rawValue]?.allocating ?? 0) > 0 }) {
      _ = Deadline(after: .milliseconds(100)).poll { () throws(Never) in
        providers.withLock { ($0.entries[handle.rawValue]?.allocating ?? 0) == 0 }
      }
    }
  }
}

// SPDX-License-Identifier: Apache-2.0

import Logging
import Synchronization

extension NetDmaInterface {
  /// Allocates a channel of a started provider, its ring and its completion word, and has the
  /// engine run one null descriptor to prove that all of it works.
  ///
  /// - Parameters:
  ///   - handle: The provider.
  ///   - ringCapacity: Descriptors, 8 to 32,768, rounded up to a power of two.
  ///   - mode: Whether the engine interrupts.
  ///   - affinity: CPUs that completions may run on; empty, any.
  ///   - priority: Handed to the provider; IOAT engines have one priority.
  ///   - handler: For an interrupt-driven channel: called in the DPC for every operation that ends,
  ///     in submission order. It must not block, nor end the channel that it is called for: that waits
  ///     for the handler.
  /// - Throws: `NetDmaError.staleHandle`, `.wrongState`, `.resources`, `.engineDead`, `.hardware`.
  public func allocateChannel(
    _ handle: NetDmaProviderHandle, ringCapacity: Int = 1024,
    mode: NetDmaCompletionMode = .interrupt, affinity: Set<Int> = [], priority: Int = 0,
    onCompletion handler: @escaping @Sendable (DMACompletion) -> Void = { _ in }
  ) throws(NetDmaError) -> NetDmaChannel {
    let call = "AllocateDmaChannel"
    let (provider, characteristics, attributes) = try providers.withLock {
      table throws(NetDmaError) in
      guard let entry = table.entries[handle.rawValue] else { throw .staleHandle(call: call) }
      guard case .started(let attributes) = entry.state else {
        throw .wrongState(call: call, state: entry.state.name)
      }
      guard entry.channels.count + entry.allocating < attributes.channelCount else {
        throw .resources(
          call: call,
          detail: "All \(attributes.channelCount) channels of "
            + "\(entry.characteristics.friendlyName) are taken.")
      }
      table.entries[handle.rawValue]?.allocating += 1
      return (entry.provider, entry.characteristics, attributes)
    }
    defer { providers.withLock { $0.entries[handle.rawValue]?.allocating -= 1 } }
    guard let channel = channels.reserve() else {
      throw .resources(call: call, detail: "All \(options.maximumChannels) channels are taken.")
    }
    do throws(NetDmaError) {
      let memory: RingMemory
      do throws(VFIOError) {
        memory = try RingMemory(
          capacity: ringCapacity, in: attributes.addressSpace,
          hasExtensions: attributes.capabilities.isSuperset(of: [.pq, .raid16SS]))
      } catch {
        throw NetDmaError.hardware(.transport(error))
      }
      let grant = try provider.allocateDmaChannel(
        NetDmaChannelParameters(
          completionAddress: memory.completionIOVA,
          completionWord: { memory.loadCompletion() }, processorAffinity: affinity,
          priority: priority, mode: mode),
        handle: channel)
      let progress = ChannelProgress()
      let core = NetDmaChannelCore(
        provider: provider, characteristics: characteristics, grant: grant, handle: channel,
        mode: mode,
        attributes: attributes, memory: memory, progress: progress, gate: ChannelGate(progress),
        logger: logger, handler: handler)
      attributes.addressSpace.attach(progress) { [weak core] in core?.reapForOwner() }
      channels.install(core)
      do throws(NetDmaError) {
        try core.proveAlive(milliseconds: options.firstDescriptor.wholeMilliseconds)
        try admit(core, to: handle)
      } catch {
        _ = shutDown(core, deadline: Deadline(after: .zero), cause: error)
        throw error
      }
      return NetDmaChannel(core: core, interface: self)
    } catch {
      channels.release(channel)
      throw error
    }
  }

  /// Counts the channel among its provider's, unless that was stopped meanwhile.
  private func admit(
    _ core: NetDmaChannelCore, to handle: NetDmaProviderHandle
  ) throws(NetDmaError) {
    try providers.withLock { table throws(NetDmaError) in
      guard var entry = table.entries[handle.rawValue], case .started = entry.state else {
        throw .wrongState(call: "AllocateDmaChannel", state: "stopping")
      }
      entry.channels.append(core.handle)
      table.entries[handle.rawValue] = entry
    }
  }

  /// FreeDmaChannel, when a client's channel ends: waits for what is outstanding, then aborts it.
  ///
  /// What its owner wrote before position `written` and did not submit is aborted, too.
  func free(_ core: NetDmaChannelCore, written: UInt32) {
    let aborted = shutDown(
      core, deadline: Deadline(after: options.drain),
      cause: .channelGone(reason: "The channel was freed."), written: written)
    if aborted > 0 {
      logger.error(
        "a freed channel's operations were aborted",
        metadata: ["provider": "\(core.providerName)", "operations": "\(aborted)"])
    }
    providers.withLock { table in
      for key in table.entries.keys {
        table.entries[key]?.channels.removeAll { $0 == core.handle }
      }
    }
  }

  /// Drains, stops and forgets a channel; gives the number of operations that had to be aborted.
  ///
  /// Afterwards the engine touches nothing of it, its handle is stale, and its client's handler was
  /// called for the last time. A second call waits for the first and does nothing.
  /// What was written before position `written`, and cannot be submitted any more, is among them.
  func shutDown(
    _ core: NetDmaChannelCore, deadline: Deadline, cause: NetDmaError, written: UInt32? = nil
  ) -> Int {
    core.isShutDown.withLock { isShutDown in
      if isShutDown {
        let late = written.map { core.failLate(before: $0) } ?? 0
        if late > 0, core.mode == .interrupt { maintenance.tellClientNow(of: core) }
        ended.withLock { $0.failed &+= UInt64(late) }
        return 0
      }
      isShutDown = true
      _ = core.drain(until: deadline)
      let failedBefore = core.counters.failed.load(ordering: .relaxed)
      // The handle goes first: interrupts and DPCs from here on are stale.
      channels.release(core.handle)
      core.close(cause) {
        // FreeDmaChannel comes to a channel with nothing outstanding.
        if core.progress.retiredPosition != core.progress.submittedPosition, !cause.isDeviceGone {
          try? core.resetIfOffered()
        }
        core.provider.freeDmaChannel(core.grant.context)
      }
      if let written { core.failLate(before: written) }
      if core.mode == .interrupt { maintenance.tellClientNow(of: core) }
      core.attributes.addressSpace.detach(core.progress)
      let statistics = core.counters.snapshot
      ended.withLock { $0 = $0 + statistics }
      return Int(core.counters.failed.load(ordering: .relaxed) &- failedBefore)
    }
  }
}

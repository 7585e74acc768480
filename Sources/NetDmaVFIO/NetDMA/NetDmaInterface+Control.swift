// SPDX-License-Identifier: Apache-2.0

/// SuspendDma, ResumeDma, AbortDma and ResetChannel, by channel handle.
///
/// From any thread but one that runs the channel's completion handler. A stale handle, a wrong
/// state or a handler that the provider lacks is refused and changes nothing.
extension NetDmaInterface {
  /// SuspendDma: finishes the descriptor in progress; what is submitted from now on waits.
  ///
  /// - Returns: The device's address of the last descriptor finished, 0 when none was since the
  ///   engine last started.
  /// - Throws: `NetDmaError.staleHandle`, `.notSupported`, `.wrongState` when it is suspended,
  ///   `.hardware`.
  @discardableResult
  public func suspendDma(_ channel: NetDmaChannelHandle) throws(NetDmaError) -> UInt64 {
    let call = "SuspendDma"
    let core = try live(channel, call: call, needing: .suspendResume)
    defer { tellClient(of: core) }
    return try core.suspend(.client, call: call)
  }

  /// ResumeDma: goes on behind the descriptor that was finished last.
  ///
  /// - Throws: `NetDmaError.staleHandle`, `.notSupported`, `.wrongState` unless it is suspended,
  ///   `.hardware`.
  public func resumeDma(_ channel: NetDmaChannelHandle) throws(NetDmaError) {
    let call = "ResumeDma"
    let core = try live(channel, call: call, needing: .suspendResume)
    defer { tellClient(of: core) }
    try core.resume(.client, contextIsLost: false, call: call)
  }

  /// AbortDma: stops at once, without finishing the descriptor in progress.
  ///
  /// Operations that were submitted and are not done end as aborted, those only enqueued stay.
  /// - Throws: `NetDmaError.staleHandle`, `.notSupported`, `.wrongState` without power, `.hardware`.
  public func abortDma(_ channel: NetDmaChannelHandle) throws(NetDmaError) {
    let call = "AbortDma"
    let core = try live(channel, call: call, needing: .abort)
    defer { tellClient(of: core) }
    try core.abort(call: call) { context throws(NetDmaError) in
      try core.provider.abortDma(context)
    }
  }

  /// ResetChannel: as abort, and back to the state just after the allocation: nothing that was
  /// submitted before is touched again.
  ///
  /// - Throws: `NetDmaError.staleHandle`, `.notSupported`, `.wrongState` without power, `.hardware`.
  public func resetChannel(_ channel: NetDmaChannelHandle) throws(NetDmaError) {
    let call = "ResetChannel"
    let core = try live(channel, call: call, needing: .reset)
    defer { tellClient(of: core) }
    try core.abort(call: call) { context throws(NetDmaError) in
      try core.provider.resetChannel(context)
    }
  }

  private func live(
    _ channel: NetDmaChannelHandle, call: String, needing handler: NetDmaOptionalHandlers
  ) throws(NetDmaError) -> NetDmaChannelCore {
    guard let core = channels.core(channel) else { throw .staleHandle(call: call) }
    guard core.optionalHandlers.contains(handler) else {
      throw .notSupported(call: call, detail: "\(core.providerName) has no handler for it.")
    }
    return core
  }

  /// Has the client told, soon and on another thread, of what a control operation ended, and of what
  /// ended during it, whose DPC was kept out.
  func tellClient(of core: NetDmaChannelCore) {
    if core.mode == .interrupt { maintenance.tellClient(of: core) }
  }
}

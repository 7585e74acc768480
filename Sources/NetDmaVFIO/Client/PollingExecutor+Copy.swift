// SPDX-License-Identifier: Apache-2.0

extension PollingExecutor {
  /// Copies `source` to `destination`, which are equally long and do not overlap.
  ///
  /// Returns when the bytes are there. Cancelling the task changes nothing: the call still waits
  /// until the engine no longer touches the memory. The buffers must live until then; the form that
  /// takes buffers sees to that. The engine makes every copy, whatever the engine's copy policy says.
  /// - Throws: `DMAOperationError` when the copy failed or was aborted; `NetDmaError` when the channel is
  ///   gone, `.invalidParameter` when the lengths differ, `.wrongState` when the scope of the executor
  ///   has ended.
  public nonisolated(nonsending) func copy(
    from source: DMASlice, to destination: DMASlice
  ) async throws {
    try CopySides.check(source, destination)
    if source.count <= longest {
      return try await perform(.copy(from: source, to: destination))
    }
    var offset = 0
    while offset < source.count {
      let range = offset..<min(offset + longest, source.count)
      try await perform(.copy(from: source.slice(range), to: destination.slice(range)))
      offset = range.upperBound
    }
  }

  /// Copies `range` of `source`, all of it by default, to `destination` from `offset` on.
  ///
  /// As the other form; `.invalidParameter` too when a range does not lie within its buffer.
  public nonisolated(nonsending) func copy(
    from source: borrowing DMABuffer, _ range: Range<Int>? = nil,
    to destination: borrowing DMABuffer, at offset: Int = 0
  ) async throws {
    let sides = try CopySides.slices(of: source, range, to: destination, at: offset)
    try await copy(from: sides.source, to: sides.destination)
  }

  /// Fills `destination` with the eight bytes of `pattern`, least significant first, over and over.
  ///
  /// - Throws: `NetDmaError.notSupported` on an engine without block fill, else as `copy`.
  public nonisolated(nonsending) func fill(
    _ destination: DMASlice, pattern: UInt64
  ) async throws {
    if destination.count <= longest {
      return try await perform(.fill(destination, pattern: pattern))
    }
    var offset = 0
    while offset < destination.count {
      let range = offset..<min(offset + longest, destination.count)
      try await perform(.fill(destination.slice(range), pattern: pattern))
      offset = range.upperBound
    }
  }

  // Stays with its caller: a hop, even to where it is, would cost as much as the suspension.
  @inline(__always)
  private nonisolated(nonsending) func perform(
    _ operation: PollingState.Operation
  ) async throws {
    guard isCurrent, !isClosing else { return try await performElsewhere(operation) }
    // Resumed by `PollingState`, once.
    try await unsafe withUnsafeThrowingContinuation { continuation in
      // Still on the executor's thread, which owns the state.
      unsafe local.pointee.begin(operation, continuation)
    }
  }

  @inline(never)
  private func performElsewhere(_ operation: PollingState.Operation) async throws {
    guard !isClosing else { throw NetDmaError.wrongState(call: "copy", state: "closed") }
    try await withTaskExecutorPreference(self) {
      // Where the executor ends meanwhile, this runs anywhere.
      guard isCurrent, !isClosing else {
        throw NetDmaError.wrongState(call: "copy", state: "closed")
      }
      try await perform(operation)
    }
  }
}

extension DMAEngine {
  /// Runs `body` on a thread that polls a channel of its own, and gives it the executor to copy with.
  ///
  /// The body's child tasks run on that thread, too. Afterwards every copy has ended, the thread is gone and
  /// the channel is free again.
  /// - Parameters:
  ///   - cpu: The CPU to run on, nil for any.
  ///   - ringCapacity: Descriptors of the channel's ring; nil for the engine's own setting.
  ///   - body: Runs on the executor's thread, and so do its child tasks.
  /// - Throws: `NetDmaError` when there is no channel or no thread, and what `body` throws.
  public func withPollingExecutor<Result: Sendable>(
    cpu: Int? = nil, ringCapacity: Int? = nil,
    _ body: @Sendable (PollingExecutor) async throws -> Result
  ) async throws -> Result {
    let executor = try openPollingExecutor(cpu: cpu, ringCapacity: ringCapacity)
    defer { executor.close() }
    return try await withTaskExecutorPreference(executor) { try await body(executor) }
  }

  private func openPollingExecutor(
    cpu: Int?, ringCapacity: Int?
  ) throws(NetDmaError) -> PollingExecutor {
    let channel = try openChannel(mode: .polled, ringCapacity: ringCapacity)
    do throws(SystemCallError) {
      return try PollingExecutor(channel: channel, cpu: cpu, logger: interface.logger)
    } catch {
      throw .resources(call: "withPollingExecutor", detail: "\(error).")
    }
  }
}

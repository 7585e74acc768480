// SPDX-License-Identifier: Apache-2.0

public import Logging
import Synchronization

/// An IOAT function, opened and ready: buffers, channels and `async` copies.
///
/// The front door for programs that want copies and know nothing of NetDMA. Thread-safe; any number
/// of tasks may share one engine, and work is spread over its channels.
///
///     let engine = try DMAEngine(transport: transport, logger: logger)
///     let source = try engine.allocate(byteCount: 65536)
///     let target = try engine.allocate(byteCount: 65536)
///     try await engine.copy(from: source.slice, to: target.slice)
///     try engine.close()
public final class DMAEngine: Sendable {
  /// What can be set when an engine is opened.
  public struct Options: Sendable {
    /// Descriptors in each channel's ring, 8 to 32,768; what is less or more counts as that.
    public var ringCapacity = 1024
    /// Whether interrupts are connected; without, channels are polled.
    public var usesInterrupts = true
    /// The only kind of interrupt to use (`.msix`, `.msi` or `.intx`), nil for the best there is.
    public var interruptKind: IRQIndex?
    /// Which async copies the CPU makes itself.
    public var copyPolicy = CopyPolicy.engineOnly
    /// The interface's limits and times.
    public var interface = NetDmaInterface.Options()
    /// The interrupt threads.
    public var interrupts = InterruptDispatcher.Options()
    /// The defaults.
    public init() {}
  }

  /// The function.
  public let device: IOATDevice
  /// The NetDMA interface that the engine's provider is registered with.
  public let interface: NetDmaInterface
  /// The engine's provider.
  public let provider: NetDmaProviderHandle
  private let ioat: IOATProvider
  private let dispatcher: InterruptDispatcher
  private let options: Options
  /// Bytes of the longest operation that goes into a ring at once, a multiple of 8.
  ///
  /// A longer one goes piece by piece, so that others get their turn.
  private let longest: Int
  private let state = Mutex(State())

  private struct State {
    var isClosed = false
    var lanes: [CopyLane] = []
    var next = 0
    /// Whether somebody measures what the CPU does better.
    var isMeasuring = false
  }

  private let cpuThreshold: Atomic<Int>
  private let cpuCopies = Atomic<UInt64>(0)
  private let cpuBytes = Atomic<UInt64>(0)

  /// Opens the function behind `transport`: identifies it, resets its channels, connects its
  /// interrupts and registers it with an interface of its own.
  ///
  /// - Throws: `NetDmaError.hardware` with what is wrong with the device, `.resources`.
  public init(
    transport: any DeviceTransport, options: Options = Options(), logger: Logger
  ) throws(NetDmaError) {
    do throws(IOATError) {
      device = try IOATDevice(transport, logger: logger)
    } catch { throw .hardware(error) }
    self.options = options
    // As many as the rings will have: a longer piece would not fit into them.
    longest = device.maximumTransferSize * (RingMemory.bounded(options.ringCapacity) / 8)
    if case .cpuBelow(let count) = options.copyPolicy {
      cpuThreshold = Atomic(max(0, count))
    } else {
      cpuThreshold = Atomic(0)
    }
    interface = try NetDmaInterface(options: options.interface, logger: logger)
    dispatcher = InterruptDispatcher(options: options.interrupts, logger: logger)
    ioat = IOATProvider(
      device: device, interface: interface, dispatcher: dispatcher, logger: logger)
    provider = try interface.registerProvider(ioat, characteristics: ioat.characteristics)
    do throws(NetDmaError) {
      try ioat.start(
        as: provider, usesInterrupts: options.usesInterrupts, by: options.interruptKind)
      try interface.startProvider(provider, attributes: ioat.attributes)
    } catch {
      ioat.stop()
      try? interface.deregisterProvider(provider)
      dispatcher.shutdown()
      throw error
    }
  }

  deinit {
    // The silent fallback: `close()` tells what went wrong.
    try? close()
  }

  /// Waits for what is in flight, frees every channel and takes the function off the bus.
  ///
  /// Buffers may outlive the engine. A second call does nothing.
  /// - Throws: `NetDmaError.drainTimedOut` when operations had to be aborted; the engine is closed
  ///   all the same.
  public func close() throws(NetDmaError) {
    let lanes = state.withLock { state -> [CopyLane]? in
      if state.isClosed { return nil }
      state.isClosed = true
      let lanes = state.lanes
      state.lanes = []
      return lanes
    }
    guard let lanes else { return }
    defer {
      ioat.stop()
      dispatcher.shutdown()
    }
    var failure: NetDmaError?
    do throws(NetDmaError) { try interface.stopProvider(provider) } catch .wrongState {
      // The host took the device back, and its removal stops the provider.
      interface.waitUntilStopped(provider)
    } catch { failure = error }
    for lane in lanes { lane.close() }
    do throws(NetDmaError) { try interface.deregisterProvider(provider) } catch {
      failure = failure ?? error
    }
    if let failure { throw failure }
  }

  /// Every channel's registers in words, for messages.
  public func describeChannels() -> String {
    guard ioat.hasPower else { return "the function is powered down" }
    return (0..<device.channelCount).map { index in
      do throws(IOATError) {
        return "channel \(index): \(try device.channel(index).snapshot())"
      } catch {
        return "channel \(index): unreadable, \(error)"
      }
    }.joined(separator: "; ")
  }

  // MARK: - Memory

  /// A buffer of at least `byteCount` bytes that the engine can reach, zeroed.
  public func allocate(
    byteCount: Int, pages: DMAPageSize = .base, permissions: DMAPermissions = .readWrite
  ) throws(VFIOError) -> DMABuffer {
    try ioat.addressSpace.allocate(byteCount: byteCount, pages: pages, permissions: permissions)
  }

  /// The engine's part of the device's address space.
  public var addressSpace: DMAAddressSpace { ioat.addressSpace }

  // MARK: - Channels

  /// A channel of one's own, polled or with a completion handler; see
  /// `NetDmaInterface.allocateChannel`.
  ///
  /// - Parameters:
  ///   - mode: Whether the engine interrupts.
  ///   - affinity: CPUs that completions may run on; empty, any.
  ///   - ringCapacity: Descriptors of the channel's ring; nil for the engine's own setting.
  ///   - handler: For an interrupt-driven channel: called in the DPC for every operation that ends, in
  ///     submission order. It must not block, and must not end its own channel: the end waits for the
  ///     handler to return, so neither would ever come.
  /// - Throws: As `NetDmaInterface.allocateChannel`.
  public func openChannel(
    mode: NetDmaCompletionMode, affinity: Set<Int> = [], ringCapacity: Int? = nil,
    onCompletion handler: @escaping @Sendable (DMACompletion) -> Void = { _ in }
  ) throws(NetDmaError) -> NetDmaChannel {
    try interface.allocateChannel(
      provider, ringCapacity: ringCapacity ?? options.ringCapacity, mode: mode,
      affinity: affinity, onCompletion: handler)
  }

  /// What all channels have done since the engine was opened.
  public var statistics: DMAEngineStatistics {
    DMAEngineStatistics(
      channels: interface.statistics, cpuCopies: cpuCopies.load(ordering: .relaxed),
      cpuBytes: cpuBytes.load(ordering: .relaxed),
      cpuThreshold: cpuThreshold.load(ordering: .relaxed), staleCalls: interface.staleCalls,
      unclaimedInterrupts: ioat.unclaimedInterrupts)
  }

  /// Arrival, removal, power: what happens to the engine; see `NetDmaInterface.pnpNotifications()`.
  public func pnpNotifications() -> AsyncStream<NetDmaPnPNotification> {
    interface.pnpNotifications()
  }

  /// Stops every channel and puts the function into its lowest power state; operations wait.
  ///
  /// - Throws: `NetDmaError.hardware` where the function has no power management.
  public func powerDown() throws(NetDmaError) { try ioat.powerDown() }

  /// Ends `powerDown()`: every channel goes on where it was.
  public func powerUp() throws(NetDmaError) { try ioat.powerUp() }

  // MARK: - Async operations

  /// Copies `source` to `destination`, which are equally long and do not overlap.
  ///
  /// Returns when the bytes are there. Cancelling the task changes nothing: the call still waits
  /// until the engine no longer touches the memory. The buffers must live until then; the forms that
  /// take buffers see to that.
  /// - Throws: `DMAOperationError` when the copy failed or was aborted; `NetDmaError` when no
  ///   channel can take it, `.invalidParameter` when the lengths differ.
  public func copy(from source: DMASlice, to destination: DMASlice) async throws {
    try CopySides.check(source, destination)
    if await isForCPU(source.count),
      CPUCopy.copy(from: source, to: destination, in: addressSpace)
    {
      cpuCopies.wrappingAdd(1, ordering: .relaxed)
      cpuBytes.wrappingAdd(UInt64(source.count), ordering: .relaxed)
      return
    }
    try await engineCopy(from: source, to: destination)
  }

  /// Copies `range` of `source`, all of it by default, to `destination` from `offset` on.
  ///
  /// As the other form; `.invalidParameter` too when a range does not lie within its buffer.
  public func copy(
    from source: borrowing DMABuffer, _ range: Range<Int>? = nil,
    to destination: borrowing DMABuffer, at offset: Int = 0
  ) async throws {
    let sides = try CopySides.slices(of: source, range, to: destination, at: offset)
    try await copy(from: sides.source, to: sides.destination)
  }

  /// Fills `destination` with the eight bytes of `pattern`, least significant first, over and over.
  ///
  /// - Throws: `NetDmaError.notSupported` on an engine without block fill, else as `copy`.
  public func fill(_ destination: DMASlice, pattern: UInt64) async throws {
    try await inPieces(destination.count) { channel, token, range throws(NetDmaError) in
      try channel.enqueueFill(destination.slice(range), pattern: pattern, token: token)
    }
  }

  private func engineCopy(from source: DMASlice, to destination: DMASlice) async throws {
    try await inPieces(source.count) { channel, token, range throws(NetDmaError) in
      channel.enqueueCopy(
        from: source.slice(range), to: destination.slice(range), token: token)
    }
  }

  /// Has `enqueue` start an operation of `count` bytes, the next piece when the one before has ended.
  ///
  /// Pieces begin at multiples of 8, so a fill's pattern stays in phase.
  private func inPieces(
    _ count: Int,
    _ enqueue: (inout NetDmaChannel, UInt64, Range<Int>) throws(NetDmaError) -> Bool
  ) async throws {
    var offset = 0
    repeat {
      let range = offset..<min(offset + longest, count)
      let lane = try lane()
      try await lane.run { channel, token throws(NetDmaError) in
        try enqueue(&channel, token, range)
      }
      offset = range.upperBound
    } while offset < count
  }

  // MARK: - The CPU's share

  private func isForCPU(_ count: Int) async -> Bool {
    if case .engineOnly = options.copyPolicy { return false }
    if case .measured = options.copyPolicy, beginsMeasuring() {
      do { try await measure() } catch {
        // The copy needs no measurement: if it was the engine that failed, the copy's own error says so.
        interface.logger.warning(
          "the CPU's share is not measured",
          metadata: [
            "device": "\(device.name)", "reason": "\(error)",
            "cpuThreshold": "\(cpuThreshold.load(ordering: .relaxed))",
          ])
      }
    }
    return count < cpuThreshold.load(ordering: .relaxed)
  }

  private func beginsMeasuring() -> Bool {
    state.withLock { state in
      if state.isMeasuring { return false }
      state.isMeasuring = true
      return true
    }
  }

  /// Sets the threshold to the smallest size at which the engine is quicker; others go on meanwhile.
  private func measure() async throws {
    let largest = 1 << 20
    let source = try allocate(byteCount: largest)
    let target = try allocate(byteCount: largest)
    // Touched once, so that neither side pays for the first use of a page.
    _ = CPUCopy.copy(from: source.slice, to: target.slice, in: addressSpace)
    var size = 256
    while size <= largest {
      let cpu = CPUCopy.time(size, from: source.slice, to: target.slice, in: addressSpace)
      var engine = UInt64.max
      for _ in 0..<5 {
        let begin = Deadline.now()
        try await engineCopy(from: source.slice(0..<size), to: target.slice(0..<size))
        engine = min(engine, Deadline.now() &- begin)
      }
      cpuThreshold.store(size, ordering: .relaxed)
      if engine < cpu { return }
      size *= 2
    }
    cpuThreshold.store(largest + 1, ordering: .relaxed)
  }

  /// The next channel in turn; channels are opened when first needed.
  private func lane() throws(NetDmaError) -> CopyLane {
    try state.withLock { state throws(NetDmaError) in
      if state.isClosed {
        throw .wrongState(call: "copy", state: "closed")
      }
      if state.lanes.isEmpty {
        let count = ioat.attributes.channelCount
        for _ in 0..<count {
          do throws(NetDmaError) {
            state.lanes.append(
              try CopyLane(
                interface: interface, provider: provider, ringCapacity: options.ringCapacity))
          } catch {
            // Channels that others hold are not ours to share.
            if case .resources = error, !state.lanes.isEmpty { break }
            state.lanes = []
            throw error
          }
        }
      }
      state.next = (state.next + 1) % state.lanes.count
      return state.lanes[state.next]
    }
  }
}

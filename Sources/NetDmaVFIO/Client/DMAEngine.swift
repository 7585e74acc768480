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
    /// Descriptors in each channel's ring, 8 to 32,768.
    public var ringCapacity = 1024
    /// Whether vectors are connected; without, channels are polled.
    public var usesInterrupts = true
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
  private let state = Mutex(State())

  private struct State {
    var isClosed = false
    var lanes: [CopyLane] = []
    var next = 0
  }

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
    interface = try NetDmaInterface(options: options.interface, logger: logger)
    dispatcher = InterruptDispatcher(options: options.interrupts, logger: logger)
    ioat = IOATProvider(
      device: device, interface: interface, dispatcher: dispatcher, logger: logger)
    provider = try interface.registerProvider(ioat, characteristics: ioat.characteristics)
    do throws(NetDmaError) {
      try ioat.start(as: provider, usesInterrupts: options.usesInterrupts)
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
    do throws(NetDmaError) { try interface.stopProvider(provider) } catch { failure = error }
    for lane in lanes { lane.close() }
    do throws(NetDmaError) { try interface.deregisterProvider(provider) } catch {
      failure = failure ?? error
    }
    if let failure { throw failure }
  }

  /// Every channel's registers in words, for messages.
  public func describeChannels() -> String {
    (0..<device.channelCount).map { index in
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
  public func openChannel(
    mode: NetDmaCompletionMode, affinity: Set<Int> = [], ringCapacity: Int? = nil,
    onCompletion handler: @escaping @Sendable (DMACompletion) -> Void = { _ in }
  ) throws(NetDmaError) -> NetDmaChannel {
    try interface.allocateChannel(
      provider, ringCapacity: ringCapacity ?? options.ringCapacity, mode: mode,
      affinity: affinity, onCompletion: handler)
  }

  // MARK: - Async copies

  /// Copies `source` to `destination`, which are equally long and do not overlap.
  ///
  /// Returns when the bytes are there. Cancelling the task changes nothing: the call still waits
  /// until the engine no longer touches the memory.
  /// - Throws: `DMAOperationError` when the copy failed or was aborted, `NetDmaError` when no
  ///   channel can take it.
  public func copy(from source: DMASlice, to destination: DMASlice) async throws {
    let lane = try lane()
    try await lane.copy(from: source, to: destination)
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

// SPDX-License-Identifier: Apache-2.0

public import Logging
import Synchronization

/// The part of the device's address space that this process fills with buffers.
///
/// Thread-safe. A buffer that ends while the engine may still touch it stays mapped until every
/// channel has passed the descriptors that were queued before; nothing can be freed or unmapped
/// under a running engine.
public final class DMAAddressSpace: Sendable {
  /// The device.
  public let transport: any DeviceTransport
  let logger: Logger
  private let state: Mutex<State>
  private let pageSize: UInt64

  private struct State {
    var allocator: IOVAAllocator
    /// Channels whose engine may touch buffers.
    var channels: [Channel] = []
    /// Buffers that have an owner, by address.
    var live: [DMABacking] = []
    /// Buffers whose owner ended, each with what must be retired first.
    var limbo: [Limbo] = []
    /// Memory that the device may reach for ever, because removing its mapping failed.
    var quarantine: [DMABacking] = []
    var mappedBytes: UInt64 = 0
  }

  private struct Channel {
    let progress: ChannelProgress
    /// Ends what is done on behalf of an owner who does not look.
    let reap: @Sendable () -> Void
  }

  private struct Limbo {
    let backing: DMABacking
    var marks: [Mark]
  }

  /// How far a channel must be before what was written for it by then is untouched.
  struct Mark: Sendable {
    let channel: ChannelProgress
    private var mark: ChannelProgress.Mark

    /// Nil when the channel is that far.
    init?(_ channel: ChannelProgress) {
      guard let mark = channel.mark else { return nil }
      self.channel = channel
      self.mark = mark
    }
    fileprivate mutating func isPassed() -> Bool { channel.hasPassed(&mark) }
  }

  /// The address space of `transport`, cut at the engine's `addressWidth` in bits.
  public init(_ transport: any DeviceTransport, addressWidth: Int, logger: Logger) {
    self.transport = transport
    self.logger = logger
    pageSize = max(4096, transport.iovaPageSize)
    let limit = addressWidth >= 64 ? UInt64.max : (1 << UInt64(max(12, addressWidth))) - 1
    state = Mutex(
      State(
        allocator: IOVAAllocator(ranges: transport.iovaRanges, limit: limit, page: pageSize)))
  }

  /// Bytes that the device can reach now.
  public var mappedBytes: UInt64 { state.withLock { $0.mappedBytes } }

  /// Makes a buffer of at least `byteCount` bytes (1 or more), zeroed, on the device's NUMA node
  /// where that is known.
  ///
  /// - Throws: `VFIOError.iovaExhausted`, `.lockedMemoryLimit`, `.system` and what the transport's
  ///   `mapDMA` throws.
  public func allocate(
    byteCount: Int, pages: DMAPageSize = .base, permissions: DMAPermissions = .readWrite
  ) throws(VFIOError) -> DMABuffer {
    guard byteCount > 0 else {
      throw .invalidMapping(
        device: transport.name, iova: 0, size: 0, reason: "A buffer has at least one byte.")
    }
    if pages == .huge2MiB {
      do throws(VFIOError) {
        return try allocate(byteCount, granularity: 2 << 20, huge: true, permissions)
      } catch {
        logger.info("no huge pages, using small ones", metadata: ["reason": "\(error.why)"])
      }
    }
    return try allocate(byteCount, granularity: pageSize, huge: false, permissions)
  }

  private func allocate(
    _ byteCount: Int, granularity: UInt64, huge: Bool, _ permissions: DMAPermissions
  ) throws(VFIOError) -> DMABuffer {
    sweep()
    let (padded, overflow) = UInt64(byteCount).addingReportingOverflow(granularity - 1)
    let size = padded / granularity * granularity
    // The device may use its own large pages only where both addresses agree modulo 2 MiB.
    let alignment: UInt64 = size >= 2 << 20 ? 2 << 20 : pageSize
    let reserved =
      overflow
      ? nil : state.withLock { $0.allocator.allocate(size: size, alignment: alignment) }
    guard let iova = reserved else {
      throw .iovaExhausted(device: transport.name, size: UInt64(byteCount))
    }
    do throws(VFIOError) {
      let backing: DMABacking
      do throws(SystemCallError) {
        backing = try DMABacking(
          size: size, iova: iova, isHuge: huge, numaNode: transport.numaNode)
      } catch {
        throw VFIOError.system(device: transport.name, error: error)
      }
      try transport.mapDMA(backing.region, at: iova, permissions: permissions)
      state.withLock { state in
        state.mappedBytes += size
        let place = state.live.firstIndex { $0.iova > iova } ?? state.live.endIndex
        state.live.insert(backing, at: place)
      }
      return DMABuffer(backing: backing, space: self, byteCount: byteCount)
    } catch {
      state.withLock { $0.allocator.free(iova, size: size) }
      throw error
    }
  }

  // MARK: - What is in flight keeps its memory

  /// Counts a channel's descriptors from now on.
  ///
  /// `reap` ends what is done when the channel's owner may not be looking.
  package func attach(
    _ channel: ChannelProgress, reap: @escaping @Sendable () -> Void = {}
  ) {
    state.withLock { $0.channels.append(Channel(progress: channel, reap: reap)) }
  }

  /// The channel's engine is stopped for good and touches nothing any more.
  package func detach(_ channel: ChannelProgress) {
    // Marks are also in pools, and in the hands of whoever took them a moment ago.
    channel.detach()
    state.withLock { state in
      state.channels.removeAll { $0.progress === channel }
      for index in state.limbo.indices {
        state.limbo[index].marks.removeAll { $0.channel === channel }
      }
    }
    sweep()
  }

  /// Where every channel must be before what is enqueued now is done.
  func marks() -> [Mark] {
    state.withLock { $0.channels.compactMap { Mark($0.progress) } }
  }

  /// Waits until no engine works on what was submitted so far; false when `deadline` passes first.
  func settle(until deadline: Deadline) -> Bool {
    let waiting = state.withLock { state in
      state.channels.map { channel in
        (channel.reap, channel.progress, channel.progress.submittedPosition)
      }
    }
    return deadline.poll { () throws(Never) in
      for (reap, progress, position) in waiting where !progress.hasRetired(position) { reap() }
      return waiting.allSatisfy { $0.1.hasRetired($0.2) }
    }
  }

  /// Reserves addresses for memory that is not this object's.
  func reserve(_ size: UInt64) throws(VFIOError) -> UInt64 {
    guard
      let iova = state.withLock({ $0.allocator.allocate(size: size, alignment: pageSize) })
    else { throw .iovaExhausted(device: transport.name, size: size) }
    return iova
  }

  /// Takes reserved addresses back.
  func release(_ iova: UInt64, size: UInt64) {
    state.withLock { $0.allocator.free(iova, size: size) }
  }

  /// The smallest piece that can be mapped, in bytes.
  var granularity: UInt64 { pageSize }

  /// The buffer that `slice` lies in, nil when none does.
  ///
  /// Whoever holds the answer keeps the memory.
  func backing(of slice: DMASlice) -> DMABacking? {
    state.withLock { state in
      var (low, high) = (0, state.live.count)
      while low < high {
        let middle = (low + high) / 2
        if state.live[middle].iova <= slice.iova { low = middle + 1 } else { high = middle }
      }
      guard low > 0 else { return nil }
      let candidate = state.live[low - 1]
      let offset = slice.iova - candidate.iova
      return offset <= candidate.size && UInt64(slice.count) <= candidate.size - offset
        ? candidate : nil
    }
  }

  /// Takes a buffer whose owner ended.
  func retire(_ backing: DMABacking) {
    let marks = marks()
    state.withLock { state in
      state.live.removeAll { $0 === backing }
      state.limbo.append(Limbo(backing: backing, marks: marks))
    }
    sweep()
  }

  /// Unmaps every buffer in limbo that all channels have passed.
  package func sweep() {
    let passed = state.withLock { state -> [DMABacking] in
      guard !state.limbo.isEmpty else { return [] }
      var passed: [DMABacking] = []
      var waiting: [Limbo] = []
      for var entry in state.limbo {
        if entry.marks.allPassed() { passed.append(entry.backing) } else { waiting.append(entry) }
      }
      state.limbo = waiting
      return passed
    }
    for backing in passed { unmap(backing) }
  }

  private func unmap(_ backing: DMABacking) {
    do throws(VFIOError) {
      try transport.unmapDMA(iova: backing.iova, size: backing.size)
      state.withLock { state in
        state.allocator.free(backing.iova, size: backing.size)
        state.mappedBytes -= backing.size
      }
    } catch .disconnected, .deviceGone {
      // Nobody is left who could touch the memory; the address is not needed any more either.
      state.withLock { $0.mappedBytes -= backing.size }
    } catch {
      logger.error(
        "memory stays mapped for the device and is never reused",
        metadata: ["iova": "\(hex(backing.iova))", "reason": "\(error)"])
      state.withLock { $0.quarantine.append(backing) }
    }
  }
}

extension [DMAAddressSpace.Mark] {
  /// Whether every channel is that far; forgets those that are.
  mutating func allPassed() -> Bool {
    for index in indices.reversed() where self[index].isPassed() { remove(at: index) }
    return isEmpty
  }
}

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
  private let logger: Logger
  private let state: Mutex<State>
  private let pageSize: UInt64

  private struct State {
    var allocator: IOVAAllocator
    /// Channels whose engine may touch buffers.
    var channels: [ChannelProgress] = []
    /// Buffers whose owner ended, each with what must be retired first.
    var limbo: [Limbo] = []
    /// Memory that the device may reach for ever, because removing its mapping failed.
    var quarantine: [DMABacking] = []
    var mappedBytes: UInt64 = 0
  }

  private struct Limbo {
    let backing: DMABacking
    var marks: [(channel: ChannelProgress, position: UInt32)]
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
      state.withLock { $0.mappedBytes += size }
      return DMABuffer(backing: backing, space: self, byteCount: byteCount)
    } catch {
      state.withLock { $0.allocator.free(iova, size: size) }
      throw error
    }
  }

  // MARK: - What is in flight keeps its memory

  /// Counts a channel's descriptors from now on.
  package func attach(_ channel: ChannelProgress) {
    state.withLock { $0.channels.append(channel) }
  }

  /// The channel's engine is stopped for good and touches nothing any more.
  package func detach(_ channel: ChannelProgress) {
    state.withLock { state in
      state.channels.removeAll { $0 === channel }
      for index in state.limbo.indices {
        state.limbo[index].marks.removeAll { $0.channel === channel }
      }
    }
    sweep()
  }

  /// Takes a buffer whose owner ended.
  func retire(_ backing: DMABacking) {
    state.withLock { state in
      let marks = state.channels.compactMap { channel in
        channel.isIdle ? nil : (channel: channel, position: channel.enqueuedPosition)
      }
      state.limbo.append(Limbo(backing: backing, marks: marks))
    }
    sweep()
  }

  /// Unmaps every buffer in limbo that all channels have passed.
  package func sweep() {
    let passed = state.withLock { state -> [DMABacking] in
      guard !state.limbo.isEmpty else { return [] }
      var passed: [DMABacking] = []
      state.limbo.removeAll { entry in
        guard entry.marks.allSatisfy({ $0.channel.hasRetired($0.position) }) else { return false }
        passed.append(entry.backing)
        return true
      }
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

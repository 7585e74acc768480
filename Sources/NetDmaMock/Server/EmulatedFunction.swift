// SPDX-License-Identifier: Apache-2.0

import NetDmaVFIO
import Synchronization

/// One emulated PCI function as a vfio-user server shows it: the model behind BAR0, configuration
/// space, and the client's memory and interrupts.
final class EmulatedFunction: Sendable {
  let memory: ClientMemory
  let interrupts: ServerInterrupts
  let model: IOATModel
  private let configuration: Mutex<MockConfigurationSpace>

  static let bar0Size = UInt64(IOATModel.windowSize)
  static let configurationSize: UInt64 = 4096
  private static let channelErrorInt = 0x180

  init(_ configuration: ModelConfiguration) throws(SystemCallError) {
    memory = ClientMemory()
    interrupts = ServerInterrupts(vectors: configuration.vectorCount)
    model = try IOATModel(configuration: configuration, memory: memory, interrupts: interrupts)
    model.isBusMaster = false
    self.configuration = Mutex(MockConfigurationSpace(model.configuration))
  }

  deinit { model.stop() }

  // MARK: - Regions

  func size(of region: RegionIndex) -> UInt64 {
    switch region {
    case .bar0: Self.bar0Size
    case .configuration: Self.configurationSize
    default: 0
    }
  }

  /// Bytes of a region; the caller has checked that they lie inside.
  func read(_ region: RegionIndex, at offset: Int, count: Int) -> [UInt8] {
    var bytes: [UInt8] = []
    bytes.reserveCapacity(count)
    forEachAccess(offset, count) { position, width in
      let value = region == .bar0 ? readBAR(position, width) : readConfiguration(position, width)
      for index in 0..<width {
        bytes.append(UInt8(truncatingIfNeeded: value >> UInt64(8 * index)))
      }
    }
    return bytes
  }

  /// Writes bytes of a region; the caller has checked that they lie inside.
  func write(_ region: RegionIndex, at offset: Int, _ bytes: [UInt8]) {
    forEachAccess(offset, bytes.count) { position, width in
      var value: UInt64 = 0
      for index in (0..<width).reversed() {
        value = value << 8 | UInt64(bytes[position - offset + index])
      }
      if region == .bar0 {
        model.writeRegister(position, width: width, value: value)
      } else {
        writeConfiguration(position, width, value)
      }
    }
  }

  /// Cuts a range into the widest naturally aligned accesses of at most 8 bytes.
  private func forEachAccess(_ offset: Int, _ count: Int, _ body: (Int, Int) -> Void) {
    var position = offset
    let end = offset + count
    while position < end {
      var width = 8
      while position % width != 0 || position + width > end { width /= 2 }
      body(position, width)
      position += width
    }
  }

  private func readBAR(_ offset: Int, _ width: Int) -> UInt64 {
    let pending = model.configuration.msixPendingOffset
    if offset >= pending, offset < pending + 8 {
      return interrupts.pendingBits >> UInt64(8 * (offset - pending))
    }
    return model.readRegister(offset, width: width)
  }

  private func readConfiguration(_ offset: Int, _ width: Int) -> UInt64 {
    if offset & ~3 == Self.channelErrorInt {
      return UInt64(model.channelErrorInt) >> UInt64(8 * (offset & 3))
    }
    return configuration.withLock { $0.read(offset, width: width) }
  }

  private func writeConfiguration(_ offset: Int, _ width: Int, _ value: UInt64) {
    if offset & ~3 == Self.channelErrorInt {
      return model.clearChannelErrorInt(
        UInt32(truncatingIfNeeded: value << UInt64(8 * (offset & 3))))
    }
    let (isBusMaster, wantsReset) = configuration.withLock { configuration in
      configuration.write(offset, width: width, value: value)
      return (configuration.isBusMaster, configuration.takeResetRequest())
    }
    if wantsReset { return reset() }
    model.isBusMaster = isBusMaster
    interrupts.setBusMaster(isBusMaster)
  }

  // MARK: - Life

  /// Function-level reset: registers and configuration as after power-on; memory and eventfds stay.
  func reset() {
    model.reset()
    interrupts.reset()
    configuration.withLock { $0 = MockConfigurationSpace(model.configuration) }
    model.isBusMaster = false
  }

  /// The client is gone: nothing of it is touched afterwards.
  func disconnect() {
    interrupts.closeAll()
    reset()
    memory.removeAll()
    memory.setRemote(nil)
  }
}

// SPDX-License-Identifier: Apache-2.0

public import NetDmaVFIO
import Synchronization
import SystemPackage

/// The device model in this process, behind the seam that every driver layer uses.
///
/// What VFIO would do between a driver and a device happens here: DMA mappings are a table over this
/// process's memory, interrupts go to eventfds, configuration space is partly the host's. A reset of
/// the function works.
public final class MockTransport: DeviceTransport {
  /// Any label; errors call the device so.
  public let name: String
  /// Always `.mock`.
  public let kind = TransportKind.mock
  /// The model always can.
  public let supportsReset = true
  /// Memory of this process has no node of its own.
  public let numaNode: Int? = nil
  /// The granularity of mappings, 4 KiB.
  public let iovaPageSize: UInt64 = 4096
  /// What the usual IOMMU maps: everything but the window of interrupt messages.
  public let iovaRanges: [ClosedRange<UInt64>] = [
    0...0xfedf_ffff, 0xfef0_0000...0xffff_ffff_ffff,
  ]
  /// The model behind the seam, for faults and figures.
  public let model: IOATModel

  private let memory = LocalMemory()
  private let interrupts = MockInterrupts()
  private let configuration: Mutex<MockConfigurationSpace>
  private let resetsToFail = Mutex(0)
  private let isAsleep = Atomic<Bool>(false)
  private let sleepingAccesses = Atomic<UInt64>(0)

  /// A function that was just powered on: no bus mastering, no memory, no interrupt.
  ///
  /// - Throws: `VFIOError.system` when the kernel refuses a thread or an eventfd.
  public init(
    configuration: ModelConfiguration = ModelConfiguration(timing: .fast), name: String = "mock"
  ) throws(VFIOError) {
    self.name = name
    do throws(SystemCallError) {
      model = try IOATModel(configuration: configuration, memory: memory, interrupts: interrupts)
    } catch {
      throw .system(device: name, error: error)
    }
    model.isBusMaster = false
    self.configuration = Mutex(MockConfigurationSpace(model.configuration))
  }

  deinit { model.stop() }

  // MARK: - Regions

  private static let configurationSize: UInt64 = 4096

  /// BAR0 and configuration space exist; neither can be mapped.
  public func regionInfo(_ region: RegionIndex) throws(VFIOError) -> RegionInfo {
    let size: UInt64 =
      switch region {
      case .bar0: UInt64(IOATModel.windowSize)
      case .configuration: Self.configurationSize
      default: 0
      }
    return RegionInfo(size: size, isReadable: size > 0, isWritable: size > 0)
  }

  private func check(
    _ region: RegionIndex, _ offset: UInt64, _ width: AccessWidth
  ) throws(VFIOError) {
    let size = try regionInfo(region).size
    let count = UInt64(width.rawValue)
    guard size >= count, offset <= size - count, offset % count == 0 else {
      throw .invalidAccess(
        device: name, region: region.rawValue, offset: offset, width: width.rawValue)
    }
  }

  /// Reads a register of the model or of configuration space.
  public func read(
    _ region: RegionIndex, at offset: UInt64, width: AccessWidth
  ) throws(VFIOError) -> UInt64 {
    try check(region, offset, width)
    if region == .bar0 {
      if isAsleep.load(ordering: .acquiring) {
        sleepingAccesses.wrappingAdd(1, ordering: .relaxed)
        return .max >> UInt64(64 - 8 * width.rawValue)
      }
      return model.readRegister(Int(offset), width: width.rawValue)
    }
    if model.faults.isRemoved { return .max >> UInt64(64 - 8 * width.rawValue) }
    if offset & ~3 == Self.channelErrorInt {
      return UInt64(model.channelErrorInt) >> (8 * (offset & 3))
        & .max >> UInt64(64 - 8 * width.rawValue)
    }
    return configuration.withLock { $0.read(Int(offset), width: width.rawValue) }
  }

  /// CHANERR_INT in configuration space.
  private static let channelErrorInt: UInt64 = 0x180

  /// Writes a register of the model or of configuration space.
  public func write(
    _ region: RegionIndex, at offset: UInt64, width: AccessWidth, value: UInt64
  ) throws(VFIOError) {
    try check(region, offset, width)
    if region == .bar0 {
      if isAsleep.load(ordering: .acquiring) {
        sleepingAccesses.wrappingAdd(1, ordering: .relaxed)
        return
      }
      return model.writeRegister(Int(offset), width: width.rawValue, value: value)
    }
    if model.faults.isRemoved { return }
    if offset & ~3 == Self.channelErrorInt {
      return model.clearChannelErrorInt(UInt32(truncatingIfNeeded: value << (8 * (offset & 3))))
    }
    let (isBusMaster, sleeps) = configuration.withLock { configuration in
      configuration.write(Int(offset), width: width.rawValue, value: value)
      return (configuration.isBusMaster, configuration.isAsleep)
    }
    if sleeps != isAsleep.exchange(sleeps, ordering: .acquiringAndReleasing) {
      // Registers are lost, and a sleeping function does nothing.
      model.reset()
    }
    model.isBusMaster = isBusMaster && !sleeps
    interrupts.setBusMaster(isBusMaster)
  }

  /// Nothing can be mapped: register accesses have side effects.
  public func map(
    _ region: RegionIndex, range: Range<UInt64>
  ) throws(VFIOError) -> MemoryMapping {
    throw .missingFeature(device: name, feature: "mappable region \(region.rawValue)")
  }

  /// Register accesses while the function was in D3hot, which some hosts answer with a bus error.
  public var accessesWithoutPower: UInt64 { sleepingAccesses.load(ordering: .relaxed) }

  // MARK: - Memory

  /// Makes memory of this process visible to the model's engines.
  public func mapDMA(
    _ memory: DMARegion, at iova: UInt64, permissions: DMAPermissions
  ) throws(VFIOError) {
    let size = memory.size
    let (last, overflow) = iova.addingReportingOverflow(size &- 1)
    guard size > 0, !overflow, (iova | size | UInt64(memory.address)) % iovaPageSize == 0 else {
      throw .invalidMapping(
        device: name, iova: iova, size: size,
        reason: "Address, size and memory must be multiples of \(iovaPageSize).")
    }
    guard iovaRanges.contains(where: { $0.contains(iova) && $0.contains(last) }) else {
      throw .invalidMapping(
        device: name, iova: iova, size: size, reason: "The range is outside what can be mapped.")
    }
    guard let pointer = unsafe UnsafeMutableRawPointer(bitPattern: memory.address) else {
      throw .invalidMapping(
        device: name, iova: iova, size: size, reason: "There is no memory at 0.")
    }
    do throws(LocalMemoryError) {
      // The caller keeps the memory mapped until unmapDMA has returned.
      try unsafe self.memory.map(
        iova: iova, size: size, pointer: pointer, isReadable: permissions.contains(.read),
        isWritable: permissions.contains(.write))
    } catch {
      throw .mappingOverlaps(device: name, iova: iova, size: size)
    }
  }

  /// Removes exactly one mapping, after the accesses under way.
  public func unmapDMA(iova: UInt64, size: UInt64) throws(VFIOError) {
    do throws(LocalMemoryError) {
      try memory.unmap(iova: iova, size: size)
    } catch {
      throw .unmapMismatch(device: name, iova: iova, expected: size, unmapped: 0)
    }
  }

  // MARK: - Interrupts

  /// MSI-X vectors as configured; one of each other kind.
  public func interruptCount(_ index: IRQIndex) throws(VFIOError) -> Int {
    index == .msix ? model.configuration.vectorCount : 1
  }

  /// Connects vectors; replaces what was connected.
  public func enableInterrupts(_ index: IRQIndex, eventFDs: [CInt]) throws(VFIOError) {
    let count = try interruptCount(index)
    guard eventFDs.count <= count else {
      throw .missingFeature(device: name, feature: "\(eventFDs.count) vectors (it has \(count))")
    }
    interrupts.connect(index, eventFDs)
  }

  /// Disconnects all vectors of the index.
  public func disableInterrupts(_ index: IRQIndex) throws(VFIOError) {
    interrupts.connect(index, [])
  }

  /// Signals the eventfd of a vector from here.
  public func triggerInterrupt(_ index: IRQIndex, vector: Int) throws(VFIOError) {
    guard interrupts.trigger(index, vector: vector) else {
      throw .missingFeature(device: name, feature: "connected interrupt vector \(vector)")
    }
  }

  // MARK: - Reset, and what befalls a device

  /// Function-level reset: registers, interrupts and COMMAND as after power-on; mappings stay.
  public func reset() throws(VFIOError) {
    let fails = resetsToFail.withLock { left in
      guard left > 0 else { return false }
      left -= 1
      return true
    }
    if fails {
      throw .system(
        device: name,
        error: SystemCallError(call: "VFIO_DEVICE_RESET", subject: name, errno: .timedOut))
    }
    if model.faults.isRemoved { throw .deviceGone(device: name) }
    interrupts.reset()
    model.isBusMaster = false
    model.reset()
    configuration.withLock { $0 = MockConfigurationSpace(model.configuration) }
    isAsleep.store(false, ordering: .releasing)
  }

  /// Makes the next `count` resets fail with ETIMEDOUT.
  public func failNextResets(_ count: Int) { resetsToFail.withLock { $0 = max(0, count) } }

  /// The host wants the device back: signals the request notifier (IRQ index 4) if it is connected.
  public func simulateRemovalRequest() { _ = interrupts.trigger(.request, vector: 0) }

  /// An uncorrectable bus error: signals the error notifier (IRQ index 3) if it is connected.
  public func simulateFatalError() { _ = interrupts.trigger(.error, vector: 0) }
}

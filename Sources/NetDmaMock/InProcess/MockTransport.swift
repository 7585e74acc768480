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
  public var model: IOATModel { function.model }
  /// What the function is.
  public var profile: DeviceProfile { function.profile }

  /// Register accesses while the function decoded none, as in D3hot; some hosts answer such ones with
  /// a bus error.
  public var accessesWithoutPower: UInt64 { function.undecodedAccesses }

  private let memory = LocalMemory()
  private let function: PCIFunction
  private let resetsToFail = Mutex(0)

  /// A function that was just powered on and opened: it decodes memory as under VFIO, and has no
  /// bus mastering, no memory, no interrupt.
  ///
  /// - Throws: `VFIOError.system` when the kernel refuses a thread or an eventfd.
  public convenience init(profile: DeviceProfile, name: String = "mock") throws(VFIOError) {
    try self.init(profile: profile, name: name) { $0 }
  }

  /// A function whose engines see memory through what `wrap` makes of it: tests put mistakes there.
  ///
  /// - Throws: `VFIOError.system` when the kernel refuses a thread or an eventfd.
  package init(
    profile: DeviceProfile, name: String, wrappingMemory wrap: (any BusMemory) -> any BusMemory
  ) throws(VFIOError) {
    self.name = name
    let memory = memory
    do throws(SystemCallError) {
      function = try PCIFunction(profile, memory: wrap(memory), tableOwner: .host)
    } catch {
      throw .system(device: name, error: error)
    }
  }

  /// A function around an engine that is described by hand.
  ///
  /// - Throws: `VFIOError.system` when the kernel refuses a thread or an eventfd.
  public convenience init(
    configuration: ModelConfiguration = ModelConfiguration(timing: .fast), name: String = "mock"
  ) throws(VFIOError) {
    try self.init(profile: DeviceProfile(model: configuration), name: name)
  }

  deinit { model.stop() }

  // MARK: - Regions

  /// BAR0 and configuration space exist; neither can be mapped.
  public func regionInfo(_ region: RegionIndex) throws(VFIOError) -> RegionInfo {
    let size = function.size(of: region)
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
    return function.read(region, at: Int(offset), width: width.rawValue)
  }

  /// Writes a register of the model or of configuration space.
  public func write(
    _ region: RegionIndex, at offset: UInt64, width: AccessWidth, value: UInt64
  ) throws(VFIOError) {
    try check(region, offset, width)
    function.write(region, at: Int(offset), width: width.rawValue, value: value)
  }

  /// Nothing can be mapped: register accesses have side effects.
  public func map(
    _ region: RegionIndex, range: Range<UInt64>
  ) throws(VFIOError) -> MemoryMapping {
    throw .missingFeature(device: name, feature: "mappable region \(region.rawValue)")
  }

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

  /// Vectors of an index, as the profile has them; 0 for a kind of interrupt that it lacks.
  public func interruptCount(_ index: IRQIndex) throws(VFIOError) -> Int {
    function.interruptCount(index)
  }

  /// Connects vectors; replaces what was connected, and enables the index as the kernel does.
  ///
  /// The caller keeps the eventfds open until they are replaced or disconnected.
  public func enableInterrupts(_ index: IRQIndex, eventFDs: [CInt]) throws(VFIOError) {
    let count = function.interruptCount(index)
    guard eventFDs.count <= count else {
      throw .missingFeature(device: name, feature: "\(eventFDs.count) vectors (it has \(count))")
    }
    if eventFDs.isEmpty { return function.disconnect(index) }
    function.connect(
      index,
      (0..<count).map { vector in
        guard eventFDs.indices.contains(vector), eventFDs[vector] >= 0 else { return nil }
        return InterruptTarget(borrowing: eventFDs[vector])
      })
  }

  /// Disconnects all vectors of the index.
  public func disableInterrupts(_ index: IRQIndex) throws(VFIOError) {
    function.disconnect(index)
  }

  /// Unmasks the pin, which VFIO masks with every interrupt of it; a level that is still high fires
  /// again.
  public func unmaskPin() { function.setPinMask(false) }

  /// Signals the eventfd of a vector from here.
  public func triggerInterrupt(_ index: IRQIndex, vector: Int) throws(VFIOError) {
    guard function.trigger(index, vector: vector) else {
      throw .missingFeature(device: name, feature: "connected interrupt vector \(vector)")
    }
  }

  // MARK: - Reset, and what befalls a device

  /// Function-level reset: registers, interrupts and bus mastering as after power-on; memory is
  /// decoded if it was, and mappings stay.
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
    function.resetByHost(disconnecting: true)
  }

  /// Makes the next `count` resets fail with ETIMEDOUT.
  public func failNextResets(_ count: Int) { resetsToFail.withLock { $0 = max(0, count) } }

  /// The host wants the device back: signals the request notifier (IRQ index 4) if it is connected.
  public func simulateRemovalRequest() { _ = function.trigger(.request, vector: 0) }

  /// An uncorrectable bus error: signals the error notifier (IRQ index 3) if it is connected.
  public func simulateFatalError() { _ = function.trigger(.error, vector: 0) }
}

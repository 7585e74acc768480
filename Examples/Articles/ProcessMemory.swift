// SPDX-License-Identifier: Apache-2.0

// Article "Writing a provider": what an engine without a bus sees of this process.
import NetDmaVFIO
import Synchronization

/// The device's addresses, each with the memory of this process behind it.
///
/// It stands where VFIO and an IOMMU stand for hardware: what is not mapped cannot be reached.
final class ProcessMemory: DeviceTransport {
  private struct Window {
    let iova: UInt64
    let address: UInt
    let size: UInt64
  }
  private let windows = Synchronization.Mutex<[Window]>([])

  let name = "software"
  let kind = TransportKind.mock
  let supportsReset = false
  let numaNode: Int? = nil
  let iovaRanges: [ClosedRange<UInt64>] = [0x1000...1 << 48 - 1]
  let iovaPageSize: UInt64 = 4096

  func mapDMA(
    _ memory: DMARegion, at iova: UInt64, permissions: DMAPermissions
  ) throws(VFIOError) {
    windows.withLock {
      $0.append(Window(iova: iova, address: memory.address, size: memory.size))
    }
  }

  func unmapDMA(iova: UInt64, size: UInt64) throws(VFIOError) {
    windows.withLock { $0.removeAll { $0.iova == iova } }
  }

  /// The memory behind `count` bytes of the device's addresses, nil when not all of it is mapped.
  private func pointer(_ iova: UInt64, _ count: Int) -> UnsafeMutableRawPointer? {
    windows.withLock { windows in
      let window = windows.first {
        $0.iova <= iova && iova - $0.iova <= $0.size && UInt64(count) <= $0.size - (iova - $0.iova)
      }
      return window.flatMap {
        UnsafeMutableRawPointer(bitPattern: $0.address + UInt(iova - $0.iova))
      }
    }
  }

  func load(_ descriptor: UInt64) -> DmaDescriptor? {
    pointer(descriptor, 64)?.load(as: DmaDescriptor.self)
  }

  func copy(from source: UInt64, to target: UInt64, count: Int) -> Bool {
    guard let from = pointer(source, count), let to = pointer(target, count) else { return false }
    to.copyMemory(from: from, byteCount: count)
    return true
  }

  /// Reports how far the engine is.
  ///
  /// A plain store, for the client polls on the thread that submitted. An engine with a thread of its
  /// own needs a store with release.
  func store(_ word: UInt64, _ channel: SoftwareChannel) {
    pointer(channel.completionAddress, 8)?.storeBytes(of: word, as: UInt64.self)
  }

  // There are no registers, no interrupts and no reset.
  func regionInfo(_ region: RegionIndex) -> RegionInfo {
    RegionInfo(size: 0, isReadable: false, isWritable: false)
  }
  func read(
    _ region: RegionIndex, at offset: UInt64, width: AccessWidth
  ) throws(VFIOError) -> UInt64 {
    throw .missingFeature(device: name, feature: "registers")
  }
  func write(
    _ region: RegionIndex, at offset: UInt64, width: AccessWidth, value: UInt64
  ) throws(VFIOError) {
    throw .missingFeature(device: name, feature: "registers")
  }
  func map(_ region: RegionIndex, range: Range<UInt64>) throws(VFIOError) -> MemoryMapping {
    throw .missingFeature(device: name, feature: "registers")
  }
  func interruptCount(_ index: IRQIndex) -> Int { 0 }
  func enableInterrupts(_ index: IRQIndex, eventFDs: [CInt]) throws(VFIOError) {
    throw .missingFeature(device: name, feature: "interrupts")
  }
  func disableInterrupts(_ index: IRQIndex) {}
  func triggerInterrupt(_ index: IRQIndex, vector: Int) throws(VFIOError) {
    throw .missingFeature(device: name, feature: "interrupts")
  }
  func reset() throws(VFIOError) { throw .missingFeature(device: name, feature: "reset") }
}

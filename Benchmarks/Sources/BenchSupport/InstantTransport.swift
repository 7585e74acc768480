// SPDX-License-Identifier: Apache-2.0

package import CFloor
import Glibc
package import NetDmaVFIO
import Synchronization

/// A transport to an engine that takes no time: BAR0 is plain memory that the driver maps, and
/// descriptors are "done" when somebody stores the completion word.
///
/// While channels are opened and closed a thread answers for the engine (resets, first descriptor,
/// whatever is outstanding). During a measurement it is stopped, and the measuring loop completes
/// through `device(of:)`.
///
/// With `Doorbells.byMessage` BAR0 cannot be mapped, and the engine completes within the call that
/// writes DMACOUNT: for measurements that have no loop of their own to do it in.
package final class InstantTransport: DeviceTransport, @unchecked Sendable {
  // @unchecked: `page` is constant and names registers, which any thread may store to; `devices` is
  // written before `completesInline` is set, and read while it is.
  package let name = "instant"
  package let kind = TransportKind.mock
  package let supportsReset = false
  package let numaNode: Int? = nil
  package let iovaRanges: [ClosedRange<UInt64>] = [0x10_0000...0xfedf_ffff]
  package let iovaPageSize: UInt64 = 4096

  /// How the driver reaches DMACOUNT.
  package enum Doorbells: Sendable {
    case mapped
    case byMessage
  }

  private let channelCount: Int
  private let doorbells: Doorbells
  private let file: CInt
  private let page: UnsafeMutableRawPointer
  /// Where the driver mapped the registers, last.
  private let driverPage = Mutex<UInt?>(nil)
  private let mappings = Mutex<[(iova: UInt64, size: UInt64, address: UInt)]>([])
  private let configuration = Mutex([UInt8](repeating: 0, count: 256))
  private let vectors = Mutex<[CInt]>([])
  private let isStopping = Atomic<Bool>(false)
  private let responder = Mutex<PinnedThread?>(nil)
  /// The channels that complete within the call that writes DMACOUNT.
  private let devices: UnsafeMutablePointer<instant_device?>
  private let completesInline = Atomic<Bool>(false)

  /// An engine with `channelCount` channels, 1 to 31; the thread answers for it.
  package init(channelCount: Int = 1, doorbells: Doorbells = .mapped) throws(BenchError) {
    self.channelCount = channelCount
    self.doorbells = doorbells
    file = bench_memfd(UInt64(Self.barSize))
    guard file >= 0,
      let page = mmap(nil, Self.barSize, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0),
      page != UnsafeMutableRawPointer(bitPattern: -1)
    else { throw BenchError("no memory for the registers: errno \(errno)") }
    self.page = page
    devices = .allocate(capacity: channelCount)
    devices.initialize(repeating: nil, count: channelCount)
    configuration.withLock { bytes in
      bytes.replaceSubrange(0..<4, with: [0x86, 0x80, 0x20, 0x6f])
      bytes.replaceSubrange(8..<12, with: [0, 0, 0x80, 0x08])
    }
    page.storeBytes(of: UInt8(channelCount), toByteOffset: 0x00, as: UInt8.self)
    page.storeBytes(of: 20, toByteOffset: 0x01, as: UInt8.self)
    page.storeBytes(of: 0x33, toByteOffset: 0x08, as: UInt8.self)
    for channel in 0..<channelCount {
      // HALTED for ever: nothing of it is asked for but after a failure.
      page.storeBytes(of: 3, toByteOffset: Self.window(channel) + 0x08, as: UInt64.self)
    }
    startResponding()
  }

  deinit {
    stopResponding()
    munmap(page, Self.barSize)
    devices.deallocate()
    close(file)
  }

  private static let barSize = 16384
  private static func window(_ channel: Int) -> Int { 0x80 * (channel + 1) }

  // MARK: - The engine

  /// Has the thread answer for the engine again; before channels are opened or closed.
  package func startResponding() {
    completesInline.store(false, ordering: .sequentiallyConsistent)
    isStopping.store(false, ordering: .sequentiallyConsistent)
    responder.withLock { responder in
      // Without a thread nothing answers, and the driver says so.
      responder = try? PinnedThread(name: "instant") { [weak self] _ in
        while self?.answer() == true { usleep(20) }
      }
    }
  }

  /// Takes commands and completes what was submitted on any channel; false when it is to stop.
  private func answer() -> Bool {
    for channel in 0..<channelCount {
      page.storeBytes(of: 0, toByteOffset: Self.window(channel) + 0x04, as: UInt8.self)
      guard var device = device(of: channel, at: page), device.doorbell.pointee != 0
      else { continue }
      instant_device_complete(&device)
    }
    return !isStopping.load(ordering: .sequentiallyConsistent)
  }

  /// Leaves the engine to the measuring loop, or to the calls that write DMACOUNT.
  package func stopResponding() {
    isStopping.store(true, ordering: .sequentiallyConsistent)
    let thread = responder.withLock { $0.take() }
    thread?.join()
    guard doorbells == .byMessage else { return }
    for channel in 0..<channelCount { devices[channel] = device(of: channel, at: page) }
    completesInline.store(true, ordering: .releasing)
  }

  /// The engine's end of a channel that was started, for as long as the driver has the registers mapped;
  /// nil before.
  ///
  /// It looks at the doorbell where the driver writes it. Through another mapping of the same page the
  /// store could not be forwarded to the load: the CPU would wait until it is in the cache, in every
  /// turn of the loop, which no floor does whose engine has the same pointer.
  package func device(of channel: Int) -> instant_device? {
    guard let address = driverPage.withLock({ $0 }),
      let page = UnsafeMutableRawPointer(bitPattern: address)
    else { return nil }
    return device(of: channel, at: page)
  }

  /// The engine's end of a channel, with its doorbell in `page`.
  ///
  /// Right for rings of a power of two of slots whose completion word follows them, which is how
  /// the driver lays them out: the ring's size is the distance of the two addresses.
  private func device(of channel: Int, at page: UnsafeMutableRawPointer) -> instant_device? {
    let window = self.page + Self.window(channel)
    let chain = window.load(fromByteOffset: 0x10, as: UInt64.self)
    let completion = window.load(fromByteOffset: 0x18, as: UInt64.self)
    guard chain != 0, completion > chain, let word = translate(completion) else { return nil }
    return instant_device(
      doorbell: (page + Self.window(channel) + 0x06).assumingMemoryBound(to: UInt16.self),
      completion: word.assumingMemoryBound(to: UInt64.self), ring: chain,
      mask: UInt32((completion - chain) / 64 - 1))
  }

  /// The eventfd of vector `channel`, -1 when it is not connected.
  package func eventFD(of channel: Int) -> CInt {
    vectors.withLock { channel < $0.count ? $0[channel] : -1 }
  }

  private func translate(_ iova: UInt64) -> UnsafeMutableRawPointer? {
    mappings.withLock { mappings in
      for mapping in mappings where iova >= mapping.iova && iova - mapping.iova < mapping.size {
        return UnsafeMutableRawPointer(bitPattern: mapping.address + UInt(iova - mapping.iova))
      }
      return nil
    }
  }

  // MARK: - The seam

  package func regionInfo(_ region: RegionIndex) -> RegionInfo {
    region == .bar0
      ? RegionInfo(
        size: UInt64(Self.barSize), isReadable: true, isWritable: true,
        mappableAreas: doorbells == .mapped ? [0..<4096] : [])
      : RegionInfo(size: region == .configuration ? 256 : 0, isReadable: true, isWritable: true)
  }

  package func read(
    _ region: RegionIndex, at offset: UInt64, width: AccessWidth
  ) throws(VFIOError) -> UInt64 {
    if region == .bar0 {
      return (0..<width.rawValue).reduce(0) { value, index in
        value | UInt64(page.load(fromByteOffset: Int(offset) + index, as: UInt8.self))
          << UInt64(8 * index)
      }
    }
    return configuration.withLock { bytes in
      (0..<width.rawValue).reduce(0) { value, index in
        value | UInt64(bytes[(Int(offset) + index) & 255]) << UInt64(8 * index)
      }
    }
  }

  package func write(
    _ region: RegionIndex, at offset: UInt64, width: AccessWidth, value: UInt64
  ) throws(VFIOError) {
    if region == .bar0 { return writeRegister(Int(offset), width, value) }
    configuration.withLock { bytes in
      for index in 0..<width.rawValue {
        bytes[(Int(offset) + index) & 255] = UInt8(truncatingIfNeeded: value >> UInt64(8 * index))
      }
    }
  }

  private func writeRegister(_ offset: Int, _ width: AccessWidth, _ value: UInt64) {
    switch width {
    case .byte:
      page.storeBytes(of: UInt8(truncatingIfNeeded: value), toByteOffset: offset, as: UInt8.self)
    case .word:
      page.storeBytes(of: UInt16(truncatingIfNeeded: value), toByteOffset: offset, as: UInt16.self)
    case .dword:
      page.storeBytes(of: UInt32(truncatingIfNeeded: value), toByteOffset: offset, as: UInt32.self)
    case .qword: page.storeBytes(of: value, toByteOffset: offset, as: UInt64.self)
    }
    // DMACOUNT?
    guard offset >= Self.window(0), offset % Self.window(0) == 0x06 else { return }
    let channel = offset / Self.window(0) - 1
    guard channel < channelCount, completesInline.load(ordering: .acquiring),
      var device = devices[channel]
    else { return }
    instant_device_complete(&device)
  }

  package func map(_ region: RegionIndex, range: Range<UInt64>) throws(VFIOError) -> MemoryMapping {
    do throws(SystemCallError) {
      let mapping = try MemoryMapping(
        fd: file, offset: range.lowerBound, count: range.count, subject: "registers")
      let page = UInt(bitPattern: mapping.address) - UInt(range.lowerBound)
      driverPage.withLock { $0 = page }
      return mapping
    } catch {
      throw .system(device: name, error: error)
    }
  }

  package func mapDMA(_ memory: DMARegion, at iova: UInt64, permissions: DMAPermissions) {
    mappings.withLock { $0.append((iova, memory.size, memory.address)) }
  }

  package func unmapDMA(iova: UInt64, size: UInt64) {
    mappings.withLock { $0.removeAll { $0.iova == iova } }
  }

  package func interruptCount(_ index: IRQIndex) -> Int { index == .msix ? channelCount : 0 }

  package func enableInterrupts(_ index: IRQIndex, eventFDs: [CInt]) {
    vectors.withLock { $0 = eventFDs }
  }

  package func disableInterrupts(_ index: IRQIndex) { vectors.withLock { $0 = [] } }

  package func triggerInterrupt(_ index: IRQIndex, vector: Int) {
    var one: UInt64 = 1
    _ = Glibc.write(eventFD(of: vector), &one, 8)
  }

  package func reset() throws(VFIOError) {
    throw .missingFeature(device: name, feature: "function reset")
  }
}

/// What went wrong in a benchmark, in words.
package struct BenchError: Error, CustomStringConvertible {
  package let description: String
  package init(_ description: String) { self.description = description }
}

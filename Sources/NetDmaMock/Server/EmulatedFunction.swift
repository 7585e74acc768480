// SPDX-License-Identifier: Apache-2.0

import NetDmaVFIO

/// One emulated PCI function as a vfio-user server shows it: the function, and the client's memory.
///
/// The client owns the MSI-X table and masks there (QEMU shows the server none of it), so an assigned
/// eventfd is an unmasked vector.
final class EmulatedFunction: Sendable {
  let memory: ClientMemory
  let pci: PCIFunction
  let signaller: EventSignaller
  var model: IOATModel { pci.model }
  private let doorbells = Mutex<DoorbellPage?>(nil)

  init(_ profile: DeviceProfile) throws(SystemCallError) {
    memory = ClientMemory()
    signaller = try EventSignaller()
    pci = try PCIFunction(profile, memory: memory, tableOwner: .client)
  }

  deinit { model.stop() }

  // MARK: - Regions

  /// Bytes of a region; the caller has checked that they lie inside.
  func read(_ region: RegionIndex, at offset: Int, count: Int) -> [UInt8] {
    var bytes: [UInt8] = []
    bytes.reserveCapacity(count)
    model.takeDoorbells()
    forEachAccess(offset, count) { position, width in
      let value =
        doorbell(region, position).map { $0.page.read($0.offset, width: width) }
        ?? pci.read(region, at: position, width: width)
      for index in 0..<width {
        bytes.append(UInt8(truncatingIfNeeded: value >> UInt64(8 * index)))
      }
    }
    return bytes
  }

  /// Writes bytes of a region; the caller has checked that they lie inside.
  func write(_ region: RegionIndex, at offset: Int, _ bytes: [UInt8]) {
    model.takeDoorbells()
    defer { model.mirrorCounts() }
    forEachAccess(offset, bytes.count) { position, width in
      var value: UInt64 = 0
      for index in (0..<width).reversed() {
        value = value << 8 | UInt64(bytes[position - offset + index])
      }
      if let (page, place) = doorbell(region, position) {
        page.write(place, width: width, value: value)
        model.takeDoorbells()
      } else {
        pci.write(region, at: position, width: width, value: value)
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

  // MARK: - Doorbells in memory

  /// The page in which the client may store DMACOUNT from now on, and until it disconnects.
  ///
  /// Each client gets one of its own: whoever was here before may still have his mapped.
  func openDoorbells() throws(SystemCallError) -> DoorbellPage {
    if let page = doorbells.withLock({ $0 }) { return page }
    let page = try DoorbellPage()
    doorbells.withLock { $0 = page }
    model.attach(page)
    return page
  }

  /// The page that an offset lies in, while there is one.
  private func doorbell(_ region: RegionIndex, _ offset: Int) -> (page: DoorbellPage, offset: Int)?
  {
    guard region == .bar0, offset >= DoorbellPage.offset,
      offset - DoorbellPage.offset < DoorbellPage.size, let page = doorbells.withLock({ $0 })
    else { return nil }
    return (page, offset - DoorbellPage.offset)
  }

  // MARK: - Life

  /// The client resets the function; memory and eventfds stay, as it does not send them again.
  func reset() {
    pci.resetByHost(disconnecting: false)
    model.mirrorCounts()
  }

  /// The client is gone: nothing of it is touched afterwards.
  func disconnect() {
    model.attach(nil)
    doorbells.withLock { $0 = nil }
    for index in IRQIndex.allCases { pci.disconnect(index) }
    pci.powerOn()
    memory.removeAll()
    memory.setRemote(nil)
  }
}

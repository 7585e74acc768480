// SPDX-License-Identifier: Apache-2.0

import NetDmaVFIO

/// One emulated PCI function as a vfio-user server shows it: the function, and the client's memory.
///
/// The client owns the MSI-X table and masks there (QEMU shows the server none of it), so an assigned
/// eventfd is an unmasked vector.
final class EmulatedFunction: Sendable {
  let memory: ClientMemory
  let pci: PCIFunction
  var model: IOATModel { pci.model }

  init(_ profile: DeviceProfile) throws(SystemCallError) {
    memory = ClientMemory()
    pci = try PCIFunction(profile, memory: memory, tableOwner: .client)
  }

  deinit { model.stop() }

  // MARK: - Regions

  /// Bytes of a region; the caller has checked that they lie inside.
  func read(_ region: RegionIndex, at offset: Int, count: Int) -> [UInt8] {
    var bytes: [UInt8] = []
    bytes.reserveCapacity(count)
    forEachAccess(offset, count) { position, width in
      let value = pci.read(region, at: position, width: width)
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
      pci.write(region, at: position, width: width, value: value)
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

  // MARK: - Life

  /// The client resets the function; memory and eventfds stay, as it does not send them again.
  func reset() { pci.resetByHost(disconnecting: false) }

  /// The client is gone: nothing of it is touched afterwards.
  func disconnect() {
    for index in IRQIndex.allCases { pci.disconnect(index) }
    pci.powerOn()
    memory.removeAll()
    memory.setRemote(nil)
  }
}

// SPDX-License-Identifier: Apache-2.0

import CNetDma
import Glibc
import Synchronization
import SystemPackage

extension VFIODevice {
  /// What VFIO_DEVICE_GET_IRQ_INFO says; nil when the index does not exist.
  private borrowing func interruptInfo(
    _ index: IRQIndex
  ) throws(VFIOError) -> (count: Int, takesEventFDs: Bool)? {
    guard index.rawValue < interruptIndexCount else { return nil }
    var info = vfio_irq_info()
    info.argsz = UInt32(MemoryLayout<vfio_irq_info>.size)
    info.index = index.rawValue
    do throws(SystemCallError) {
      try file.call(.getIRQInfo, &info)
    } catch {
      // As for the error notifier of a function without PCI Express.
      if error.errno.rawValue == EINVAL { return nil }
      throw failure(of: error)
    }
    // VFIO_IRQ_INFO_EVENTFD is bit 0.
    return (Int(info.count), info.flags & 1 != 0)
  }

  /// Vectors of an index, 0 when it has none.
  package borrowing func interruptCount(_ index: IRQIndex) throws(VFIOError) -> Int {
    try interruptInfo(index)?.count ?? 0
  }

  /// Connects vectors 0..<eventFDs.count; -1 leaves a hole.
  ///
  /// What was connected before is disconnected first: most kernels cannot add a vector to an index
  /// that is enabled (VFIO_IRQ_INFO_NORESIZE), and a shorter list would leave the rest connected.
  /// - Throws: `VFIOError.missingFeature` for more vectors than there are, `.vectorsExhausted` for more
  ///   than the host has free, `.system`; nothing is connected then.
  package borrowing func connect(
    _ index: IRQIndex, eventFDs: [CInt]
  ) throws(VFIOError) {
    guard !eventFDs.isEmpty else { return try disable(index) }
    let info = try interruptInfo(index)
    guard let info, info.takesEventFDs, info.count >= eventFDs.count else {
      throw .missingFeature(
        device: name,
        feature: "\(eventFDs.count) \(index.label) vectors, but \(info?.count ?? 0),")
    }
    // DATA_EVENTFD | ACTION_TRIGGER.
    var request = Self.irqSet(flags: 0x24, index, start: 0, count: eventFDs.count)
    request += [UInt8](repeating: 0, count: 4 * eventFDs.count)
    for (vector, fd) in eventFDs.enumerated() { request.store(fd, at: 20 + 4 * vector) }
    request.store(UInt32(request.count), at: 0)
    let failure = connected.withLock { connected -> VFIOError? in
      do throws(VFIOError) {
        if connected.remove(index) != nil { try disconnect(index) }
        step("connecting \(eventFDs.count) \(index.label) to eventfds")
        let offered = try set(&request)
        // vfio_msi_enable frees what it got when that is fewer than it was asked for, and the ioctl
        // answers with how many that were.
        guard offered <= 0 else {
          return .vectorsExhausted(
            device: name, kind: index, wanted: eventFDs.count, offered: Int(offered))
        }
        connected.insert(index)
        return nil
      } catch {
        return error
      }
    }
    if let failure { throw failure }
  }

  /// Disconnects every vector of an index; no error when none was connected.
  package borrowing func disable(_ index: IRQIndex) throws(VFIOError) {
    let failure = connected.withLock { connected -> VFIOError? in
      guard connected.contains(index) else { return nil }
      do throws(VFIOError) {
        try disconnect(index)
        connected.remove(index)
        return nil
      } catch {
        return error
      }
    }
    if let failure { throw failure }
  }

  /// Under the lock of `connected`: count 0 with DATA_NONE | ACTION_TRIGGER; any other count would
  /// fire the vectors.
  borrowing func disconnect(_ index: IRQIndex) throws(VFIOError) {
    step("disconnecting \(index.label)")
    var request = Self.irqSet(flags: 0x21, index, start: 0, count: 0)
    do throws(VFIOError) {
      try set(&request)
    } catch .system(let device, let error) {
      // The kernel says so of an index that is not enabled, as after an error of its own.
      if error.errno.rawValue != EINVAL { throw .system(device: device, error: error) }
    }
  }

  /// Fires a vector from software: DATA_NONE | ACTION_TRIGGER with count 1.
  ///
  /// - Throws: `VFIOError.missingFeature` for a vector that does not exist, `.system` for one that is
  ///   not connected.
  package borrowing func trigger(_ index: IRQIndex, vector: Int) throws(VFIOError) {
    guard vector >= 0, vector < (try interruptCount(index)) else {
      throw .missingFeature(device: name, feature: "\(index.label) vector \(vector)")
    }
    var request = Self.irqSet(flags: 0x21, index, start: vector, count: 1)
    try set(&request)
  }

  /// Unmasks the pin: DATA_NONE | ACTION_UNMASK.
  package borrowing func unmaskPin() throws(VFIOError) {
    var request = Self.irqSet(flags: 0x11, .intx, start: 0, count: 1)
    try set(&request)
  }

  /// Gives what the call answers: 0, or where vectors are connected a number that means none was.
  @discardableResult
  private borrowing func set(_ request: inout [UInt8]) throws(VFIOError) -> CInt {
    do throws(SystemCallError) {
      return try file.call(.setIRQs, bytes: &request)
    } catch {
      throw failure(of: error)
    }
  }

  /// The 20 bytes before the data of struct vfio_irq_set: argsz, flags, index, start, count.
  private static func irqSet(
    flags: UInt32, _ index: IRQIndex, start: Int, count: Int
  ) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: 20)
    bytes.store(UInt32(20), at: 0)
    bytes.store(flags, at: 4)
    bytes.store(index.rawValue, at: 8)
    bytes.store(UInt32(clamping: start), at: 12)
    bytes.store(UInt32(clamping: count), at: 16)
    return bytes
  }
}

// SPDX-License-Identifier: Apache-2.0

import CNetDma
import Glibc
import NetDmaVFIO
import Synchronization

extension ClientMemory {
  /// A copy is carried out in pieces of this size, so that an unmap waits for one piece at most.
  private static let pieceSize = 1 << 20

  /// Calls `body` for each piece of a range that lies in one window.
  private func forEachPiece(
    _ address: UInt64, _ count: Int, _ direction: BusFault.Direction,
    _ body: (Window, _ address: UInt64, _ offset: Int, _ count: Int) throws(BusFault) -> Void
  ) throws(BusFault) {
    guard count > 0 else { return }
    let (last, overflow) = address.addingReportingOverflow(UInt64(count) - 1)
    let wanted: DMAPermissions = direction == .read ? .read : .write
    // Nearly always one window holds it all.
    if !overflow, let window = enterOne(address, last: last, wanted) {
      defer { leave(window) }
      return try body(window, address, 0, count)
    }
    // All of it first. Then one window at a time: while the client is asked for a piece nothing else is
    // held, which it may be taking away before it answers.
    leave(try enter(address, count, direction))
    var offset = 0
    while offset < count {
      let start = address + UInt64(offset)
      guard let window = enterOne(start, last: start, wanted) else {
        throw BusFault(address: start, direction: direction)
      }
      defer { leave(window) }
      let piece = Int(min(UInt64(count - offset) - 1, window.last - start)) + 1
      try body(window, start, offset, piece)
      offset += piece
    }
  }

  /// Copies from the client into the device.
  public func read(_ address: UInt64, into buffer: UnsafeMutableRawBufferPointer) throws(BusFault) {
    guard let base = buffer.baseAddress else { return }
    try forEachPiece(address, buffer.count, .read) {
      (window, start, offset, count) throws(BusFault) in
      // The piece lies inside the buffer.
      try unsafe get(window, start, base + offset, count)
    }
  }

  /// Copies from the device to the client.
  public func write(_ address: UInt64, from buffer: UnsafeRawBufferPointer) throws(BusFault) {
    guard let base = buffer.baseAddress else { return }
    try forEachPiece(address, buffer.count, .write) {
      (window, start, offset, count) throws(BusFault) in
      // The piece lies inside the buffer.
      try unsafe put(window, start, base + offset, count)
    }
  }

  private func get(
    _ window: Window, _ address: UInt64, _ target: UnsafeMutableRawPointer, _ count: Int
  ) throws(BusFault) {
    switch window.backing {
    case .file(let file, let offset):
      // The piece lies inside the window, and the window inside the file as it is mapped.
      guard unsafe file.read(offset + (address - window.first), into: target, count) else {
        throw BusFault(address: address, direction: .read)
      }
    case .client:
      guard let bytes = client?.read(address, count), bytes.count == count else {
        throw BusFault(address: address, direction: .read)
      }
      unsafe bytes.withUnsafeBytes { source in
        if let base = source.baseAddress { unsafe memcpy(target, base, count) }
      }
    }
  }

  private func put(
    _ window: Window, _ address: UInt64, _ source: UnsafeRawPointer, _ count: Int
  ) throws(BusFault) {
    switch window.backing {
    case .file(let file, let offset):
      // As in `get`; the window's permission implies a writable mapping.
      guard unsafe file.write(offset + (address - window.first), from: source, count) else {
        throw BusFault(address: address, direction: .write)
      }
    case .client:
      let bytes = unsafe Array(UnsafeRawBufferPointer(start: source, count: count))
      guard client?.write(address, bytes) ?? false else {
        throw BusFault(address: address, direction: .write)
      }
    }
  }

  /// Copies on the bus, piece by piece: a range that is taken away meanwhile faults.
  public func copy(from source: UInt64, to destination: UInt64, count: Int) throws(BusFault) {
    // The whole of both sides first: nothing is written when a byte of either is refused.
    if count > Self.pieceSize {
      leave(try enter(source, count, .read))
      leave(try enter(destination, count, .write))
    }
    // Overlapping upwards, the last piece goes first, as memmove does it.
    let backwards = destination > source && destination - source < UInt64(count)
    var done = 0
    while done < count {
      let piece = min(Self.pieceSize, count - done)
      let offset = UInt64(backwards ? count - done - piece : done)
      try copyPiece(from: source + offset, to: destination + offset, count: piece)
      done += piece
    }
  }

  private func copyPiece(
    from source: UInt64, to destination: UInt64, count: Int
  ) throws(BusFault) {
    if try copyDirectly(from: source, to: destination, count: count) { return }
    // Nothing is written when a byte of either side is refused. What is taken away behind this look
    // faults where it is touched; held meanwhile, it would keep a client waiting who is to answer.
    leave(try enter(source, count, .read))
    leave(try enter(destination, count, .write))
    // Through a buffer: the whole source of this piece is read before a byte is written.
    try unsafe withUnsafeTemporary(count) { (buffer) throws(BusFault) in
      try unsafe read(source, into: buffer)
      try unsafe write(destination, from: UnsafeRawBufferPointer(buffer))
    }
  }

  /// Copies between two windows that plain loads and stores reach; false when it is not that simple.
  private func copyDirectly(
    from source: UInt64, to destination: UInt64, count: Int
  ) throws(BusFault) -> Bool {
    let (sourceLast, sourceOverflow) = source.addingReportingOverflow(UInt64(count) - 1)
    let (targetLast, targetOverflow) = destination.addingReportingOverflow(UInt64(count) - 1)
    guard !sourceOverflow, !targetOverflow,
      let from = enterOne(source, last: sourceLast, .read)
    else { return false }
    defer { leave(from) }
    guard let to = enterOne(destination, last: targetLast, .write) else { return false }
    defer { leave(to) }
    guard case .file(let origin, let a) = from.backing, !origin.isGuarded,
      case .file(let target, let b) = to.backing, !target.isGuarded
    else { return false }
    // Both ranges lie inside their windows, and those inside files that cannot shrink.
    unsafe memmove(
      target.pointer(b + (destination - to.first)), origin.pointer(a + (source - from.first)),
      count)
    return true
  }

  private func withUnsafeTemporary(
    _ count: Int, _ body: (UnsafeMutableRawBufferPointer) throws(BusFault) -> Void
  ) throws(BusFault) {
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: count, alignment: 64)
    defer { unsafe buffer.deallocate() }
    try unsafe body(buffer)
  }

  /// The window that `address` lies in, unless its file is guarded or the client's own.
  public func direct(_ address: UInt64, _ direction: BusFault.Direction) -> DirectSpan {
    let wanted: DMAPermissions = direction == .read ? .read : .write
    guard let window = enterOne(address, last: address, wanted) else { return DirectSpan() }
    guard case .file(let file, let offset) = window.backing, !file.isGuarded else {
      leave(window)
      return DirectSpan()
    }
    // The window lies inside the file as it is mapped, and the window keeps the mapping.
    return unsafe DirectSpan(
      first: window.first, size: window.last - window.first + 1, base: file.pointer(offset),
      isReadable: window.permissions.contains(.read),
      isWritable: window.permissions.contains(.write), users: window.users)
  }

  /// One 8-byte store that follows everything written before.
  public func storeRelease(_ value: UInt64, to address: UInt64) throws(BusFault) {
    // Windows are page aligned, so an aligned word lies in one.
    guard address & 7 == 0, let window = enterOne(address, last: address + 7, .write) else {
      throw BusFault(address: address, direction: .write)
    }
    defer { leave(window) }
    if case .file(let file, let offset) = window.backing, !file.isGuarded {
      // Inside the window and aligned, since windows and their offsets are.
      unsafe netdma_store_release64(
        file.pointer(offset + (address - window.first)), value.littleEndian)
      return
    }
    if case .client = window.backing {
      // The caller holds a lock that whoever receives the client's answer may want.
      let bytes = (0..<8).map { UInt8(truncatingIfNeeded: value >> UInt64(8 * $0)) }
      hasRemoteStores.store(true, ordering: .relaxed)
      guard client?.post(address, bytes) ?? false else {
        throw BusFault(address: address, direction: .write)
      }
      return
    }
    var word = value.littleEndian
    netdma_fence_release()
    try unsafe withUnsafeBytes(of: &word) { (bytes) throws(BusFault) in
      guard let base = bytes.baseAddress else { return }
      try unsafe put(window, address, base, 8)
    }
  }

  /// Waits for the client's answers to stores by message, which it makes in order.
  public func settleStores() {
    guard hasRemoteStores.load(ordering: .relaxed) else { return }
    client?.settle()
  }

  /// The client cannot answer while it waits for the reset.
  public func abandonWaits() { client?.abandon() }
}

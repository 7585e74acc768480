// SPDX-License-Identifier: Apache-2.0

import CNetDma
import Glibc
import NetDmaVFIO
import Synchronization

/// What can go wrong when memory is made visible to a device model.
public enum LocalMemoryError: Error, Hashable, Sendable {
  /// The size is zero, or the range leaves the 64-bit address space.
  case invalidRange
  /// A part of the range is mapped already.
  case overlaps
  /// No mapping has exactly that address and size.
  case notMapped
}

/// Memory of this process as an emulated device sees it through an IOMMU.
public final class LocalMemory: BusMemory {
  /// One mapping.
  ///
  /// `users` counts accesses under way and claims, so that an unmap can wait for them.
  @safe private final class Window: @unchecked Sendable {
    // @unchecked: constants beside an atomic; the pointed-to bytes are DMA memory, which any number
    // of parties may touch at any time.
    let iova: UInt64
    let size: UInt64
    let base: UnsafeMutableRawPointer
    let isReadable: Bool
    let isWritable: Bool
    let users = UseCount()

    init(
      iova: UInt64, size: UInt64, base: UnsafeMutableRawPointer, isReadable: Bool, isWritable: Bool
    ) {
      self.iova = iova
      self.size = size
      unsafe self.base = base
      self.isReadable = isReadable
      self.isWritable = isWritable
    }

    var last: UInt64 { iova + (size - 1) }
    func contains(_ address: UInt64) -> Bool { address >= iova && address - iova < size }
    /// The byte at `address`, which lies inside.
    @unsafe func pointer(_ address: UInt64) -> UnsafeMutableRawPointer {
      unsafe base + Int(address - iova)
    }
    func allows(_ direction: BusFault.Direction) -> Bool {
      switch direction {
      case .read: isReadable
      case .write: isWritable
      }
    }
  }

  /// Sorted by address, without overlaps.
  private let windows = Mutex<[Window]>([])

  /// Memory without any mapping.
  public init() {}

  /// Makes `size` bytes at `pointer` visible at `iova`.
  ///
  /// The caller keeps them valid until `unmap` has returned.
  public func map(
    iova: UInt64, size: UInt64, pointer: UnsafeMutableRawPointer, isReadable: Bool = true,
    isWritable: Bool = true
  ) throws(LocalMemoryError) {
    guard size > 0, !iova.addingReportingOverflow(size - 1).overflow, Int(exactly: size) != nil
    else { throw .invalidRange }
    let window = unsafe Window(
      iova: iova, size: size, base: pointer, isReadable: isReadable, isWritable: isWritable)
    try windows.withLock { windows throws(LocalMemoryError) in
      let position = windows.firstIndex { $0.iova > iova } ?? windows.endIndex
      if position > 0, windows[position - 1].last >= iova { throw .overlaps }
      if position < windows.endIndex, windows[position].iova <= window.last { throw .overlaps }
      windows.insert(window, at: position)
    }
  }

  /// Takes away what one `map` call made.
  ///
  /// Afterwards the device does not touch it any more: accesses under way are waited for.
  public func unmap(iova: UInt64, size: UInt64) throws(LocalMemoryError) {
    let window = try windows.withLock { windows throws(LocalMemoryError) in
      guard let position = windows.firstIndex(where: { $0.iova == iova && $0.size == size }) else {
        throw .notMapped
      }
      return windows.remove(at: position)
    }
    window.users.waitUntilUnused()
  }

  /// Number of mappings.
  public var mappingCount: Int { windows.withLock { $0.count } }

  /// The part of `count` bytes from `address` that one window holds, the window marked as used.
  private func enter(
    _ address: UInt64, _ count: Int, _ direction: BusFault.Direction
  ) throws(BusFault) -> Window {
    let found = windows.withLock { windows -> Window? in
      // Binary search for the last window that begins at or below the address.
      var low = 0
      var high = windows.count
      while low < high {
        let middle = (low + high) / 2
        if windows[middle].iova <= address { low = middle + 1 } else { high = middle }
      }
      guard low > 0 else { return nil }
      let window = windows[low - 1]
      guard window.contains(address), window.allows(direction) else { return nil }
      window.users.enter()
      return window
    }
    guard let found else { throw BusFault(address: address, direction: direction) }
    return found
  }

  private func leave(_ window: Window) { window.users.leave() }

  /// The mapping that `address` lies in.
  public func direct(_ address: UInt64, _ direction: BusFault.Direction) -> DirectSpan {
    do throws(BusFault) {
      let window = try enter(address, 1, direction)
      return unsafe DirectSpan(
        first: window.iova, size: window.size, base: window.base, isReadable: window.isReadable,
        isWritable: window.isWritable, users: window.users)
    } catch {
      return DirectSpan()
    }
  }

  /// Runs `body` on each piece of a range that lies in one window, after all of it was checked.
  private func forEachPiece(
    _ address: UInt64, _ count: Int, _ direction: BusFault.Direction,
    _ body: (UnsafeMutableRawPointer, _ offset: Int, _ count: Int) throws(BusFault) -> Void
  ) throws(BusFault) {
    guard count > 0 else { return }
    guard !address.addingReportingOverflow(UInt64(count - 1)).overflow else {
      throw BusFault(address: address, direction: direction)
    }
    let first = try enter(address, count, direction)
    if first.last >= address + UInt64(count - 1) {
      defer { leave(first) }
      return try unsafe body(first.pointer(address), 0, count)
    }
    var held = [first]
    defer { for window in held { leave(window) } }
    var end = first.last
    while end < address + UInt64(count - 1) {
      let window = try enter(end + 1, 1, direction)
      held.append(window)
      end = window.last
    }
    var offset = 0
    for window in held {
      let start = address + UInt64(offset)
      let piece = min(count - offset, Int(clamping: window.last - start) + 1)
      try unsafe body(window.pointer(start), offset, piece)
      offset += piece
    }
  }

  /// Copies from the bus into the device.
  public func read(_ address: UInt64, into buffer: UnsafeMutableRawBufferPointer) throws(BusFault) {
    guard let target = buffer.baseAddress else { return }
    try unsafe forEachPiece(address, buffer.count, .read) { pointer, offset, count in
      unsafe memcpy(target + offset, pointer, count)
    }
  }

  /// Copies from the device to the bus.
  public func write(_ address: UInt64, from buffer: UnsafeRawBufferPointer) throws(BusFault) {
    guard let source = buffer.baseAddress else { return }
    try unsafe forEachPiece(address, buffer.count, .write) { pointer, offset, count in
      unsafe memcpy(pointer, source + offset, count)
    }
  }

  /// Copies on the bus.
  public func copy(from source: UInt64, to destination: UInt64, count: Int) throws(BusFault) {
    try unsafe forEachPiece(source, count, .read) { (from, offset, length) throws(BusFault) in
      try unsafe forEachPiece(destination + UInt64(offset), length, .write) { to, inner, piece in
        unsafe memmove(to, from + inner, piece)
      }
    }
  }

  /// One 8-byte store with release order.
  public func storeRelease(_ value: UInt64, to address: UInt64) throws(BusFault) {
    guard address & 7 == 0 else { throw BusFault(address: address, direction: .write) }
    let window = try enter(address, 8, .write)
    defer { leave(window) }
    guard window.size - (address - window.iova) >= 8,
      unsafe UInt(bitPattern: window.pointer(address)) & 7 == 0
    else { throw BusFault(address: address, direction: .write) }
    // Inside the window and aligned, as just checked.
    unsafe netdma_store_release64(window.pointer(address), value.littleEndian)
  }
}

// SPDX-License-Identifier: Apache-2.0

/// Memory that this process and the device share; one owner, freed when the owner ends.
///
/// Ending it while copies are in flight is safe: the pages stay until the engine has passed them.
/// The bytes may change at any time while a copy into them is in flight; read them after its
/// completion. Sendable: it may move to another thread.
public struct DMABuffer: ~Copyable, Sendable {
  private let backing: DMABacking
  private let space: DMAAddressSpace
  /// Bytes that were asked for.
  public let count: Int

  init(backing: DMABacking, space: DMAAddressSpace, byteCount: Int) {
    self.backing = backing
    self.space = space
    count = byteCount
  }

  deinit {
    space.retire(backing)
  }

  /// The address that the device uses for the first byte.
  public var iova: UInt64 { backing.iova }

  /// Whether it lies on 2 MiB pages.
  public var isHuge: Bool { backing.isHuge }

  /// All of it, as the device sees it.
  public var slice: DMASlice { DMASlice(iova: backing.iova, count: count) }

  /// Part of it as the device sees it.
  ///
  /// `range` lies within `0..<count`, else this traps.
  public func slice(_ range: Range<Int>) -> DMASlice {
    precondition(
      range.lowerBound >= 0 && range.upperBound <= count, "the range lies outside the buffer")
    return DMASlice(iova: backing.iova &+ UInt64(range.lowerBound), count: range.count)
  }

  /// The bytes, for the time of `body`.
  ///
  /// The device may change them meanwhile if a copy into them is in flight.
  public borrowing func withBytes<R: ~Copyable, E: Error>(
    _ body: (RawSpan) throws(E) -> R
  ) throws(E) -> R {
    // The backing outlives the call, since self is borrowed.
    try body(
      unsafe RawSpan(_unsafeStart: UnsafeRawPointer(backing.address), byteCount: count))
  }

  /// The bytes for writing, for the time of `body`.
  public mutating func withMutableBytes<R: ~Copyable, E: Error>(
    _ body: (inout MutableRawSpan) throws(E) -> R
  ) throws(E) -> R {
    // The backing outlives the call, and `mutating` makes this the only access through the value.
    var span = unsafe MutableRawSpan(_unsafeStart: backing.address, byteCount: count)
    return try body(&span)
  }

  /// The first byte, for code that manages its own accesses; valid while the buffer lives.
  @unsafe public var baseAddress: UnsafeMutableRawPointer { unsafe backing.address }
}

/// A piece of a DMA buffer as the device sees it: an address and a length.
///
/// A plain value that does not keep the buffer alive. Used after the buffer's end it names an
/// address that is not mapped, so the copy fails; it never reaches other memory, because an
/// address is not handed out again before the device's address space is used up.
public struct DMASlice: Hashable, Sendable {
  /// The device's address of the first byte.
  public let iova: UInt64
  /// Bytes.
  public let count: Int

  init(iova: UInt64, count: Int) {
    self.iova = iova
    self.count = count
  }

  /// A piece of this piece; `range` lies within `0..<count`, else this traps.
  public func slice(_ range: Range<Int>) -> DMASlice {
    precondition(
      range.lowerBound >= 0 && range.upperBound <= count, "the range lies outside the slice")
    return DMASlice(iova: iova &+ UInt64(range.lowerBound), count: range.count)
  }
}

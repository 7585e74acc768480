// SPDX-License-Identifier: Apache-2.0

/// An access that the bus refused: the first address that is not mapped, or not with that right.
public struct BusFault: Error, Hashable, Sendable {
  /// What the device tried.
  public enum Direction: Sendable {
    /// The device read memory.
    case read
    /// The device wrote memory.
    case write
  }
  /// The refused bus address.
  public let address: UInt64
  /// Whether it was read or written.
  public let direction: Direction

  /// Describes a refused access.
  public init(address: UInt64, direction: Direction) {
    self.address = address
    self.direction = direction
  }
}

/// Memory as a device on the bus sees it: sparse, with rights, changing while the device runs.
///
/// Every call checks the whole range first and touches nothing when a byte of it is refused.
/// Calls may come from several threads; removing a mapping waits for accesses under way, and none
/// begins afterwards.
public protocol BusMemory: AnyObject, Sendable {
  /// Copies `buffer.count` bytes from bus address `address` into the device.
  func read(_ address: UInt64, into buffer: UnsafeMutableRawBufferPointer) throws(BusFault)
  /// Copies the device's bytes to bus address `address`.
  func write(_ address: UInt64, from buffer: UnsafeRawBufferPointer) throws(BusFault)
  /// Copies `count` bytes from one bus address to another; overlapping ranges behave as memmove.
  func copy(from source: UInt64, to destination: UInt64, count: Int) throws(BusFault)
  /// One 8-byte store that becomes visible after everything the device wrote before
  /// (`address` is a multiple of 8).
  func storeRelease(_ value: UInt64, to address: UInt64) throws(BusFault)
  /// Waits until the host sees what `storeRelease` stored; for the engine's thread without a lock,
  /// before it signals an interrupt that tells of it.
  func settleStores()
  /// Accesses under way that wait for somebody's answer fail now: the function is being reset.
  func abandonWaits()
  /// The memory around `address`, for plain loads and stores as long as the result lives; an empty one
  /// where these do not reach, and then the calls above still may.
  func direct(_ address: UInt64, _ direction: BusFault.Direction) -> DirectSpan
}

extension BusMemory {
  /// Memory that stores reach at once has nothing to wait for.
  public func settleStores() {}
  /// As `settleStores`.
  public func abandonWaits() {}
  /// Nothing: every access is a call.
  public func direct(_ address: UInt64, _ direction: BusFault.Direction) -> DirectSpan {
    DirectSpan()
  }
}

/// Where a device's interrupts go.
public protocol InterruptLine: AnyObject, Sendable {
  /// Delivers vector `vector` of the kind of interrupt that is enabled; never blocks. What the
  /// device wrote before is visible to whoever is woken.
  func signal(vector: Int)
}

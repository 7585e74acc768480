// SPDX-License-Identifier: Apache-2.0

import CNetDma
import Glibc
import Synchronization

/// Bus memory that plain loads and stores reach, claimed until this value ends.
///
/// Looking an address up costs more than moving a few bytes. An engine claims what its descriptors
/// touch once for a number of them; whoever takes the memory away waits for that, so a claim is held
/// for microseconds, and never while its holder waits for anybody.
@safe public struct DirectSpan: ~Copyable {
  private let first: UInt64
  private let size: UInt64
  private let base: UnsafeMutableRawPointer?
  private let isReadable: Bool
  private let isWritable: Bool
  private let users: UseCount?

  /// Nothing.
  public init() {
    first = 0
    size = 0
    unsafe base = nil
    isReadable = false
    isWritable = false
    users = nil
  }

  /// `size` bytes from bus address `first`, which lie at `base` as long as `users` counts a user.
  ///
  /// The caller has counted this one in; the end of the value counts it out.
  init(
    first: UInt64, size: UInt64, base: UnsafeMutableRawPointer, isReadable: Bool, isWritable: Bool,
    users: UseCount
  ) {
    self.first = first
    self.size = size
    unsafe self.base = base
    self.isReadable = isReadable
    self.isWritable = isWritable
    self.users = users
  }

  deinit { users?.leave() }

  /// Whether it claims anything.
  var isEmpty: Bool { users == nil }

  /// Where `count` bytes from `address` are, nil unless all of them are here with that right.
  @unsafe func pointer(
    _ address: UInt64, _ count: Int, _ direction: BusFault.Direction
  ) -> UnsafeMutableRawPointer? {
    let offset = address &- first
    guard UInt64(count) <= size, offset <= size - UInt64(count),
      direction == .read ? isReadable : isWritable
    else { return nil }
    // Inside, as just checked.
    return unsafe base.map { unsafe $0 + Int(offset) }
  }
}

/// Counts who uses a mapping, so that its end can wait for them.
final class UseCount: Sendable {
  private let users = Atomic<Int>(0)

  /// One more; under the lock that also guards the mapping's removal.
  func enter() { users.add(1, ordering: .acquiring) }

  /// One less.
  func leave() { users.subtract(1, ordering: .releasing) }

  /// Whether nobody uses it; under the lock that `enter` is called under, it stays so while that is held.
  var isUnused: Bool { users.load(ordering: .acquiring) == 0 }

  /// Waits until nobody is left; nobody may come in any more.
  ///
  /// A user is one piece of a copy, the few descriptors of an engine's turn, or one message with its own
  /// deadline.
  func waitUntilUnused() {
    var turn = 0
    while users.load(ordering: .acquiring) != 0 {
      turn += 1
      if turn < 1000 { netdma_cpu_pause() } else { _ = usleep(20) }
    }
  }
}

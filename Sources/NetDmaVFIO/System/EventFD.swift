// SPDX-License-Identifier: Apache-2.0

import CNetDma
import Glibc

/// An eventfd: what the kernel, a vfio-user server or the model signals an interrupt through.
///
/// Non-blocking and closed on exec. `signal` and `drain` may be called from any thread.
public struct EventFD: ~Copyable, Sendable {
  /// The owned descriptor.
  public let descriptor: OwnedFileDescriptor

  /// Creates one with count zero.
  public init() throws(SystemCallError) {
    let fd = try systemCall("eventfd", on: "EFD_NONBLOCK") {
      netdma_eventfd()
    }
    descriptor = OwnedFileDescriptor(owning: fd)
  }

  /// The number to hand to the kernel or to a poller.
  public var rawValue: CInt { descriptor.rawValue }

  /// Adds one to the count; a full counter already means "signalled".
  public borrowing func signal() {
    Self.signal(rawValue)
  }

  /// Takes the count: how often it was signalled since the last drain, 0 for a spurious wake-up.
  public borrowing func drain() -> UInt64 {
    Self.drain(rawValue)
  }

  /// `signal()` on a descriptor that the caller keeps open.
  public static func signal(_ fd: CInt) {
    var one: UInt64 = 1
    // The pointer lives for the call and the size is that of the variable.
    _ = unsafe Glibc.write(fd, &one, 8)
  }

  /// `drain()` on a descriptor that the caller keeps open.
  public static func drain(_ fd: CInt) -> UInt64 {
    var count: UInt64 = 0
    // The pointer lives for the call and the size is that of the variable.
    return unsafe Glibc.read(fd, &count, 8) == 8 ? count : 0
  }
}

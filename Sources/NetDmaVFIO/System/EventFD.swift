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

  /// `signal()` on a descriptor of somebody else's making, which may block when its count is full.
  ///
  /// A full count already means "signalled", so nothing is lost. Its maker can still fill it between
  /// the two calls; the mode is not changed for that, because the maker's own reads may rely on it.
  public static func signalUnlessFull(_ fd: CInt) {
    var ready = pollfd(fd: fd, events: Int16(POLLOUT), revents: 0)
    // The structure lives for the call, which does not wait.
    guard unsafe poll(&ready, 1, 0) == 1, ready.revents & Int16(POLLOUT) != 0 else { return }
    signal(fd)
  }

  /// `drain()` on a descriptor that the caller keeps open.
  public static func drain(_ fd: CInt) -> UInt64 {
    var count: UInt64 = 0
    // The pointer lives for the call and the size is that of the variable.
    return unsafe Glibc.read(fd, &count, 8) == 8 ? count : 0
  }
}

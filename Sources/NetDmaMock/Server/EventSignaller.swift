// SPDX-License-Identifier: Apache-2.0

import CNetDma
import NetDmaVFIO

/// Signals eventfds of a peer that is not trusted, without ever waiting.
///
/// A write waits when the count is full and the descriptor is in blocking mode, and both are the
/// peer's to change at any time, also between a look at it and the write. The kernel's own signals do
/// not wait: one comes with the end of an asynchronous operation.
final class EventSignaller: Sendable {
  private let context: UInt64
  /// Readable for good.
  private let ready: EventFD

  init() throws(SystemCallError) {
    ready = try EventFD()
    ready.signal()
    // 0 where the system has no more to give, or forbids it.
    context = netdma_signal_context()
  }

  deinit {
    if context != 0 { netdma_signal_context_destroy(context) }
  }

  /// Adds one to the count of an eventfd, unless that is full.
  func signal(_ fd: CInt) {
    if context != 0, netdma_signal(context, ready.rawValue, fd) == 0 { return }
    EventFD.signalUnlessFull(fd)
  }
}

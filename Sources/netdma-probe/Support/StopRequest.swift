// SPDX-License-Identifier: Apache-2.0

import Glibc
import NetDmaVFIO
import Synchronization

/// SIGINT and SIGTERM as a question that a command asks: it ends in order, and a signal a second later
/// ends it at once.
///
/// Not one that comes earlier: who wants a program to end often says so twice, as timeout(1) does, which
/// signals the program and then its process group.
///
/// Make it before other threads are started: they inherit that the signals are blocked, so that the
/// one thread here gets them.
final class StopRequest: Sendable {
  private final class Flag: Sendable {
    let isRaised = Atomic<Bool>(false)
    let arrived = Signal()
  }
  private let flag = Flag()
  /// Nanoseconds within which signals count as one.
  private static let patience: UInt64 = 1_000_000_000

  /// Starts to listen, until the process ends.
  init() throws(SystemCallError) {
    var signals = sigset_t()
    // The set lives for the calls.
    unsafe sigemptyset(&signals)
    unsafe sigaddset(&signals, SIGINT)
    unsafe sigaddset(&signals, SIGTERM)
    unsafe pthread_sigmask(SIG_BLOCK, &signals, nil)
    let flag = flag
    let listener = try PinnedThread(name: "netdma-signals") { [signals] _ in
      var received: CInt = 0
      var set = signals
      // sigwait reads the set and writes one integer, both of which live here.
      var first: UInt64 = 0
      while unsafe sigwait(&set, &received) == 0 {
        let now = Deadline.now()
        if !flag.isRaised.exchange(true, ordering: .sequentiallyConsistent) {
          first = now
          flag.arrived.set()
        } else if now - first > Self.patience {
          _exit(128 + received)
        }
      }
    }
    listener.detach()
  }

  /// Whether a signal came.
  var isRequested: Bool { flag.isRaised.load(ordering: .relaxed) }

  /// Waits for one.
  func wait() { flag.arrived.wait() }
}

/// Makes what was printed visible to a reader of a pipe now.
func flushOutput() {
  // A null stream means all of them.
  _ = fflush(nil)
}

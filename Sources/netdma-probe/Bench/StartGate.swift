// SPDX-License-Identifier: Apache-2.0

import NetDmaVFIO

/// Holds threads back until all of them are ready.
final class StartGate: Sendable {
  private let missing: Mutex<Int>
  private let isReady = Signal()
  private let isOpen = Signal()

  init(count: Int) { missing = Mutex(count) }

  /// Says that one more is ready, or never will be.
  func arrive() {
    let left = missing.withLock { count in
      count -= 1
      return count
    }
    if left == 0 { isReady.set() }
  }

  /// Waits until every one has arrived.
  func waitForAll() { isReady.wait() }

  /// Lets them go.
  func open() { isOpen.set() }

  /// Waits until they may go.
  func pass() { isOpen.wait() }
}

// SPDX-License-Identifier: Apache-2.0

import NetDmaVFIO
import Synchronization

/// The way from the model's interrupts to eventfds, as the kernel's VFIO builds it: MSI-X before MSI
/// before INTx, and nothing without bus mastering.
final class MockInterrupts: InterruptLine {
  private struct State {
    /// Per index the eventfds by vector, -1 for none.
    ///
    /// They belong to whoever connected them.
    var connected: [IRQIndex: [CInt]] = [:]
    var isBusMaster = false
    /// Vectors whose message waits for bus mastering.
    var pending: Set<Int> = []
  }
  // Signals are made under the lock, so none goes to an eventfd after it was disconnected.
  private let state = Mutex(State())

  func signal(vector: Int) {
    state.withLock { state in
      if state.connected[.msix] == nil, state.connected[.msi] == nil {
        // The pin needs no bus mastering.
        if let pin = state.connected[.intx]?.first, pin >= 0 { EventFD.signal(pin) }
        return
      }
      guard state.isBusMaster else {
        state.pending.insert(vector)
        return
      }
      Self.send(vector, state)
    }
  }

  private static func send(_ vector: Int, _ state: borrowing State) {
    guard let fds = state.connected[.msix] ?? state.connected[.msi], !fds.isEmpty else { return }
    // A function with fewer messages than channels shares the last.
    let fd = fds[min(vector, fds.count - 1)]
    if fd >= 0 { EventFD.signal(fd) }
  }

  func setBusMaster(_ isOn: Bool) {
    state.withLock { state in
      state.isBusMaster = isOn
      guard isOn else { return }
      for vector in state.pending.sorted() { Self.send(vector, state) }
      state.pending = []
    }
  }

  func connect(_ index: IRQIndex, _ eventFDs: [CInt]) {
    state.withLock { state in
      if eventFDs.isEmpty {
        state.connected[index] = nil
      } else {
        state.connected[index] = eventFDs
      }
    }
  }

  /// Fires a vector of any index from software; false when it is not connected.
  func trigger(_ index: IRQIndex, vector: Int) -> Bool {
    state.withLock { state in
      guard let fds = state.connected[index], fds.indices.contains(vector), fds[vector] >= 0 else {
        return false
      }
      EventFD.signal(fds[vector])
      return true
    }
  }

  /// As after a function reset; the notifiers of the host stay connected.
  func reset() {
    state.withLock { state in
      state.connected[.msix] = nil
      state.connected[.msi] = nil
      state.connected[.intx] = nil
      state.isBusMaster = false
      state.pending = []
    }
  }
}

// SPDX-License-Identifier: Apache-2.0

import NetDmaVFIO
import Synchronization

/// The way from the model's interrupts to the eventfds that a vfio-user client assigned.
///
/// Each index has vectors of its own. The client owns the MSI-X table and masks there (QEMU shows the
/// server none of it), so an assigned eventfd is always signalled. An interrupt that comes before its
/// eventfd, or without bus mastering, is kept and delivered when both are there.
final class ServerInterrupts: InterruptLine {
  private struct State {
    var vectors: [IRQIndex: [Int: SharedDescriptor]] = [:]
    /// Indexes that the client enabled, with or without vectors.
    var enabled: Set<IRQIndex> = []
    var isBusMaster = false
    var pending: Set<Int> = []
  }
  private let state = Mutex(State())
  /// Vectors of each index.
  let counts: [IRQIndex: Int]

  init(vectors: Int) {
    counts = [.msix: vectors, .msi: 0, .intx: 0, .error: 1, .request: 1]
  }

  func signal(vector: Int) {
    state.withLock { state in
      guard state.isBusMaster, let target = state.vectors[.msix]?[vector] else {
        state.pending.insert(vector)
        return
      }
      EventFD.signalUnlessFull(target.rawValue)
    }
  }

  private static func deliverPending(_ state: inout State) {
    guard state.isBusMaster, let vectors = state.vectors[.msix] else { return }
    for vector in state.pending.sorted() {
      guard let target = vectors[vector] else { continue }
      state.pending.remove(vector)
      EventFD.signalUnlessFull(target.rawValue)
    }
  }

  func setBusMaster(_ isOn: Bool) {
    state.withLock { state in
      state.isBusMaster = isOn
      Self.deliverPending(&state)
    }
  }

  /// Assigns eventfds from `start` on; with none, takes `count` vectors' eventfds away.
  func assign(_ index: IRQIndex, start: Int, count: Int, _ descriptors: [SharedDescriptor]) {
    state.withLock { state in
      state.enabled.insert(index)
      for offset in 0..<count {
        state.vectors[index, default: [:]][start + offset] =
          descriptors.indices.contains(offset) ? descriptors[offset] : nil
      }
      if index == .msix { Self.deliverPending(&state) }
    }
  }

  /// Disables a whole index and closes its eventfds.
  func disable(_ index: IRQIndex) {
    state.withLock { state in
      state.vectors[index] = nil
      state.enabled.remove(index)
      if index == .msix { state.pending = [] }
    }
  }

  /// Signals a vector from software; false when it has no eventfd.
  func trigger(_ index: IRQIndex, _ vector: Int) -> Bool {
    state.withLock { state in
      guard let target = state.vectors[index]?[vector] else { return false }
      EventFD.signalUnlessFull(target.rawValue)
      return true
    }
  }

  /// Bit n: vector n waits; the pending bit array.
  var pendingBits: UInt64 {
    state.withLock { $0.pending.reduce(0) { $1 < 64 ? $0 | 1 << UInt64($1) : $0 } }
  }

  /// After a reset of the function: nothing waits; eventfds stay, as the client does not send them
  /// again.
  func reset() {
    state.withLock { state in
      state.pending = []
      state.isBusMaster = false
    }
  }

  /// The client is gone.
  func closeAll() {
    state.withLock { state in
      state.vectors = [:]
      state.enabled = []
      state.pending = []
      state.isBusMaster = false
    }
  }
}

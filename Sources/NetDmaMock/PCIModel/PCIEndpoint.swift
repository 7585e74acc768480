// SPDX-License-Identifier: Apache-2.0

import NetDmaVFIO
import Synchronization

/// The side of a function that its engine talks to: interrupts go in here, and BAR0's MSI-X
/// structures answer from here.
///
/// It does not know the engine, which owns it. Eventfds are signalled under the lock, so none is
/// after it was disconnected.
final class PCIEndpoint: InterruptLine, MSIXRegisters {
  private let state: Mutex<PCIFunctionState>
  /// Read with every access to BAR0, so kept beside the lock.
  private let decoding = Atomic<Bool>(false)

  init(_ profile: DeviceProfile, tableOwner: MSIXTableOwner) {
    state = Mutex(PCIFunctionState(profile, tableOwner: tableOwner))
  }

  /// Works on the state, and publishes what it became.
  func update<Value: Sendable>(_ body: (inout PCIFunctionState) -> Value) -> Value {
    state.withLock { state in
      let value = body(&state)
      decoding.store(state.decodesMemory, ordering: .releasing)
      return value
    }
  }

  /// Whether BAR0 answers.
  var decodesMemory: Bool { decoding.load(ordering: .acquiring) }

  // MARK: - InterruptLine

  func signal(vector: Int) {
    state.withLock { state in
      // The engine signals without a message enabled when its pin has gone high.
      if !state.deliver(vector: vector) { state.assertPin() }
    }
  }

  // MARK: - MSIXRegisters

  func readMSIX(_ offset: Int, width: Int) -> UInt64 {
    state.withLock { $0.table.read(offset, width: width) }
  }

  func writeMSIX(_ offset: Int, width: Int, value: UInt64) {
    state.withLock { state in
      state.table.write(offset, width: width, value: value)
      state.deliverPending()
    }
  }

  func wipeMSIX() { state.withLock { $0.wipeTable() } }

  func withdrawPending(vector: Int) { state.withLock { $0.withdraw(vector: vector) } }
}

// SPDX-License-Identifier: Apache-2.0

import NetDmaVFIO

/// Everything of an emulated function that is PCI and not IOAT: configuration space, the MSI-X table,
/// and where interrupts go.
///
/// A value that its owner guards; the interrupts' half is in an extension.
struct PCIFunctionState: Sendable {
  let profile: DeviceProfile
  let tableOwner: MSIXTableOwner
  var registers: RegisterSet
  var table: MSIXTable
  /// Connected vectors of each index.
  var targets: [IRQIndex: [Int: InterruptTarget]] = [:]
  /// The host masks the pin with every interrupt that it passes on, as VFIO does.
  var isPinMasked = false

  /// What a write to configuration space asks of the function.
  struct Effect: OptionSet {
    let rawValue: UInt8
    /// A function-level reset, or a return from D3hot that resets.
    static let reset = Effect(rawValue: 1)
  }

  /// How a function comes to be as new.
  enum ResetKind {
    /// Power was off: nothing stays.
    case power
    /// Through DEVCTL, or by leaving D3hot: sticky registers stay.
    case function
    /// By the host, which saves and restores what it set up: memory decoding and messages.
    case host
  }

  init(_ profile: DeviceProfile, tableOwner: MSIXTableOwner) {
    self.profile = profile
    self.tableOwner = tableOwner
    registers = RegisterSet(ConfigurationLayout.registers(profile))
    table = MSIXTable(
      count: profile.msixVectorCount, tableOffset: profile.model.msixTableOffset,
      pendingOffset: profile.model.msixPendingOffset)
  }

  // MARK: - What the registers say

  private var command: UInt16 {
    UInt16(truncatingIfNeeded: registers.value(ConfigurationLayout.command, width: 2))
  }
  private var powerState: UInt32 {
    registers.value(ConfigurationLayout.powerControl, width: 2) & PowerState.mask
  }
  var isPowered: Bool { powerState == PowerState.d0 }
  /// Whether BAR0 answers.
  var decodesMemory: Bool { isPowered && command & CommandBit.memory != 0 }
  /// Whether the function may write to memory, messages included.
  var mastersBus: Bool { isPowered && command & CommandBit.busMaster != 0 }
  /// Whether the pin may be asserted.
  var isPinEnabled: Bool {
    profile.interruptPin != 0 && isPowered && command & CommandBit.interruptDisable == 0
      && !isMSIXEnabled && !isMSIEnabled
  }

  // MARK: - Access

  /// The dword at 4 × `dword`, without what the engine holds.
  func read(dword: Int) -> UInt32 { registers.read(dword: dword) }

  /// Writes the bytes of a dword that `enables` has 0xff for.
  mutating func write(dword: Int, value: UInt32, enables: UInt32) -> Effect {
    let before = powerState
    registers.write(dword: dword, value: value, enables: enables)
    let after = powerState
    if after != PowerState.d0, after != PowerState.d3hot {
      // D1 and D2 do not exist: the write counts for nothing.
      setPowerState(before)
    }
    if before == PowerState.d3hot, after == PowerState.d0, !profile.keepsStateInD3 {
      return .reset
    }
    let control = ConfigurationLayout.deviceControl
    let resetBit = UInt32(DeviceControlBit.functionReset) << UInt32(8 * (control & 3))
    if dword == control / 4, value & enables & resetBit != 0 { return .reset }
    deliverPending()
    return []
  }

  private mutating func setPowerState(_ state: UInt32) {
    let offset = ConfigurationLayout.powerControl
    let rest = registers.value(offset, width: 2) & ~PowerState.mask
    registers.set(offset, width: 2, rest | state)
  }

  /// What a host does when it opens a function: VFIO's users find memory decoding on.
  mutating func enableDecoding() {
    let offset = ConfigurationLayout.command
    registers.set(offset, width: 2, UInt32(command | CommandBit.memory))
  }

  // MARK: - Reset

  mutating func reset(_ kind: ResetKind) {
    let decoded = command & CommandBit.memory != 0
    registers.reset(includingSticky: kind == .power)
    table.reset()
    isPinMasked = false
    if kind == .host {
      if decoded { enableDecoding() }
      restoreMessages()
    } else {
      restoreTable()
    }
  }
}

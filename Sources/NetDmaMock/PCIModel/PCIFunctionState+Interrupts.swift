// SPDX-License-Identifier: Apache-2.0

import NetDmaVFIO

/// The way of an interrupt: MSI-X before MSI before the pin.
///
/// A message that cannot go out (masked, no bus mastering, D3hot, or nobody connected) stays pending
/// in the register that the specification has for it, and goes out when the last obstacle does.
extension PCIFunctionState {
  private var messageControl: UInt16 {
    UInt16(truncatingIfNeeded: registers.value(ConfigurationLayout.msixControl, width: 2))
  }
  var isMSIXEnabled: Bool {
    profile.msixVectorCount > 0 && messageControl & MSIXControlBit.enable != 0
  }
  private var isFunctionMasked: Bool { messageControl & MSIXControlBit.functionMask != 0 }

  private var msiControl: UInt16 {
    UInt16(truncatingIfNeeded: registers.value(ConfigurationLayout.msiControl, width: 2))
  }
  var isMSIEnabled: Bool {
    profile.msiVectorCount > 0 && msiControl & MSIControlBit.enable != 0
  }
  /// Messages that software allocated, never more than the function asked for.
  private var allocatedMessages: Int {
    let order = msiControl >> MSIControlBit.multipleEnableShift & 7
    return min(1 << Int(order), profile.msiVectorCount)
  }

  // MARK: - From the engine

  /// Delivers a vector, or keeps it; the pin is left to who knows its level.
  ///
  /// - Returns: false when no kind of message is enabled.
  mutating func deliver(vector: Int) -> Bool {
    if isMSIXEnabled {
      // The function has asked for no vector that it lacks; the first is everybody's.
      let vector = vector < table.count ? vector : 0
      table.hold(vector)
    } else if isMSIEnabled {
      let vector = vector < allocatedMessages ? vector : 0
      let offset = ConfigurationLayout.msiPending
      registers.set(offset, width: 4, registers.value(offset, width: 4) | 1 << UInt32(vector))
    } else {
      return false
    }
    deliverPending()
    return true
  }

  /// Sends every pending message that nothing holds back any more.
  mutating func deliverPending() {
    guard mastersBus else { return }
    if isMSIXEnabled {
      guard !isFunctionMasked, !table.pending.isEmpty else { return }
      for vector in table.pending.sorted() where !table.isMasked(vector) {
        guard let target = targets[.msix]?[vector] else { continue }
        table.release(vector)
        target.signal()
      }
    } else if isMSIEnabled {
      let offset = ConfigurationLayout.msiPending
      let pending = registers.value(offset, width: 4)
      let ready = pending & ~registers.value(ConfigurationLayout.msiMask, width: 4)
      guard ready != 0 else { return }
      for vector in 0..<32 where ready & 1 << UInt32(vector) != 0 {
        guard let target = targets[.msi]?[vector] else { continue }
        registers.set(
          offset, width: 4, registers.value(offset, width: 4) & ~(1 << UInt32(vector)))
        target.signal()
      }
    }
  }

  /// The pin's level is high: tells the host once, until it unmasks the pin.
  mutating func assertPin() {
    guard isPinEnabled, !isPinMasked, let target = targets[.intx]?[0] else { return }
    isPinMasked = true
    target.signal()
  }

  /// The event behind a pending message of `vector` was taken care of.
  mutating func withdraw(vector: Int) {
    if table.count > 0 { table.release(vector) }
    guard profile.msiVectorCount > 0, vector < 32 else { return }
    let offset = ConfigurationLayout.msiPending
    registers.set(offset, width: 4, registers.value(offset, width: 4) & ~(1 << UInt32(vector)))
  }

  // MARK: - From the host

  /// Vectors of an index.
  func count(_ index: IRQIndex) -> Int {
    switch index {
    case .intx: profile.interruptPin != 0 ? 1 : 0
    case .msi: profile.msiVectorCount
    case .msix: profile.msixVectorCount
    case .error, .request: 1
    }
  }

  /// Connects vectors from `start` on, nil for those that get no eventfd, and enables the index.
  mutating func connect(_ index: IRQIndex, start: Int, _ new: [InterruptTarget?]) {
    for (vector, target) in zip(start..., new) where vector < count(index) {
      targets[index, default: [:]][vector] = target
      if index == .msix { table.program(vector, isMasked: target == nil) }
    }
    switch index {
    case .msix: setMSIX(enabled: true)
    case .msi: setMSI(enabled: true, messages: start + new.count)
    case .intx: isPinMasked = false
    case .error, .request: break
    }
    deliverPending()
  }

  /// Disables an index; what was pending there is gone.
  mutating func disconnect(_ index: IRQIndex) {
    targets[index] = nil
    switch index {
    case .msix:
      guard table.count > 0 else { return }
      setMSIX(enabled: false)
      for vector in 0..<table.count { table.program(vector, isMasked: true) }
      table.releaseAll()
    case .msi:
      guard profile.msiVectorCount > 0 else { return }
      setMSI(enabled: false, messages: 1)
      registers.set(ConfigurationLayout.msiPending, width: 4, 0)
    case .intx: isPinMasked = false
    case .error, .request: break
    }
  }

  private mutating func setMSIX(enabled: Bool) {
    guard table.count > 0 else { return }
    let control =
      enabled ? messageControl | MSIXControlBit.enable : messageControl & ~MSIXControlBit.enable
    registers.set(ConfigurationLayout.msixControl, width: 2, UInt32(control))
  }

  private mutating func setMSI(enabled: Bool, messages: Int) {
    guard profile.msiVectorCount > 0 else { return }
    var order = UInt16(0)
    while 1 << Int(order) < max(messages, enabled ? allocatedMessages : 1) { order += 1 }
    let shift = UInt16(MSIControlBit.multipleEnableShift)
    var control = msiControl & ~(7 << shift | MSIControlBit.enable)
    control |= order << shift | (enabled ? MSIControlBit.enable : 0)
    registers.set(ConfigurationLayout.msiControl, width: 2, UInt32(control))
  }

  // MARK: - After something wiped the table

  /// A channel was reset on a part where that takes the table along.
  mutating func wipeTable() {
    table.reset()
    restoreTable()
  }

  /// The table's owner is not here: its entries are what the connected vectors say.
  mutating func restoreTable() {
    guard tableOwner == .client else { return }
    for vector in (targets[.msix] ?? [:]).keys { table.program(vector, isMasked: false) }
  }

  /// Puts messages back as they were connected.
  mutating func restoreMessages() {
    guard tableOwner == .client else { return }
    restoreTable()
    if targets[.msix] != nil { setMSIX(enabled: true) }
    if let messages = targets[.msi] {
      setMSI(enabled: true, messages: (messages.keys.max() ?? 0) + 1)
    }
  }
}

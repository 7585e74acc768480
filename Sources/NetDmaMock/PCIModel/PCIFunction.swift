// SPDX-License-Identifier: Apache-2.0

import NetDmaVFIO
import Synchronization

/// A whole emulated PCI function: configuration space, BAR0 with the engine behind it, interrupts.
///
/// What a bus and a host see of it, whichever transport carries them. Every member may be used from
/// any thread.
final class PCIFunction: Sendable {
  let profile: DeviceProfile
  let model: IOATModel
  private let memory: any BusMemory
  private let endpoint: PCIEndpoint
  private let undecoded = Atomic<UInt64>(0)
  /// Accesses to BAR0 while it was not decoded: in D3hot, or with memory decoding off.
  var undecodedAccesses: UInt64 { undecoded.load(ordering: .relaxed) }

  static let bar0Size = UInt64(IOATModel.windowSize)
  static let configurationSize = UInt64(RegisterSet.size)

  /// A function after power-on that a host has opened: it decodes memory and masters nothing.
  ///
  /// - Throws: `SystemCallError` when the kernel refuses a thread or an eventfd.
  init(
    _ profile: DeviceProfile, memory: any BusMemory, tableOwner: MSIXTableOwner
  ) throws(SystemCallError) {
    var profile = profile
    profile.model = profile.model.normalized
    self.profile = profile
    self.memory = memory
    endpoint = PCIEndpoint(profile, tableOwner: tableOwner)
    model = try IOATModel(
      configuration: profile.model, memory: memory, interrupts: endpoint,
      msix: profile.msixVectorCount > 0 ? endpoint : nil)
    powerOn()
  }

  deinit { model.stop() }

  // MARK: - Regions

  /// Bytes of a region, 0 for one that the function lacks.
  func size(of region: RegionIndex) -> UInt64 {
    switch region {
    case .bar0: Self.bar0Size
    case .configuration: Self.configurationSize
    default: 0
    }
  }

  /// Reads 1 to 8 bytes of a region; the caller has checked that they lie inside.
  func read(_ region: RegionIndex, at offset: Int, width: Int) -> UInt64 {
    let ones = UInt64.max >> UInt64(64 - 8 * width)
    if region == .bar0 {
      if endpoint.decodesMemory { return model.readRegister(offset, width: width) }
      undecoded.wrappingAdd(1, ordering: .relaxed)
      return ones
    }
    if model.faults.isRemoved { return ones }
    var value: UInt64 = 0
    var done = 0
    while done < width {
      let (dword, start) = (offset + done).quotientAndRemainder(dividingBy: 4)
      value |= UInt64(readConfiguration(dword: dword) >> UInt32(8 * start)) << UInt64(8 * done)
      done += 4 - start
    }
    return value & ones
  }

  /// Writes 1 to 8 bytes of a region; the caller has checked that they lie inside.
  func write(_ region: RegionIndex, at offset: Int, width: Int, value: UInt64) {
    if region == .bar0 {
      if endpoint.decodesMemory {
        model.writeRegister(offset, width: width, value: value)
      } else {
        undecoded.wrappingAdd(1, ordering: .relaxed)
      }
      return
    }
    if model.faults.isRemoved { return }
    var done = 0
    while done < width {
      let (dword, start) = (offset + done).quotientAndRemainder(dividingBy: 4)
      let count = min(4 - start, width - done)
      let enables = (UInt32.max >> UInt32(32 - 8 * count)) << UInt32(8 * start)
      let part = UInt32(truncatingIfNeeded: value >> UInt64(8 * done)) << UInt32(8 * start)
      writeConfiguration(dword: dword, value: part, enables: enables)
      done += count
    }
  }

  // MARK: - Configuration space

  private func readConfiguration(dword: Int) -> UInt32 {
    let value = endpoint.update { $0.read(dword: dword) }
    switch 4 * dword {
    case ConfigurationLayout.command:
      // STATUS says what the pin would, even while COMMAND keeps the pin itself silent.
      return isPinPending ? value | StatusBit.interrupt << 16 : value
    case ConfigurationLayout.channelError where profile.hasErrorRegisters:
      return model.channelErrorInt
    case ConfigurationLayout.channelErrorPointer where profile.hasErrorRegisters:
      // The number of the first error; a channel reports one cause at a time, so the lowest.
      return value | UInt32(model.channelErrorInt.trailingZeroBitCount & 31)
    default:
      return value
    }
  }

  private var isPinPending: Bool {
    let isUsed = endpoint.update { state in
      state.profile.interruptPin != 0 && !state.isMSIXEnabled && !state.isMSIEnabled
    }
    return isUsed && model.isInterruptAsserted
  }

  private func writeConfiguration(dword: Int, value: UInt32, enables: UInt32) {
    if 4 * dword == ConfigurationLayout.channelError, profile.hasErrorRegisters {
      return model.clearChannelErrorInt(value & enables)
    }
    let effect = endpoint.update { state in
      state.write(dword: dword, value: value, enables: enables)
    }
    if effect.contains(.reset) { return reset(.function) }
    publish()
  }

  /// Lets the engine know what configuration space allows it, and the pin what it may show.
  private func publish() {
    // Under the lock, so that of two writers the later one's bit is what the engine sees.
    endpoint.update { model.isBusMaster = $0.mastersBus }
    showPin()
  }

  /// Tells the host of a pin that is high.
  ///
  /// The level is read after whatever made room for it; an engine that raises it in between
  /// signals by itself, and the host is told once.
  private func showPin() {
    if model.isInterruptAsserted { endpoint.update { $0.assertPin() } }
  }

  // MARK: - Reset

  /// Engine and configuration space as new; connections stay.
  private func reset(_ kind: PCIFunctionState.ResetKind) {
    // Off the bus first: nothing that the engine still finishes reaches memory or the host.
    model.isBusMaster = false
    memory.abandonWaits()
    model.reset()
    endpoint.update { $0.reset(kind) }
    publish()
  }

  /// The function is powered on anew, and a host opens it.
  func powerOn() {
    reset(.power)
    endpoint.update { $0.enableDecoding() }
  }

  /// The host resets the function: it keeps decoding memory if it did, and masters nothing.
  ///
  /// With `disconnecting`, what was connected is not any more, except the host's own notifiers.
  func resetByHost(disconnecting: Bool) {
    if disconnecting { for index in [IRQIndex.intx, .msi, .msix] { disconnect(index) } }
    reset(.host)
  }

  // MARK: - Interrupts

  /// Vectors of an index.
  func interruptCount(_ index: IRQIndex) -> Int { endpoint.update { $0.count(index) } }

  /// Connects vectors from `start` on, nil for those that get no eventfd.
  func connect(_ index: IRQIndex, start: Int = 0, _ targets: [InterruptTarget?]) {
    endpoint.update { $0.connect(index, start: start, targets) }
    publish()
  }

  /// Takes all vectors of an index away.
  func disconnect(_ index: IRQIndex) {
    endpoint.update { $0.disconnect(index) }
    publish()
  }

  /// Masks the pin at the host, or unmasks it, which shows a level that is still high.
  func setPinMask(_ isMasked: Bool) {
    endpoint.update { $0.isPinMasked = isMasked }
    if !isMasked { showPin() }
  }

  /// Fires a vector from software; false when it is not connected.
  func trigger(_ index: IRQIndex, vector: Int) -> Bool {
    endpoint.update { state in
      guard let target = state.targets[index]?[vector] else { return false }
      target.signal()
      return true
    }
  }
}

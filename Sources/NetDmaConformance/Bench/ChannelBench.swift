// SPDX-License-Identifier: Apache-2.0

import CNetDma
import NetDmaVFIO

/// One channel under test.
///
/// Slots, completion words and data pages lie in the function's memory; every channel uses the same
/// ones, since rules run one after another.
final class ChannelBench {
  unowned let function: FunctionBench
  let index: Int

  init(_ function: FunctionBench, index: Int) {
    self.function = function
    self.index = index
  }

  var facts: DeviceFacts { function.facts }
  var memory: BenchMemory { function.memory }

  // MARK: - Registers

  func read(_ register: ChannelRegister) throws(Finding) -> UInt64 {
    try read(at: register.offset, register.width)
  }

  /// Writes a register as the field's drivers do: a 64-bit one in halves before version 3.3.
  func write(_ register: ChannelRegister, _ value: UInt64) throws(Finding) {
    if register.width == .qword, facts.splitsAddresses {
      try writeHalves(register, value)
    } else {
      try write(at: register.offset, register.width, value)
    }
  }

  /// Writes a 64-bit register as two halves, the low one first.
  func writeHalves(_ register: ChannelRegister, _ value: UInt64) throws(Finding) {
    try write(at: register.offset, .dword, value & 0xffff_ffff)
    try write(at: register.offset + 4, .dword, value >> 32)
  }

  /// Reads the window at any offset and width.
  func read(at offset: UInt64, _ width: AccessWidth) throws(Finding) -> UInt64 {
    try function.read(at: ChannelRegister.window(index) + offset, width)
  }

  /// Writes the window at any offset and width.
  func write(at offset: UInt64, _ width: AccessWidth, _ value: UInt64) throws(Finding) {
    try function.write(at: ChannelRegister.window(index) + offset, width, value)
  }

  /// DMACOUNT, after every descriptor that was stored before.
  func ring(_ count: Int) throws(Finding) {
    netdma_fence_release()
    try write(.dmacount, UInt64(UInt16(truncatingIfNeeded: count)))
  }

  func status() throws(Finding) -> UInt64 { try read(.chansts) }
  func error() throws(Finding) -> UInt64 { try read(.chanerr) }

  // MARK: - Places in memory

  /// Slots of the ring.
  static let slots = 1024
  private static let completionOffset: UInt64 = 0x1_0000
  private static let extensionOffset: UInt64 = 0x1_1000
  private static let dataOffset: UInt64 = 0x2_0000

  /// The address of slot `index` of the ring.
  func slot(_ index: Int) -> UInt64 { memory.start + UInt64(index % Self.slots * 64) }
  /// Where completion word `index` lies; there are 32, each with room on both sides.
  func wordAddress(_ index: Int = 0) -> UInt64 {
    memory.start + Self.completionOffset + 64 + UInt64(index * 64)
  }
  /// Room for super-extended descriptors, 4 KiB.
  var extensionBlock: UInt64 { memory.start + Self.extensionOffset }
  /// Data page `index` of 4 KiB; there are 224.
  func page(_ index: Int) -> UInt64 { memory.start + Self.dataOffset + UInt64(index * 4096) }

  /// What completion words hold before the device writes them: no state and no slot of ours.
  static let untouched: UInt64 = 0xdead_beef_dead_bee7

  /// The completion word.
  var word: UInt64 { memory.load(wordAddress()) }

  // MARK: - Known states

  /// HALTED without errors and with nothing programmed, as each rule finds it.
  func prepare() throws(Finding) {
    try halt()
    try write(.chanerrmask, 0)
    // Disables everything, releases the channel and re-arms its interrupt.
    try write(.chanctrl, ControlBit.rearm)
    for index in 0..<32 { memory.store(Self.untouched, at: wordAddress(index)) }
    memory.fill(0, at: memory.start, Self.slots * 64)
  }

  /// Stops the channel: SUSPEND where it runs, errors acknowledged, RESET.
  func halt() throws(Finding) {
    let state = try status() & 7
    if state == BenchState.active.rawValue || state == BenchState.idle.rawValue {
      try write(.chancmd, CommandBit.suspend)
      // A channel that does not stop is reset all the same.
      _ = try poll { () throws(Finding) in
        let state = try status() & 7
        return state != BenchState.active.rawValue && state != BenchState.idle.rawValue
      }
    }
    try acknowledge()
    try reset()
    try acknowledge()
    try awaitState(.halted, "after RESET")
  }

  /// Clears CHANERR and its mirror.
  func acknowledge() throws(Finding) {
    let bits = try error()
    if bits != 0 { try write(.chanerr, bits) }
    try function.clearErrorMirror()
  }

  /// RESET, and the wait for its end.
  func reset() throws(Finding) {
    try write(.chancmd, CommandBit.reset)
    let ended = try poll { () throws(Finding) in
      try read(.chancmd) & CommandBit.reset == 0
    }
    guard ended else { throw .violated("RESET still reads back in CHANCMD at the time limit") }
  }

  /// CHANCTRL, CHANCMP and CHAINADDR as a driver writes them; no doorbell.
  func start(
    control: UInt64 = ControlBit.polled, slot index: Int = 0, word: Int = 0
  ) throws(Finding) {
    memory.store(Self.untouched, at: wordAddress(word))
    try write(.chanctrl, control)
    try write(.chancmp, wordAddress(word))
    try write(.chainaddr, slot(index))
  }
}

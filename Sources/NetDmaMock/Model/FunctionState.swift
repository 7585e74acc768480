// SPDX-License-Identifier: Apache-2.0

import NetDmaVFIO
import Synchronization

/// The owner of the MSI-X table and pending bits, as the register model sees it.
public protocol MSIXRegisters: AnyObject, Sendable {
  /// Reads `width` bytes (1 to 8) at `offset` of BAR0, inside the table or the pending bits.
  func readMSIX(_ offset: Int, width: Int) -> UInt64
  /// Writes the low `width` bytes of `value` there.
  func writeMSIX(_ offset: Int, width: Int, value: UInt64)
  /// A channel was reset on a part where that wipes table and pending bits.
  func wipeMSIX()
  /// Software re-armed the channel's interrupt and nothing else waits: a message of `vector` that is
  /// still pending behind a mask is not needed any more.
  func withdrawPending(vector: Int)
}

/// What the channels of one function share: the general registers, and the way of an interrupt from
/// a channel to a message.
///
/// Lock order: a channel's lock before this one; neither is held while the interrupt line is called.
final class FunctionState: Sendable {
  let configuration: ModelConfiguration
  let faults = FaultInjector()
  private let line: any InterruptLine
  let msix: (any MSIXRegisters)?
  private let registers: Mutex<GeneralRegisters>

  /// INTRDELAY 13:0 in nanoseconds.
  private let coalescing = Atomic<UInt64>(0)
  /// CHANERR_INT, configuration space 0x180.
  private let errorMirror = Atomic<UInt32>(0)
  private let busMaster = Atomic<Bool>(true)
  private let removed = Atomic<Bool>(false)

  init(
    configuration: ModelConfiguration, line: any InterruptLine, msix: (any MSIXRegisters)?
  ) {
    self.configuration = configuration
    self.line = line
    self.msix = msix
    registers = Mutex(GeneralRegisters())
  }

  // MARK: - State read by the engines

  /// From an event to its interrupt, in nanoseconds.
  var interruptDelay: UInt64 {
    coalescing.load(ordering: .relaxed) &+ configuration.timing.interruptDelay
  }

  var isBusMaster: Bool {
    get { busMaster.load(ordering: .acquiring) }
    set { busMaster.store(newValue, ordering: .releasing) }
  }

  var isRemoved: Bool {
    get { removed.load(ordering: .acquiring) }
    set { removed.store(newValue, ordering: .releasing) }
  }

  var channelErrorInt: UInt32 { errorMirror.load(ordering: .acquiring) }
  func latchChannelError(_ bits: UInt32) {
    errorMirror.bitwiseOr(bits, ordering: .acquiringAndReleasing)
  }
  func clearChannelError(_ bits: UInt32) {
    errorMirror.bitwiseAnd(~bits, ordering: .acquiringAndReleasing)
  }

  /// Whether the errors' mirror keeps a halted channel from loading a chain.
  var errorMirrorBlocksStart: Bool {
    configuration.errorMirrorBlocksStart && channelErrorInt != 0
  }

  // MARK: - Interrupts

  /// Channel `channel` raised its interrupt.
  ///
  /// Called without any lock.
  func raise(channel: Int) {
    let vector = registers.withLock { registers -> Int? in
      let bit = UInt32(1) << UInt32(channel)
      registers.attention |= bit
      guard registers.interruptControl & InterruptControlBit.masterEnable != 0 else {
        registers.undelivered |= bit
        registers.messagesHeld += 1
        return nil
      }
      registers.messages += 1
      return messageVector(of: channel, registers.interruptControl)
    }
    if let vector { line.signal(vector: vector) }
  }

  /// A message that no event stands behind, for fault injection.
  func raiseSpuriously(channel: Int) {
    let vector = registers.withLock { registers in
      registers.messages += 1
      return messageVector(of: channel, registers.interruptControl)
    }
    line.signal(vector: vector)
  }

  /// Software re-armed the channel and no event waits.
  ///
  /// A vector that channels share stays pending: another channel's event may be behind it.
  func withdraw(channel: Int) {
    guard let msix else { return }
    let control = registers.withLock { $0.interruptControl }
    let isShared =
      control & InterruptControlBit.vectorControl == 0
      || configuration.channelCount > configuration.vectorCount
    if configuration.channelCount > 1, isShared { return }
    msix.withdrawPending(vector: messageVector(of: channel, control))
  }

  private func messageVector(of channel: Int, _ control: UInt8) -> Int {
    control & InterruptControlBit.vectorControl != 0 && channel < configuration.vectorCount
      ? channel : 0
  }

  /// INTRCTRL's INT bit: what the INTx pin shows.
  var isInterruptAsserted: Bool {
    registers.withLock { $0.interruptControlReadBack & InterruptControlBit.interrupt != 0 }
  }

  // MARK: - General registers

  /// The word at 8 × `word`, or nil when nothing of what `lanes` touches is implemented.
  func read(word: Int, lanes: ByteLanes) -> UInt64? {
    guard lanes.bits & GeneralRegisters.implemented(word: word, configuration) != 0 else {
      return nil
    }
    return registers.withLock { $0.read(word: word, lanes: lanes, configuration) }
  }

  /// Whether anything of what `lanes` touches is implemented.
  func write(word: Int, lanes: ByteLanes, value: UInt64) -> Bool {
    guard lanes.bits & GeneralRegisters.implemented(word: word, configuration) != 0 else {
      return false
    }
    let vectors = registers.withLock { registers -> UInt32 in
      let vectors = registers.write(word: word, lanes: lanes, value: value, configuration)
      coalescing.store(UInt64(registers.interruptDelay) * 1000, ordering: .relaxed)
      registers.messages += UInt64(vectors.nonzeroBitCount)
      return vectors
    }
    if vectors != 0 {
      for vector in 0..<32 where vectors & 1 << UInt32(vector) != 0 { line.signal(vector: vector) }
    }
    return true
  }

  /// Every general register as after power-on.
  func reset() {
    registers.withLock { $0.reset() }
    coalescing.store(0, ordering: .relaxed)
    errorMirror.store(0, ordering: .releasing)
  }

  var messageCounts: (sent: UInt64, held: UInt64) {
    registers.withLock { ($0.messages, $0.messagesHeld) }
  }
}

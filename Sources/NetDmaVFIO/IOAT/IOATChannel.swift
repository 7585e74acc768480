// SPDX-License-Identifier: Apache-2.0

/// The registers of one channel, and the sequences that move it from state to state.
///
/// It holds no state of its own: what the channel does is in its registers. Callers see to it that
/// only one thread at a time changes a channel's state; `ringDoorbell` and `rearm` may run beside.
public struct IOATChannel: Sendable {
  let device: IOATDevice
  /// 0-based number in the function.
  public let index: Int
  private let window: UInt64

  // Limits of the waits, from what the field's drivers use (Linux 100 ms and 200 ms, SPDK 20 ms).
  private static let suspendMilliseconds = 100
  private static let resetMilliseconds = 200

  init(device: IOATDevice, index: Int) {
    self.device = device
    self.index = index
    window = IOATRegister.channelWindow(index)
  }

  private var registers: RegisterWindow { device.registers }

  // MARK: - Reading

  /// CHANSTS.
  ///
  /// Below 3.3 only the state is to be trusted, not the address (torn reads).
  public func status() throws(IOATError) -> CompletionWord {
    CompletionWord(rawValue: try read64(IOATChannelRegister.chansts))
  }

  /// CHANERR.
  public func errors() throws(IOATError) -> ChannelError {
    do throws(VFIOError) {
      return ChannelError(rawValue: try registers.read32(window + IOATChannelRegister.chanerr))
    } catch { throw .transport(error) }
  }

  /// Every register that tells what the channel does; free of side effects except that CHANCTRL's
  /// in-use bit latches, as on every read.
  public func snapshot() throws(IOATError) -> ChannelSnapshot {
    do throws(VFIOError) {
      return ChannelSnapshot(
        status: CompletionWord(
          rawValue: try registers.read64(window + IOATChannelRegister.chansts)),
        error: ChannelError(rawValue: try registers.read32(window + IOATChannelRegister.chanerr)),
        control: try registers.read16(window + IOATChannelRegister.chanctrl),
        count: try registers.read16(window + IOATChannelRegister.dmacount),
        chainAddress: try registers.read64(window + IOATChannelRegister.chainaddr))
    } catch { throw .transport(error) }
  }

  /// The address of DMACOUNT for the hot path, nil when registers are reached by messages.
  @unsafe var doorbellAddress: UnsafeMutableRawPointer? {
    unsafe registers.address(of: window + IOATChannelRegister.dmacount)
  }

  // MARK: - Sequences

  /// Brings the channel from any state to HALTED, with no error and every counter zero.
  ///
  /// Quiesce, acknowledge errors (CHANERR, and CHANERR_INT in configuration space where it is),
  /// RESET, check; once more, and then it is `.resetFailed`.
  public func reset() throws(IOATError) {
    if try isMoving() { try? suspend() }
    for attempt in 0..<2 {
      try acknowledgeErrors()
      try command(.reset)
      let finished = try Deadline(after: .milliseconds(Self.resetMilliseconds)).poll {
        () throws(IOATError) in
        try read8(IOATChannelRegister.chancmd) & ChannelCommand.reset.rawValue == 0
      }
      let state = try snapshot()
      if state.status.rawValue == .max {
        throw .transport(.deviceGone(device: device.name))
      }
      if finished, state.status.state != .active, state.error.isEmpty { break }
      if attempt == 1 {
        throw .resetFailed(device: device.name, channel: index, snapshot: state)
      }
    }
    // Some engines lose their MSI-X table on a channel reset.
    try device.restoreInterruptsAfterChannelReset()
  }

  /// Programs a HALTED channel: completion address, control, and proof that the control is kept.
  ///
  /// `completion` is a multiple of 8; the engine writes its 64-bit status there.
  public func configure(completion: UInt64, control: ChannelControl) throws(IOATError) {
    try write16(IOATChannelRegister.chanctrl, 0)
    // A channel reset leaves the mask of a former owner, who may not have wanted to hear of everything.
    try write32(IOATChannelRegister.chanerrmask, 0)
    try write64(IOATChannelRegister.chancmp, completion)
    try write16(IOATChannelRegister.chanctrl, control.rawValue)
    let kept = try snapshot()
    let lasting: ChannelControl = [
      .errorCompletionEnable, .anyErrorAbortEnable, .errorInterruptEnable,
    ]
    guard kept.control & lasting.rawValue == control.rawValue & lasting.rawValue else {
      throw .channelLocked(device: device.name, channel: index, snapshot: kept)
    }
    // The read above set CHANNEL_IN_USE; the write releases it for the next owner's probe.
    try write16(IOATChannelRegister.chanctrl, control.rawValue)
  }

  /// Points a HALTED or SUSPENDED channel at a chain; it is ARMED afterwards.
  ///
  /// Whether the engine took the chain is proved by what it does with the first descriptor: the
  /// field's drivers do not agree on a state to wait for.
  public func loadChain(_ address: UInt64) throws(IOATError) {
    try write64(IOATChannelRegister.chainaddr, address)
    let errors = try errors()
    if errors.rawValue == .max { throw .transport(.deviceGone(device: device.name)) }
    if !errors.isEmpty {
      throw .resetFailed(device: device.name, channel: index, snapshot: try snapshot())
    }
  }

  /// DMACOUNT: `count` descriptors, modulo 65536, are valid since the chain address was written.
  @inline(__always)
  public func ringDoorbell(_ count: UInt16) throws(IOATError) {
    try write16(IOATChannelRegister.dmacount, count)
  }

  /// Allows the next interrupt; what happened since the last one raises it at once.
  @inline(__always)
  public func rearm() throws(IOATError) {
    try write16(IOATChannelRegister.chanctrl, ChannelControl.interruptDriven.rawValue)
  }

  /// Stops an ACTIVE or IDLE channel after the descriptor in progress.
  ///
  /// In ARMED and HALTED the command has no useful effect and is not given; an engine that is ARMED
  /// because it has not begun yet with descriptors that it was told of is waited for.
  public func suspend() throws(IOATError) {
    if try status().state == .armed, try snapshot().count != 0 {
      let begun = try Deadline(after: .milliseconds(Self.suspendMilliseconds)).poll {
        () throws(IOATError) in try status().state != .armed
      }
      if !begun { throw try timedOut(waitingFor: "ACTIVE") }
    }
    guard try isMoving() else { return }
    try command(.suspend)
    let stopped = try Deadline(after: .milliseconds(Self.suspendMilliseconds)).poll {
      () throws(IOATError) in try !isMoving()
    }
    if !stopped { throw try timedOut(waitingFor: "SUSPENDED") }
  }

  private func timedOut(waitingFor state: String) throws(IOATError) -> IOATError {
    .timedOut(
      device: device.name, channel: index, waitingFor: state,
      milliseconds: Self.suspendMilliseconds, snapshot: try snapshot())
  }

  /// Acknowledges every error bit that is set, in CHANERR and in CHANERR_INT.
  public func acknowledgeErrors() throws(IOATError) {
    let errors = try errors()
    if errors.rawValue == .max { throw .transport(.deviceGone(device: device.name)) }
    do throws(VFIOError) {
      try registers.write32(window + IOATChannelRegister.chanerr, errors.rawValue)
    } catch { throw .transport(error) }
    device.acknowledgeConfigurationErrors()
  }

  /// Leaves the channel as after power-on: HALTED, no completion address, interrupts off.
  public func retire() throws(IOATError) {
    try reset()
    try write64(IOATChannelRegister.chancmp, 0)
    try write16(IOATChannelRegister.chanctrl, 0)
  }

  // MARK: - Register access

  private func isMoving() throws(IOATError) -> Bool {
    let state = try status().state
    return state == .active || state == .idle
  }

  private func command(_ command: ChannelCommand) throws(IOATError) {
    do throws(VFIOError) {
      try registers.write8(window + IOATChannelRegister.chancmd, command.rawValue)
    } catch { throw .transport(error) }
  }

  private func read8(_ offset: UInt64) throws(IOATError) -> UInt8 {
    do throws(VFIOError) { return try registers.read8(window + offset) } catch {
      throw .transport(error)
    }
  }

  private func read64(_ offset: UInt64) throws(IOATError) -> UInt64 {
    do throws(VFIOError) { return try registers.read64(window + offset) } catch {
      throw .transport(error)
    }
  }

  private func write16(_ offset: UInt64, _ value: UInt16) throws(IOATError) {
    do throws(VFIOError) { try registers.write16(window + offset, value) } catch {
      throw .transport(error)
    }
  }

  private func write32(_ offset: UInt64, _ value: UInt32) throws(IOATError) {
    do throws(VFIOError) { try registers.write32(window + offset, value) } catch {
      throw .transport(error)
    }
  }

  /// Below 3.3 a 64-bit register takes two 32-bit writes, low half first.
  private func write64(_ offset: UInt64, _ value: UInt64) throws(IOATError) {
    do throws(VFIOError) {
      if device.version < .v3_3 {
        try registers.write32(window + offset, UInt32(truncatingIfNeeded: value))
        try registers.write32(window + offset + 4, UInt32(truncatingIfNeeded: value >> 32))
      } else {
        try registers.write64(window + offset, value)
      }
    } catch { throw .transport(error) }
  }
}

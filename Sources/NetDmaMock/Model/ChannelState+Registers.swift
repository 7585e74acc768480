// SPDX-License-Identifier: Apache-2.0

/// What a register write leads to once the channel's lock is released.
struct RegisterEffect: OptionSet, Sendable {
  let rawValue: UInt8
  /// The engine has to look for work or give up what it does.
  static let wakeEngine = RegisterEffect(rawValue: 1)
  /// The channel's interrupt is raised.
  static let signal = RegisterEffect(rawValue: 2)
  /// The channel was re-armed with nothing waiting.
  static let withdraw = RegisterEffect(rawValue: 4)
  /// RESET was written.
  static let reset = RegisterEffect(rawValue: 8)
  /// The channel stopped and the completion word has to say so, if the channel was told to.
  static let reportHalt = RegisterEffect(rawValue: 16)
  /// More descriptors became valid behind those that the engine is at, and that is all: its turn goes on.
  static let extends = RegisterEffect(rawValue: 32)
}

/// What the registers depend on beside the channel itself.
struct RegisterContext {
  let configuration: ModelConfiguration
  /// CHANERR_INT keeps the channel from starting.
  let mirrorBlocksStart: Bool
  let resetNeverEnds: Bool
  /// CLOCK_MONOTONIC, asked for only where time matters.
  let now: () -> UInt64
}

extension ChannelState {
  private static let errorMaskBits = ChannelErrorBit.all
  private static let dcaControlBits: UInt32 = 0x1_ffff
  private static let ringSizeControlBits: UInt16 = 0x030f
  private static let latencyBits: UInt32 = 0xffff

  /// The bytes of the word at 8 × `word` of the window that are registers.
  static func implemented(word: Int, _ configuration: ModelConfiguration) -> UInt64 {
    let is34 = configuration.hasVersion34Registers
    return switch word {
    case 0: 0xffff_00ff_ffff_ffff
    case 1, 2, 3, 4, 5: .max
    case 6: is34 ? 0xffff_0000_ffff_ffff : 0xffff_ffff
    case 7: is34 ? 0xff_0000_0000 : 0
    case 8: is34 ? .max : 0
    default: 0
    }
  }

  // MARK: - Reading

  /// Reads a word with the side effects of the registers that `lanes` touches.
  mutating func read(word: Int, lanes: ByteLanes, _ configuration: ModelConfiguration) -> UInt64 {
    switch word {
    case 0:
      let value =
        UInt64(controlReadBack) | UInt64(configuration.compatibility) << 16
        | UInt64(commandReadBack) << 32 | UInt64(count) << 48
      // Test and set: whoever reads bit 8 takes the channel.
      if lanes.touches(1, 1), !configuration.quirks.contains(.lockedByFirmware) { inUse = true }
      return value
    case 1: return readStatus(lanes)
    case 2: return chainAddress
    case 3: return completionAddress
    case 4: return current
    case 5: return UInt64(error) | UInt64(errorMask) << 32
    case 6: return UInt64(dcaControl) | UInt64(ringSizeControl) << 48
    case 7: return UInt64(latencySelect) << 32
    case 8: return UInt64(latencyActive) | UInt64(latencyIdle) << 32
    default: return 0
    }
  }

  /// Reading the low half alone keeps the high half for the read that follows.
  private mutating func readStatus(_ lanes: ByteLanes) -> UInt64 {
    let live = status
    if lanes == .low {
      latchedStatusHigh = UInt32(truncatingIfNeeded: live >> 32)
    } else if lanes == .high, let high = latchedStatusHigh {
      latchedStatusHigh = nil
      return UInt64(high) << 32
    } else if lanes == .all {
      latchedStatusHigh = nil
    }
    return live
  }

  // MARK: - Writing

  /// Writes a word; a wide access acts on its registers from the lowest to the highest.
  mutating func write(
    word: Int, lanes: ByteLanes, value: UInt64, _ context: RegisterContext
  ) -> RegisterEffect {
    switch word {
    case 0:
      var effect: RegisterEffect = []
      if lanes.touches(ModelChannelRegister.control, 2) {
        effect.formUnion(writeControl(lanes, value, context))
      }
      if lanes.touches(ModelChannelRegister.command, 1) {
        effect.formUnion(
          command(lanes.field(at: ModelChannelRegister.command, from: value), context))
      }
      if lanes.touches(ModelChannelRegister.count, 2) {
        let new = lanes.merge(count, at: ModelChannelRegister.count, from: value)
        if phase == .active, new &- counter >= count &- counter,
          lanes.bits & ~ByteLanes(start: ModelChannelRegister.count, width: 2).bits == 0
        {
          effect.insert(.extends)
        }
        if ring(new, now: context.now(), startDelay: context.configuration.timing.startDelay) {
          effect.insert(.wakeEngine)
        }
      }
      return effect
    case 2:
      chainAddress = lanes.merge(chainAddress, at: 0, from: value)
      writeChainAddress(context)
    case 3:
      completionAddress = lanes.merge(completionAddress, at: 0, from: value)
    case 5:
      let cleared: UInt32 = lanes.field(at: 0, from: value)
      error &= ~cleared
      errorMask = lanes.merge(errorMask, at: 4, from: value) & Self.errorMaskBits
    case 6:
      dcaControl = lanes.merge(dcaControl, at: 0, from: value) & Self.dcaControlBits
      if context.configuration.hasVersion34Registers {
        ringSizeControl =
          lanes.merge(ringSizeControl, at: 6, from: value) & Self.ringSizeControlBits
      }
    case 7:
      latencySelect = lanes.merge(latencySelect, at: 4, from: value) & 1
    case 8:
      latencyActive = lanes.merge(latencyActive, at: 0, from: value) & Self.latencyBits
      latencyIdle = lanes.merge(latencyIdle, at: 4, from: value) & Self.latencyBits
    default: break
    }
    return []
  }

  private mutating func writeControl(
    _ lanes: ByteLanes, _ value: UInt64, _ context: RegisterContext
  ) -> RegisterEffect {
    guard !context.configuration.quirks.contains(.lockedByFirmware) else { return [] }
    control = lanes.merge(control, at: 0, from: value) & ChannelControlBit.plain
    if lanes.touches(1, 1), lanes.field(at: 0, from: value) & ChannelControlBit.inUse == 0 {
      inUse = false
    }
    let written: UInt16 = lanes.field(at: 0, from: value)
    guard written & ChannelControlBit.interruptDisable != 0 else { return [] }
    return switch rearm(now: context.now()) {
    case .nothing: .withdraw
    case .signal: .signal
    case .delayed: .wakeEngine
    }
  }

  /// Each half of a split write loads the chain again, so only the last one counts.
  private mutating func writeChainAddress(_ context: RegisterContext) {
    switch phase {
    case .halted:
      // An error that was not acknowledged, here or in configuration space, keeps it halted.
      if error == 0, !context.mirrorBlocksStart, !resetIsStuck { arm() }
    case .suspended, .armed:
      arm()
    case .active, .idle:
      statistics.undefinedWrites += 1
    }
  }

  private mutating func command(_ value: UInt8, _ context: RegisterContext) -> RegisterEffect {
    let bits = value & 0x3f
    if bits & ChannelCommandBit.reset != 0 {
      reset(neverEnds: context.resetNeverEnds)
      return [.reset, .wakeEngine]
    }
    switch bits {
    case 0:
      return []
    case ChannelCommandBit.suspend:
      suspend()
      return .wakeEngine
    case ChannelCommandBit.resume:
      resume()
      return .wakeEngine
    case ChannelCommandBit.abort:
      return abort()
    case ChannelCommandBit.start, ChannelCommandBit.append:
      statistics.undefinedWrites += 1
      return []
    default:
      return commandError()
    }
  }

  /// ABORT stops at once; what is in flight counts for nothing.
  private mutating func abort() -> RegisterEffect {
    guard phase != .halted else { return [] }
    halt()
    return [.wakeEngine, .reportHalt]
  }

  /// More than one command at once.
  ///
  /// No descriptor is to blame, so the channel stops only if it was told to stop on any error.
  private mutating func commandError() -> RegisterEffect {
    guard errorMask & ChannelErrorBit.command == 0 else { return [] }
    error |= ChannelErrorBit.command
    statistics.errors += 1
    guard phase != .halted, control & ChannelControlBit.anyErrorAbort != 0 else { return [] }
    if phase == .active, isBusy || isHung {
      stopRequest = .halt
      return []
    }
    halt()
    return .reportHalt
  }

  /// HALTED, with the position kept for the completion word.
  mutating func halt() {
    phase = .halted
    stopRequest = .none
    isHung = false
    startTime = 0
    epoch &+= 1
  }
}

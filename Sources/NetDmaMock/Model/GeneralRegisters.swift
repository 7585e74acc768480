// SPDX-License-Identifier: Apache-2.0

/// The registers below the channel windows.
struct GeneralRegisters: Sendable {
  var generalControl: UInt8 = 0
  /// INTRCTRL bits 0 and 3, the ones that software sets.
  var interruptControl: UInt8 = 0
  /// ATTNSTATUS: bit i, channel i raised an interrupt since the register was read.
  var attention: UInt32 = 0
  /// Channels whose interrupt was raised while the master enable was off.
  var undelivered: UInt32 = 0
  /// INTRDELAY 13:0.
  var interruptDelay: UInt16 = 0
  var prefetchLimit: UInt8 = 0
  // Statistics, which a reset leaves.
  var messages: UInt64 = 0
  var messagesHeld: UInt64 = 0

  private static let interruptDelayMask: UInt16 = 0x3fff
  private static let interruptDelaySupported: UInt16 = 0x8000

  mutating func reset() {
    let (sent, held) = (messages, messagesHeld)
    self = GeneralRegisters()
    messages = sent
    messagesHeld = held
  }

  /// The bytes of the word at 8 × `word` that are registers.
  static func implemented(word: Int, _ configuration: ModelConfiguration) -> UInt64 {
    switch word {
    case 0: .max
    case 1: 0xffff_ffff_ffff_00ff
    case 2: 0x0000_ffff_ffff_ffff
    case 8: 0xff
    case 9: configuration.hasVersion34Registers ? 0xff_0000_0000 : 0
    default: 0
    }
  }

  var interruptControlReadBack: UInt8 {
    var value = interruptControl
    if attention != 0 {
      value |= InterruptControlBit.status
      if value & InterruptControlBit.masterEnable != 0 { value |= InterruptControlBit.interrupt }
    }
    return value
  }

  /// Reads a word with the side effects of the registers that `lanes` touches.
  mutating func read(word: Int, lanes: ByteLanes, _ configuration: ModelConfiguration) -> UInt64 {
    switch word {
    case 0:
      let channels =
        configuration.quirks.contains(.lockedByFirmware) ? 0 : UInt64(configuration.channelCount)
      let value =
        channels | UInt64(configuration.transferCapability) << 8 | UInt64(generalControl) << 16
        | UInt64(interruptControlReadBack) << 24 | UInt64(attention) << 32
      if lanes.touches(ModelRegister.interruptControl, 1) {
        // Reading takes the interrupt: the handler enables it again when it has finished.
        interruptControl &= ~InterruptControlBit.masterEnable
      }
      let seen: UInt32 = lanes.field(at: ModelRegister.attentionStatus, from: value)
      attention &= ~seen
      if interruptControl & InterruptControlBit.vectorControl == 0 { undelivered &= ~seen }
      return value
    case 1:
      let delay =
        configuration.supportsInterruptDelay
        ? interruptDelay | Self.interruptDelaySupported : 0
      return UInt64(configuration.cbVersion) | UInt64(delay) << 32
    case 2:
      return UInt64(configuration.capabilities)
    case 9:
      return UInt64(prefetchLimit) << 32
    default:
      return 0
    }
  }

  /// Writes a word; returns the vectors whose interrupt is to be signalled.
  mutating func write(
    word: Int, lanes: ByteLanes, value: UInt64, _ configuration: ModelConfiguration
  ) -> UInt32 {
    switch word {
    case 0:
      generalControl =
        lanes.merge(
          generalControl, at: ModelRegister.generalControl, from: value) & 1
      if lanes.touches(ModelRegister.interruptControl, 1) {
        return writeInterruptControl(
          lanes.field(at: ModelRegister.interruptControl, from: value), configuration)
      }
    case 1 where configuration.supportsInterruptDelay:
      interruptDelay =
        lanes.merge(interruptDelay, at: ModelRegister.interruptDelay - 8, from: value)
        & Self.interruptDelayMask
    case 9:
      prefetchLimit = lanes.merge(
        prefetchLimit, at: ModelRegister.prefetchLimit - 0x48, from: value)
    default:
      break
    }
    return 0
  }

  private mutating func writeInterruptControl(
    _ value: UInt8, _ configuration: ModelConfiguration
  ) -> UInt32 {
    let wasEnabled = interruptControl & InterruptControlBit.masterEnable != 0
    interruptControl =
      value & (InterruptControlBit.masterEnable | InterruptControlBit.vectorControl)
    guard !wasEnabled, interruptControl & InterruptControlBit.masterEnable != 0 else { return 0 }
    defer { undelivered = 0 }
    if interruptControl & InterruptControlBit.vectorControl != 0 {
      // A vector each; a channel beyond the last vector shares the first.
      let own =
        configuration.vectorCount >= 32 ? .max : UInt32(1) << UInt32(configuration.vectorCount) - 1
      return undelivered & own | (undelivered & ~own != 0 ? 1 : 0)
    }
    return attention != 0 ? 1 : 0
  }
}

// SPDX-License-Identifier: Apache-2.0

/// Where things are in an emulated function's configuration space.
///
/// MSI-X at 0x80, PCI Express at 0x90 and power management at 0xe0, as on silicon; MSI, where a
/// profile has it, at 0x60. Extended space begins with advanced error reporting (0x100 to 0x12b, a
/// function that is no root port has no more of it), which leaves the engine's own error registers
/// (0x148 to 0x18c) their places.
enum ConfigurationLayout {
  // Header.
  static let command = 0x04
  static let status = 0x06
  static let bar0 = 0x10
  static let capabilities = 0x34
  static let interruptPin = 0x3d
  // Capabilities.
  static let msi = 0x60
  static let msix = 0x80
  static let express = 0x90
  static let powerManagement = 0xe0
  static let errorReporting = 0x100
  // Registers that do something.
  static let msiControl = msi + 0x02
  static let msiMask = msi + 0x10
  static let msiPending = msi + 0x14
  static let msixControl = msix + 0x02
  static let deviceControl = express + 0x08
  static let powerControl = powerManagement + 0x04
  /// DMAUNCERRSTS, W1C.
  static let uncorrectableStatus = 0x148
  /// CHANERR_INT, W1C.
  static let channelError = 0x180
  /// CHANERRMSK_INT, RW.
  static let channelErrorMask = 0x184
  /// CHANERRPTR, RO.
  static let channelErrorPointer = 0x18c
}

/// COMMAND bits.
enum CommandBit {
  static let memory: UInt16 = 1 << 1
  static let busMaster: UInt16 = 1 << 2
  static let interruptDisable: UInt16 = 1 << 10
  /// I/O, memory, bus master, parity response, SERR, interrupt disable.
  static let writable: UInt16 = 0x0547
}

/// STATUS bits.
enum StatusBit {
  static let interrupt: UInt32 = 1 << 3
  static let capabilityList: UInt16 = 1 << 4
  /// Detected parity error, SERR, aborts, master data parity error.
  static let clearedByOne: UInt16 = 0xf900
}

/// Power states in PMCSR.
enum PowerState {
  static let mask: UInt32 = 3
  static let d0: UInt32 = 0
  static let d3hot: UInt32 = 3
}

/// MSI-X message control bits.
enum MSIXControlBit {
  static let functionMask: UInt16 = 1 << 14
  static let enable: UInt16 = 1 << 15
}

/// MSI message control.
enum MSIControlBit {
  static let enable: UInt16 = 1
  static let multipleEnableShift = 4
  static let is64Bit: UInt16 = 1 << 7
  static let isMaskable: UInt16 = 1 << 8
}

/// DEVCTL bits.
enum DeviceControlBit {
  /// Reads 0; a 1 asks for a function-level reset.
  static let functionReset: UInt16 = 1 << 15
  /// Maximum read request 512 bytes, no-snoop and relaxed ordering on: the specification's defaults.
  static let reset: UInt16 = 0x2810
  /// Everything but what the capabilities deny: extended tags, phantom functions, auxiliary power.
  static let writable: UInt16 = 0x78ff
}

extension ConfigurationLayout {
  /// Every register of the function that `profile` describes.
  static func registers(_ profile: DeviceProfile) -> [ConfigurationRegister] {
    var list: [(id: UInt8, offset: Int)] = []
    if profile.msixVectorCount > 0 { list.append((0x11, msix)) }
    if profile.msiVectorCount > 0 { list.append((0x05, msi)) }
    list.append((0x10, express))
    list.append((0x01, powerManagement))

    var registers = header(profile, firstCapability: UInt8(list[0].offset))
    for (index, capability) in list.enumerated() {
      let next = list.indices.contains(index + 1) ? UInt16(list[index + 1].offset) : 0
      registers.append(.u16(capability.offset, UInt16(capability.id) | next << 8))
    }
    if profile.msixVectorCount > 0 { registers += msixRegisters(profile) }
    if profile.msiVectorCount > 0 { registers += msiRegisters(profile) }
    registers += expressRegisters
    registers += powerRegisters(profile)
    if profile.hasErrorRegisters { registers += errorRegisters(profile) }
    return registers
  }

  private static func header(
    _ profile: DeviceProfile, firstCapability: UInt8
  ) -> [ConfigurationRegister] {
    [
      .u16(0x00, 0x8086), .u16(0x02, profile.model.deviceID),
      .u16(command, 0, writable: CommandBit.writable),
      .u16(status, StatusBit.capabilityList, clearedByOne: StatusBit.clearedByOne),
      // Class: other system peripheral.
      .u32(0x08, 0x0880_0000 | UInt32(profile.revision)),
      // Cache line size and latency timer have no effect.
      .u8(0x0c, 0, writable: 0xff), .u8(0x0d, 0, writable: 0xff), .u8(0x0e), .u8(0x0f),
      // BAR0: memory, 64 bit, not prefetchable, 16 KiB; the bits below the size are zero.
      .u32(bar0, 0x4, writable: ~UInt32(ModelRegister.windowSize - 1)),
      .u32(bar0 + 4, 0, writable: .max),
      .u32(0x18), .u32(0x1c), .u32(0x20), .u32(0x24), .u32(0x28),
      .u16(0x2c, profile.subsystemVendor), .u16(0x2e, profile.subsystemID),
      .u32(0x30), .u8(capabilities, firstCapability),
      .u8(0x3c, 0, writable: 0xff), .u8(interruptPin, profile.interruptPin), .u8(0x3e), .u8(0x3f),
    ]
  }

  private static func msixRegisters(_ profile: DeviceProfile) -> [ConfigurationRegister] {
    [
      .u16(
        msixControl, UInt16(profile.msixVectorCount - 1),
        writable: MSIXControlBit.enable | MSIXControlBit.functionMask),
      // Both in BAR0, whose number is 0.
      .u32(msix + 0x04, UInt32(profile.model.msixTableOffset)),
      .u32(msix + 0x08, UInt32(profile.model.msixPendingOffset)),
    ]
  }

  private static func msiRegisters(_ profile: DeviceProfile) -> [ConfigurationRegister] {
    let messages = profile.msiVectorCount
    let order = UInt16(messages.trailingZeroBitCount)
    let vectors = UInt32.max >> UInt32(32 - messages)
    return [
      .u16(
        msiControl, order << 1 | MSIControlBit.is64Bit | MSIControlBit.isMaskable,
        writable: MSIControlBit.enable | 7 << MSIControlBit.multipleEnableShift),
      .u32(msi + 0x04, 0, writable: 0xffff_fffc), .u32(msi + 0x08, 0, writable: .max),
      .u16(msi + 0x0c, 0, writable: .max), .u16(msi + 0x0e),
      .u32(msiMask, 0, writable: vectors), .u32(msiPending),
    ]
  }

  /// Version 2, root complex integrated endpoint: there is no link, so its registers are zero.
  private static let expressRegisters: [ConfigurationRegister] = [
    .u16(express + 0x02, 0x0092),
    // DEVCAP: payloads of 128 bytes, role-based error reporting, function-level reset.
    .u32(express + 0x04, 0x1000_8000),
    .u16(deviceControl, DeviceControlBit.reset, writable: DeviceControlBit.writable),
    .u16(express + 0x0a, 0, clearedByOne: 0x000f),
    .u32(express + 0x0c), .u32(express + 0x10), .u32(express + 0x14), .u32(express + 0x18),
    .u32(express + 0x1c), .u32(express + 0x20),
    // DEVCAP2, DEVCTL2: completion timeouts can be switched off.
    .u32(express + 0x24, 0x10), .u16(express + 0x28, 0, writable: 0x10), .u16(express + 0x2a),
    .u32(express + 0x2c), .u32(express + 0x30), .u32(express + 0x34), .u32(express + 0x38),
  ]

  private static func powerRegisters(_ profile: DeviceProfile) -> [ConfigurationRegister] {
    [
      // Version 3, neither D1 nor D2, no PME.
      .u16(powerManagement + 0x02, 0x0003),
      // 1:0 power state, 3 No_Soft_Reset.
      .u16(powerControl, profile.keepsStateInD3 ? 0x0008 : 0, writable: 0x0003),
      .u16(powerControl + 2),
    ]
  }

  /// Advanced error reporting, version 2, the last extended capability; then the engine's own.
  private static func errorRegisters(_ profile: DeviceProfile) -> [ConfigurationRegister] {
    // Every error that the specification had defined by version 3.0 of PCI Express.
    let uncorrectable: UInt32 = 0x03ff_f010 | 0x20
    let correctable: UInt32 = 0xf1c1
    return [
      .u32(errorReporting, 0x0002_0001),
      .u32(errorReporting + 0x04, 0, clearedByOne: uncorrectable, isSticky: true),
      .u32(errorReporting + 0x08, 0, writable: uncorrectable, isSticky: true),
      // Fatal by default: data link protocol, surprise down, flow control, overflow, malformed.
      .u32(errorReporting + 0x0c, 0x0046_2030, writable: uncorrectable, isSticky: true),
      .u32(errorReporting + 0x10, 0, clearedByOne: correctable, isSticky: true),
      // Advisory non-fatal errors are masked by default.
      .u32(errorReporting + 0x14, 0x2000, writable: correctable, isSticky: true),
      .u32(errorReporting + 0x18), .u32(errorReporting + 0x1c), .u32(errorReporting + 0x20),
      .u32(errorReporting + 0x24), .u32(errorReporting + 0x28),
      // DMAUNCERRSTS, MSK, SEV, PTR, DMAGLBERRPTR. Bit 4: configuration register parity.
      .u32(
        uncorrectableStatus, profile.hasSpuriousParityError ? 0x10 : 0, clearedByOne: .max),
      .u32(0x14c, 0, writable: .max), .u32(0x150, 0, writable: .max), .u8(0x154), .u8(0x160),
      // CHANERR_INT and CHANERRPTR show the channels' errors; the model holds them.
      .u32(channelError),
      .u32(channelErrorMask, 0, writable: ChannelErrorBit.all),
      .u32(0x188, 0, writable: ChannelErrorBit.all), .u8(channelErrorPointer),
    ]
  }
}

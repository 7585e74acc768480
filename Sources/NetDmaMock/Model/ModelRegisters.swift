// SPDX-License-Identifier: Apache-2.0

// The device's own literals, written from the hardware's description and shared with no driver: a
// mistake in a driver's register table must show up here, not be repeated. A test compares the two
// sets.

/// Offsets of the general registers in BAR0 (version 3 layout).
enum ModelRegister {
  /// CHANCNT, 8 bit, RO.
  static let channelCount = 0x00
  /// XFERCAP, 8 bit, RO.
  static let transferCapability = 0x01
  /// GENCTRL, 8 bit, RW.
  static let generalControl = 0x02
  /// INTRCTRL, 8 bit; reading clears bit 0.
  static let interruptControl = 0x03
  /// ATTNSTATUS, 32 bit, RO; reading clears.
  static let attentionStatus = 0x04
  /// CBVER, 8 bit, RO.
  static let version = 0x08
  /// PERPORTOFFSET, 16 bit, RO.
  static let perPortOffset = 0x0a
  /// INTRDELAY, 16 bit; 13:0 RW, 15 RO.
  static let interruptDelay = 0x0c
  /// CS_STATUS, 16 bit, RO.
  static let chipsetStatus = 0x0e
  /// DMACAPABILITY, 32 bit, RO.
  static let capability = 0x10
  /// DCAOFFSET, 16 bit, RO.
  static let dcaOffset = 0x14
  /// CBPRIO, 8 bit, RO zero.
  static let priority = 0x40
  /// CHWPREFLMT, 8 bit, RW, version 3.4.
  static let prefetchLimit = 0x4c

  /// Window of channel 0, and the distance from each window to the next.
  static let firstChannelWindow = 0x80
  static let channelWindowSize = 0x80
  /// Windows that fit below 0x1000, which CHANCNT's five bits can count.
  static let maximumChannels = 31
  /// Bytes of BAR0.
  static let windowSize = 0x4000
}

/// Offsets in a channel's window.
enum ModelChannelRegister {
  /// CHANCTRL, 16 bit, RW with special bits.
  static let control = 0x00
  /// DMA_COMP, 16 bit, RO.
  static let compatibility = 0x02
  /// CHANCMD, 8 bit, self-clearing.
  static let command = 0x04
  /// DMACOUNT, 16 bit, RW.
  static let count = 0x06
  /// CHANSTS, 64 bit, RO.
  static let status = 0x08
  /// CHAINADDR, 64 bit, RW.
  static let chainAddress = 0x10
  /// CHANCMP, 64 bit, RW.
  static let completionAddress = 0x18
  /// CDAR, 64 bit, RO.
  static let currentDescriptor = 0x20
  /// CHANERR, 32 bit, W1C.
  static let error = 0x28
  /// CHANERRMASK, 32 bit, RW.
  static let errorMask = 0x2c
  /// DCACTRL, 32 bit, RW.
  static let dcaControl = 0x30
  /// DRSCTL, 16 bit, RW, version 3.4.
  static let ringSizeControl = 0x36
  /// LTR_SWSEL, 8 bit, RW, version 3.4.
  static let latencySelect = 0x3c
  /// LTR_ACTIVE, 32 bit, RW, version 3.4.
  static let latencyActive = 0x40
  /// LTR_IDLE, 32 bit, RW, version 3.4.
  static let latencyIdle = 0x44
}

/// INTRCTRL bits.
enum InterruptControlBit {
  static let masterEnable: UInt8 = 0x01
  static let status: UInt8 = 0x02
  static let interrupt: UInt8 = 0x04
  static let vectorControl: UInt8 = 0x08
}

/// CHANCTRL bits.
enum ChannelControlBit {
  /// Set by hardware with an interrupt; written 1 to clear, written 0 to leave.
  static let interruptDisable: UInt16 = 0x0001
  static let errorCompletion: UInt16 = 0x0004
  static let anyErrorAbort: UInt16 = 0x0008
  static let errorInterrupt: UInt16 = 0x0010
  static let descriptorNoSnoop: UInt16 = 0x0020
  /// Set by reading, cleared by writing 0.
  static let inUse: UInt16 = 0x0100
  static let completionDCA: UInt16 = 0x0200
  static let priority: UInt16 = 0xf000
  /// What software can set and read back.
  static let plain: UInt16 =
    errorCompletion | anyErrorAbort | errorInterrupt | descriptorNoSnoop | completionDCA | priority
}

/// CHANCMD bits.
enum ChannelCommandBit {
  static let start: UInt8 = 0x01
  static let append: UInt8 = 0x02
  static let suspend: UInt8 = 0x04
  static let abort: UInt8 = 0x08
  static let resume: UInt8 = 0x10
  static let reset: UInt8 = 0x20
}

/// Fields of CHANSTS and the completion word beside the three state bits.
enum ChannelStatusBit {
  static let unaffiliatedError: UInt64 = 0x08
  static let softError: UInt64 = 0x10
  static let addressMask: UInt64 = ~0x3f
}

/// CHANERR bits (one per cause).
enum ChannelErrorBit {
  static let sourceAddress: UInt32 = 1 << 0
  static let destinationAddress: UInt32 = 1 << 1
  static let nextAddress: UInt32 = 1 << 2
  static let descriptor: UInt32 = 1 << 3
  static let chainAddress: UInt32 = 1 << 4
  static let command: UInt32 = 1 << 5
  static let chipsetData: UInt32 = 1 << 6
  static let engineData: UInt32 = 1 << 7
  static let readData: UInt32 = 1 << 8
  static let writeData: UInt32 = 1 << 9
  static let control: UInt32 = 1 << 10
  static let length: UInt32 = 1 << 11
  static let completionAddress: UInt32 = 1 << 12
  static let interruptConfiguration: UInt32 = 1 << 13
  static let extensionAddress: UInt32 = 1 << 14
  static let unaffiliated: UInt32 = 1 << 15
  static let xorPOrCRC: UInt32 = 1 << 16
  static let xorQ: UInt32 = 1 << 17
  static let descriptorCount: UInt32 = 1 << 18
  /// Every bit that has a name (27:0).
  static let all: UInt32 = 0x0fff_ffff
  /// Causes that no descriptor is to blame for: they stop the channel only if it was asked to stop
  /// on any error.
  static let notTiedToDescriptor: UInt32 =
    command | completionAddress | interruptConfiguration | unaffiliated
}

/// DMACAPABILITY bits.
enum CapabilityBit {
  static let pageBreak: UInt32 = 0x1
  static let crc: UInt32 = 0x2
  static let dca: UInt32 = 0x10
  static let moveCRC: UInt32 = 0x20
  static let fill: UInt32 = 0x40
  static let extendedAPICID: UInt32 = 0x80
  static let xor: UInt32 = 0x100
  static let pq: UInt32 = 0x200
  static let descriptorWriteBack: UInt32 = 0x2000
  static let raid16Sources: UInt32 = 0x2_0000
  static let completionTimeout: UInt32 = 0x8_0000
  static let descriptorPrefetch: UInt32 = 0x80_0000
  /// What the model does; a bit that is not here must read 0, or drivers would use it.
  static let implemented: UInt32 =
    pageBreak | crc | dca | moveCRC | fill | extendedAPICID | xor | pq | descriptorWriteBack
    | raid16Sources | completionTimeout | descriptorPrefetch
}

/// Control word of a descriptor, byte 4.
enum DescriptorBit {
  static let interrupt: UInt32 = 1 << 0
  static let sourceNoSnoop: UInt32 = 1 << 1
  static let destinationNoSnoop: UInt32 = 1 << 2
  static let completion: UInt32 = 1 << 3
  static let fence: UInt32 = 1 << 4
  static let null: UInt32 = 1 << 5
  static let sourcePageBreak: UInt32 = 1 << 6
  static let destinationPageBreak: UInt32 = 1 << 7
  static let bundle: UInt32 = 1 << 8
  static let destinationDCA: UInt32 = 1 << 9
  static let hint: UInt32 = 1 << 10
  /// What a copy may carry and is still nothing but a copy that nobody waits for.
  static let plain: UInt32 =
    sourceNoSnoop | destinationNoSnoop | fence | bundle | destinationDCA | hint
  /// CRC: load the seed from the descriptor.
  static let useSeed: UInt32 = 1 << 11
  /// CRC: 1, the CRC is in the four bytes behind the data.
  static let crcBehindData: UInt32 = 1 << 12
  /// P and Q.
  static let pDisable: UInt32 = 1 << 11
  static let qDisable: UInt32 = 1 << 12
  static let writeBack: UInt32 = 1 << 15
  static let prl: UInt32 = 1 << 16
  static let sourceCountShift: UInt32 = 5
  static let sourceCountMask: UInt32 = 7
  static let coefficientShift: UInt32 = 16
  static let operationShift: UInt32 = 24
}

/// Opcodes, bits 31:24 of the control word.
enum Opcode {
  static let copy: UInt8 = 0x00
  static let fill: UInt8 = 0x01
  static let moveCRC: UInt8 = 0x41
  static let moveCRCTest: UInt8 = 0x42
  static let moveCRCStore: UInt8 = 0x43
  static let crc: UInt8 = 0x81
  static let crcTest: UInt8 = 0x82
  static let crcStore: UInt8 = 0x83
  static let xor: UInt8 = 0x87
  static let xorValidate: UInt8 = 0x88
  static let pq: UInt8 = 0x89
  static let pqValidate: UInt8 = 0x8a
  static let pqUpdate: UInt8 = 0x8b
  static let pq16: UInt8 = 0xa0
  static let pq16Validate: UInt8 = 0xa1
  static let contextChange: UInt8 = 0xff
}

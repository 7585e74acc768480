// SPDX-License-Identifier: Apache-2.0

/// Register offsets in BAR0 and the bits of each register (Linux drivers/dma/ioat/registers.h).
///
/// Access: RO read-only, RW read-write, W1C write one to clear.
public enum IOATRegister {
  /// CHANCNT, 8 bit, RO: bits 4:0 number of channels.
  public static let chancnt: UInt64 = 0x00
  /// XFERCAP, 8 bit, RO: bits 4:0 log2 of the bytes that one descriptor may transfer.
  public static let xfercap: UInt64 = 0x01
  /// GENCTRL, 8 bit, RW: bit 0 debug enable.
  public static let genctrl: UInt64 = 0x02
  /// INTRCTRL, 8 bit: master interrupt enable and status; see `InterruptControl`.
  public static let intrctrl: UInt64 = 0x03
  /// ATTNSTATUS, 32 bit, RO, cleared by reading: bit i, channel i wants attention.
  public static let attnstatus: UInt64 = 0x04
  /// CBVER, 8 bit, RO: major and minor nibble.
  public static let cbver: UInt64 = 0x08
  /// PERPORTOFFSET, 16 bit, RO: offset of the registers of version 1's ports.
  public static let perportoffset: UInt64 = 0x0a
  /// INTRDELAY, 16 bit: bits 13:0 RW delay in µs; bit 15 RO coalescing supported.
  public static let intrdelay: UInt64 = 0x0c
  /// CS_STATUS, 16 bit, RO: degraded, MMIO restricted, bypass, remapping.
  public static let csStatus: UInt64 = 0x0e
  /// DMACAPABILITY, 32 bit, RO; see `DMACapability`.
  public static let dmacapability: UInt64 = 0x10
  /// DCAOFFSET, 16 bit, RO: offset of the DCA block, 0 for none.
  public static let dcaoffset: UInt64 = 0x14
  /// CHWPREFLMT, 8 bit, RW, version 3.4: descriptor prefetch limit.
  public static let chwpreflmt: UInt64 = 0x4c

  /// Offset of channel `index`'s window of 0x80 bytes.
  public static func channelWindow(_ index: Int) -> UInt64 { channelWindowSize * UInt64(index + 1) }
  /// Bytes of a channel's registers.
  static let channelWindowSize: UInt64 = 0x80
}

/// Offsets in a channel's window (version 2 and 3 layout).
public enum IOATChannelRegister {
  /// CHANCTRL, 16 bit, RW; see `ChannelControl`.
  public static let chanctrl: UInt64 = 0x00
  /// DMA_COMP, 16 bit, RO: compatibility with older versions.
  public static let dmaComp: UInt64 = 0x02
  /// CHANCMD, 8 bit, RW, self-clearing; see `ChannelCommand`.
  public static let chancmd: UInt64 = 0x04
  /// DMACOUNT, 16 bit, RW: descriptors made valid since CHAINADDR was written, modulo 65536.
  public static let dmacount: UInt64 = 0x06

  /// Whether an offset of BAR0 is that of some channel's DMACOUNT.
  static func isCount(_ offset: UInt64) -> Bool {
    offset >= IOATRegister.channelWindow(0) && offset % IOATRegister.channelWindowSize == dmacount
  }
  /// CHANSTS, 64 bit, RO; layout of `CompletionWord`.
  public static let chansts: UInt64 = 0x08
  /// CHAINADDR, 64 bit, RW: first descriptor; bits 5:0 zero.
  public static let chainaddr: UInt64 = 0x10
  /// CHANCMP, 64 bit, RW: where the completion word goes; bits 2:0 zero.
  public static let chancmp: UInt64 = 0x18
  /// CDAR, 64 bit, RO: current descriptor address.
  public static let cdar: UInt64 = 0x20
  /// CHANERR, 32 bit, W1C; see `ChannelError`.
  public static let chanerr: UInt64 = 0x28
  /// CHANERRMASK, 32 bit, RW: 1, the error does not halt.
  public static let chanerrmask: UInt64 = 0x2c
  /// DCACTRL, 32 bit, RW: DCA target.
  public static let dcactrl: UInt64 = 0x30
  /// DRSCTL, 16 bit, RW, version 3.4: descriptor ring size for prefetch.
  public static let drsctl: UInt64 = 0x36
}

/// Configuration-space registers of the function, beyond the standard header.
public enum IOATConfigRegister {
  /// DMAUNCERRSTS, 32 bit, W1C.
  public static let dmauncerrsts: UInt64 = 0x148
  /// CHANERR_INT, 32 bit, W1C: a mirror of channel errors that blocks a restart below version 3.3.
  public static let chanerrInt: UInt64 = 0x180
  /// CHANERRMSK_INT, 32 bit, RW.
  public static let chanerrmskInt: UInt64 = 0x184
}

/// CBVER: the version of the engine, major and minor.
public struct CBVersion: RawRepresentable, Hashable, Comparable, Sendable, CustomStringConvertible {
  /// Major in the high nibble, minor in the low one.
  public let rawValue: UInt8
  /// A version from the register's value.
  public init(rawValue: UInt8) { self.rawValue = rawValue }
  /// 3.0, the oldest with ring semantics (DMACOUNT).
  public static let v3_0 = Self(rawValue: 0x30)
  /// 3.2.
  public static let v3_2 = Self(rawValue: 0x32)
  /// 3.3.
  public static let v3_3 = Self(rawValue: 0x33)
  /// 3.4.
  public static let v3_4 = Self(rawValue: 0x34)
  /// Older first.
  public static func < (a: Self, b: Self) -> Bool { a.rawValue < b.rawValue }
  /// "3.3".
  public var description: String { "\(rawValue >> 4).\(rawValue & 0xf)" }
}

/// DMACAPABILITY bits.
public struct DMACapability: OptionSet, Hashable, Sendable {
  /// The register's value.
  public let rawValue: UInt32
  /// A set from the register's value.
  public init(rawValue: UInt32) { self.rawValue = rawValue }
  /// Page breaks in descriptors.
  public static let pageBreak = Self(rawValue: 0x1)
  /// CRC generation and check.
  public static let crc = Self(rawValue: 0x2)
  /// Marker skipping.
  public static let markerSkipping = Self(rawValue: 0x4)
  /// The deprecated XOR opcodes.
  public static let oldXOR = Self(rawValue: 0x8)
  /// Direct cache access.
  public static let dca = Self(rawValue: 0x10)
  /// Move with CRC.
  public static let moveCRC = Self(rawValue: 0x20)
  /// Block fill.
  public static let fill = Self(rawValue: 0x40)
  /// Extended APIC ids.
  public static let extendedAPICID = Self(rawValue: 0x80)
  /// XOR of up to 8 sources.
  public static let xor = Self(rawValue: 0x100)
  /// P and Q of up to 8 sources.
  public static let pq = Self(rawValue: 0x200)
  /// Data integrity fields.
  public static let dif = Self(rawValue: 0x400)
  /// Write-back of errors into the descriptor.
  public static let descriptorWriteBack = Self(rawValue: 0x2000)
  /// P and Q of up to 16 sources.
  public static let raid16SS = Self(rawValue: 0x2_0000)
  /// Multicast.
  public static let multicast = Self(rawValue: 0x4_0000)
  /// Completion timeout.
  public static let completionTimeout = Self(rawValue: 0x8_0000)
  /// Descriptor prefetch.
  public static let descriptorPrefetch = Self(rawValue: 0x80_0000)

  /// Short names of the bits that are set, in bit order.
  public var names: [String] {
    let table: [(Self, String)] = [
      (.pageBreak, "page-break"), (.crc, "crc"), (.markerSkipping, "marker-skip"),
      (.oldXOR, "old-xor"), (.dca, "dca"), (.moveCRC, "move-crc"), (.fill, "fill"),
      (.extendedAPICID, "ext-apic-id"), (.xor, "xor"), (.pq, "pq"), (.dif, "dif"),
      (.descriptorWriteBack, "dwbes"), (.raid16SS, "raid16ss"), (.multicast, "multicast"),
      (.completionTimeout, "completion-timeout"), (.descriptorPrefetch, "dps"),
    ]
    return table.filter { contains($0.0) }.map(\.1)
  }
}

/// INTRCTRL bits.
public struct InterruptControl: OptionSet, Hashable, Sendable {
  /// The register's value.
  public let rawValue: UInt8
  /// A set from the register's value.
  public init(rawValue: UInt8) { self.rawValue = rawValue }
  /// MASTER_INT_EN.
  public static let masterInterruptEnable = Self(rawValue: 0x01)
  /// INT_STATUS, RO.
  public static let interruptStatus = Self(rawValue: 0x02)
  /// INT, RO.
  public static let interrupt = Self(rawValue: 0x04)
  /// MSIX_VECTOR_CONTROL: each channel uses its own vector.
  public static let msixVectorControl = Self(rawValue: 0x08)
}

/// CHANCTRL bits.
public struct ChannelControl: OptionSet, Hashable, Sendable {
  /// The register's value.
  public let rawValue: UInt16
  /// A set from the register's value.
  public init(rawValue: UInt16) { self.rawValue = rawValue }
  /// INT_REARM: set by hardware with an interrupt; writing 1 clears it and allows the next.
  public static let interruptRearm = Self(rawValue: 0x0001)
  /// ERR_COMPLETION_EN: write the completion word on an error.
  public static let errorCompletionEnable = Self(rawValue: 0x0004)
  /// ANY_ERR_ABORT_EN: halt on any error.
  public static let anyErrorAbortEnable = Self(rawValue: 0x0008)
  /// ERR_INT_EN: an error raises the channel's interrupt.
  public static let errorInterruptEnable = Self(rawValue: 0x0010)
  /// DESCRIPTOR_ADDR_SNOOP_CONTROL: 1, descriptors are not snooped.
  public static let descriptorNoSnoop = Self(rawValue: 0x0020)
  /// CHANNEL_IN_USE: test-and-set on read, released by writing 0.
  public static let channelInUse = Self(rawValue: 0x0100)
  /// COMPL_DCA_EN: completion writes are steered to the target CPU.
  public static let completionDCAEnable = Self(rawValue: 0x0200)

  /// What a polled channel runs with: errors halt and are written to the completion word.
  public static let polled: Self = [.errorCompletionEnable, .anyErrorAbortEnable]
  /// What an interrupt-driven channel runs with, and the value that re-arms it.
  public static let interruptDriven: Self = [
    .interruptRearm, .errorCompletionEnable, .anyErrorAbortEnable, .errorInterruptEnable,
  ]
}

/// CHANCMD bits; exactly one is written at a time.
public enum ChannelCommand: UInt8, Sendable {
  /// Stop after the descriptor in progress.
  case suspend = 0x04
  /// Stop at once (version 1 meaning; no version 3 driver uses it).
  case abort = 0x08
  /// Continue after a suspend (version 1 meaning).
  case resume = 0x10
  /// Back to HALTED with every counter zero; reads back until finished.
  case reset = 0x20
}

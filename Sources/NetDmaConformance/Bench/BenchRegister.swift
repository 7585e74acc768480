// SPDX-License-Identifier: Apache-2.0

import NetDmaVFIO

// Literals of this test's own, shared with no driver and no model: it must not repeat their mistakes.

/// A register that the function has once: an offset in BAR0.
struct GeneralRegister: Sendable {
  let name: String
  let offset: UInt64
  let width: AccessWidth

  static let chancnt = Self(name: "CHANCNT", offset: 0x00, width: .byte)
  static let xfercap = Self(name: "XFERCAP", offset: 0x01, width: .byte)
  static let intrctrl = Self(name: "INTRCTRL", offset: 0x03, width: .byte)
  static let attnstatus = Self(name: "ATTNSTATUS", offset: 0x04, width: .dword)
  static let cbver = Self(name: "CBVER", offset: 0x08, width: .byte)
  static let perportoffset = Self(name: "PERPORTOFFSET", offset: 0x0a, width: .word)
  static let intrdelay = Self(name: "INTRDELAY", offset: 0x0c, width: .word)
  static let dmacapability = Self(name: "DMACAPABILITY", offset: 0x10, width: .dword)
  static let dcaoffset = Self(name: "DCAOFFSET", offset: 0x14, width: .word)
  static let cbprio = Self(name: "CBPRIO", offset: 0x40, width: .byte)
  static let chwpreflmt = Self(name: "CHWPREFLMT", offset: 0x4c, width: .byte)
}

/// A register that each channel has: an offset in its window.
struct ChannelRegister: Sendable {
  let name: String
  let offset: UInt64
  let width: AccessWidth

  /// Where the window of `channel` begins in BAR0.
  static func window(_ channel: Int) -> UInt64 { 0x80 * UInt64(channel + 1) }

  static let chanctrl = Self(name: "CHANCTRL", offset: 0x00, width: .word)
  static let dmaComp = Self(name: "DMA_COMP", offset: 0x02, width: .word)
  static let chancmd = Self(name: "CHANCMD", offset: 0x04, width: .byte)
  static let dmacount = Self(name: "DMACOUNT", offset: 0x06, width: .word)
  static let chansts = Self(name: "CHANSTS", offset: 0x08, width: .qword)
  static let chainaddr = Self(name: "CHAINADDR", offset: 0x10, width: .qword)
  static let chancmp = Self(name: "CHANCMP", offset: 0x18, width: .qword)
  static let chanerr = Self(name: "CHANERR", offset: 0x28, width: .dword)
  static let chanerrmask = Self(name: "CHANERRMASK", offset: 0x2c, width: .dword)
  static let dcactrl = Self(name: "DCACTRL", offset: 0x30, width: .dword)
  static let drsctl = Self(name: "DRSCTL", offset: 0x36, width: .word)
  static let ltrSwsel = Self(name: "LTR_SWSEL", offset: 0x3c, width: .byte)
  static let ltrActive = Self(name: "LTR_ACTIVE", offset: 0x40, width: .dword)
  static let ltrIdle = Self(name: "LTR_IDLE", offset: 0x44, width: .dword)
}

/// Bits of INTRCTRL.
enum InterruptBit {
  static let master: UInt64 = 0x01
  static let status: UInt64 = 0x02
  static let interrupt: UInt64 = 0x04
  static let vectorControl: UInt64 = 0x08
}

/// Bits of CHANCTRL.
enum ControlBit {
  static let rearm: UInt64 = 0x01
  static let errorCompletion: UInt64 = 0x04
  static let anyErrorAbort: UInt64 = 0x08
  static let errorInterrupt: UInt64 = 0x10
  static let inUse: UInt64 = 0x100
  /// What a polling driver runs with (DPDK writes 0x0c).
  static let polled: UInt64 = errorCompletion | anyErrorAbort
  /// What an interrupt-driven driver runs with (Linux and FreeBSD write 0x1d).
  static let interrupting: UInt64 = polled | errorInterrupt | rearm
}

/// Bits of CHANCMD.
enum CommandBit {
  static let suspend: UInt64 = 0x04
  static let reset: UInt64 = 0x20
}

/// Bits of CHANERR.
enum ErrorBit {
  static let sourceAddress: UInt64 = 1 << 0
  static let destinationAddress: UInt64 = 1 << 1
  static let nextAddress: UInt64 = 1 << 2
  static let readData: UInt64 = 1 << 8
  static let writeData: UInt64 = 1 << 9
  static let control: UInt64 = 1 << 10
  static let length: UInt64 = 1 << 11
  static let completionAddress: UInt64 = 1 << 12
  static let xorPOrCRC: UInt64 = 1 << 16
  static let xorQ: UInt64 = 1 << 17
  /// Every bit that has a name.
  static let all: UInt64 = 0x0fff_ffff
}

/// Bits of DMACAPABILITY.
enum CapabilityBit {
  static let pageBreak: UInt32 = 0x1
  static let crc: UInt32 = 0x2
  static let oldXOR: UInt32 = 0x8
  static let moveCRC: UInt32 = 0x20
  static let fill: UInt32 = 0x40
  static let xor: UInt32 = 0x100
  static let pq: UInt32 = 0x200
  static let writeBack: UInt32 = 0x2000
  static let raid16: UInt32 = 0x2_0000
  /// Every bit that has a name.
  static let named: UInt32 = 0x8e_27ff
}

/// Bits 2:0 of CHANSTS and of the completion word.
enum BenchState: UInt64, Sendable {
  case active = 0
  case idle = 1
  case suspended = 2
  case halted = 3
  case armed = 4

  /// The specification's name of a code.
  static func name(_ status: UInt64) -> String {
    switch BenchState(rawValue: status & 7) {
    case .active: "ACTIVE"
    case .idle: "IDLE"
    case .suspended: "SUSPENDED"
    case .halted: "HALTED"
    case .armed: "ARMED"
    case nil: "undefined"
    }
  }
}

/// "0x100000041 (IDLE, descriptor 0x100000040)": CHANSTS or a completion word.
func describe(_ status: UInt64) -> String {
  "\(hex(status)) (\(BenchState.name(status)), descriptor \(hex(status & ~0x3f)))"
}

// SPDX-License-Identifier: Apache-2.0

import NetDmaVFIO

/// Registers of a channel's window, apart from what they start and stop.
enum ChannelRegisterRules {
  static let all: [ConformanceRule] = control + addresses + others

  private static let control: [ConformanceRule] = [
    ConformanceRule(
      .channel, "control-keeps", "CHANCTRL keeps the error enables as written.",
      source:
        "Xeon E7 v2 datasheet 14.4 CHANCTRL: RW unless firmware locked it; drivers read it back"
    ) { bench throws(Finding) in
      let enables = ControlBit.polled | ControlBit.errorInterrupt
      for value in [enables, ControlBit.anyErrorAbort, ControlBit.polled, 0] {
        try bench.write(.chanctrl, value)
        try bench.expect(try bench.read(.chanctrl) & enables, is: value, "CHANCTRL 4:2")
      }
    },
    ConformanceRule(
      .channel, "in-use", "CHANNEL_IN_USE reads 0 once, then 1: reading takes the channel.",
      source: "Xeon E7 v2 datasheet 14.4 CHANCTRL 8: test and set; gem5, DPDK"
    ) { bench throws(Finding) in
      try bench.write(.chanctrl, 0)
      let first = try bench.read(.chanctrl)
      let second = try bench.read(.chanctrl)
      try bench.expect(first & ControlBit.inUse, is: 0, "bit 8 at the first read")
      try bench.expect(second & ControlBit.inUse, is: ControlBit.inUse, "bit 8 at the second read")
    },
    ConformanceRule(
      .channel, "in-use-release", "Writing CHANCTRL with bit 8 clear releases CHANNEL_IN_USE.",
      source: "Xeon E7 v2 datasheet 14.4 CHANCTRL 8; every driver's writes do so"
    ) { bench throws(Finding) in
      _ = try bench.read(.chanctrl)
      _ = try bench.read(.chanctrl)
      try bench.write(.chanctrl, ControlBit.polled)
      try bench.expect(try bench.read(.chanctrl) & ControlBit.inUse, is: 0, "bit 8 after the write")
    },
    ConformanceRule(
      .channel, "command-clear", "CHANCMD reads 0 when nothing is pending.",
      source: "CHANCMD: self-clearing; all drivers poll it"
    ) { bench throws(Finding) in
      try bench.expect(try bench.read(.chancmd), is: 0, "CHANCMD at rest")
      bench.nulls(1)
      try bench.start()
      try bench.ring(1)
      try bench.awaitIdle()
      try bench.write(.chancmd, CommandBit.suspend)
      try bench.awaitState(.suspended, "after SUSPEND")
      try bench.expect(
        try bench.read(.chancmd) & CommandBit.reset, is: 0, "CHANCMD 5 after SUSPEND")
    },
  ]

  private static let addresses: [ConformanceRule] = [
    ConformanceRule(
      .channel, "completion-address", "CHANCMP keeps what is written, at once and by halves.",
      source: "CHANCMP: RW; widths as Linux, SPDK and FreeBSD use them"
    ) { bench throws(Finding) in
      let first: UInt64 = 0x12_3456_7898
      try bench.write(.chancmp, first)
      try bench.expect(try bench.read(.chancmp), is: first, "CHANCMP")
      let second: UInt64 = 0xab_cdef_0128
      try bench.writeHalves(.chancmp, second)
      let low = try bench.read(at: ChannelRegister.chancmp.offset, .dword)
      let high = try bench.read(at: ChannelRegister.chancmp.offset + 4, .dword)
      try bench.expect(low | high << 32, is: second, "CHANCMP by halves")
    },
    ConformanceRule(
      .channel, "chain-address", "CHAINADDR reads back what was written.",
      source: "CHAINADDR: RW"
    ) { bench throws(Finding) in
      for index in [0, 5] {
        try bench.write(.chainaddr, bench.slot(index))
        try bench.expect(try bench.read(.chainaddr), is: bench.slot(index), "CHAINADDR")
      }
    },
    ConformanceRule(
      .channel, "status-fixed", "CHANSTS ignores what is written to it.", source: "CHANSTS: RO"
    ) { bench throws(Finding) in
      try bench.start()
      let before = try bench.status()
      try bench.write(at: ChannelRegister.chansts.offset, .dword, 0xffff_ffff)
      try bench.write(at: ChannelRegister.chansts.offset + 4, .dword, 0xffff_ffff)
      try bench.expect(status: try bench.status(), is: before, "CHANSTS after writing ones")
    },
    ConformanceRule(
      .channel, "status-halves", "CHANSTS reads alike as one word and as low half, high half.",
      source: "older Linux and FreeBSD below 3.3 read low, then high"
    ) { bench throws(Finding) in
      bench.nulls(3)
      try bench.start()
      try bench.ring(3)
      let whole = try bench.awaitIdle()
      let low = try bench.read(at: ChannelRegister.chansts.offset, .dword)
      let high = try bench.read(at: ChannelRegister.chansts.offset + 4, .dword)
      try bench.expect(status: low | high << 32, is: whole, "CHANSTS by halves")
    },
    ConformanceRule(
      .channel, "windows-apart", "Each channel has registers of its own.",
      source: "windows of 0x80 bytes from 0x80 on", .once, needs: [.channels(2)]
    ) { bench throws(Finding) in
      for channel in bench.function.channels {
        try channel.write(.chancmp, bench.wordAddress(channel.index))
      }
      for channel in bench.function.channels {
        try bench.expect(
          try channel.read(.chancmp), is: bench.wordAddress(channel.index),
          "CHANCMP of channel \(channel.index)")
      }
    },
  ]

  private static let others: [ConformanceRule] = [
    ConformanceRule(
      .channel, "compatibility-fixed", "DMA_COMP ignores what is written to it.",
      source: "DMA_COMP: RO"
    ) { bench throws(Finding) in
      let before = try bench.read(.dmaComp)
      try bench.write(.dmaComp, ~before & 0xffff)
      try bench.expect(try bench.read(.dmaComp), is: before, "DMA_COMP after its complement")
    },
    ConformanceRule(
      .channel, "error-mask", "CHANERRMASK keeps the bits of P and Q mismatches as written.",
      source: "CHANERRMASK: RW; Linux sets 0x30000 where errors are written back"
    ) { bench throws(Finding) in
      let both = ErrorBit.xorPOrCRC | ErrorBit.xorQ
      for value in [both, ErrorBit.xorPOrCRC, 0] {
        try bench.write(.chanerrmask, value)
        try bench.expect(try bench.read(.chanerrmask) & both, is: value, "CHANERRMASK 17:16")
      }
    },
    ConformanceRule(
      .channel, "dca-control", "DCACTRL takes all ones without an effect on copies.",
      source: "DCACTRL; Linux writes 0xffffffff at its probe"
    ) { bench throws(Finding) in
      try bench.write(.dcactrl, 0xffff_ffff)
      try bench.expectWorks("with DCACTRL all ones")
      try bench.write(.dcactrl, 0)
    },
    ConformanceRule(
      .channel, "ring-size", "DRSCTL keeps region size and enable.",
      source: "DRSCTL, version 3.4: Linux writes 0x109 or 0x309", needs: [.version(0x34)]
    ) { bench throws(Finding) in
      for value: UInt64 in [0x0109, 0x0309, 0] {
        try bench.write(.drsctl, value)
        try bench.expect(try bench.read(.drsctl) & 0x030f, is: value, "DRSCTL")
      }
    },
    ConformanceRule(
      .channel, "latency", "LTR_SWSEL, LTR_ACTIVE and LTR_IDLE keep what is written.",
      source: "LTR, version 3.4: Linux writes 0x8800, 0x8a58", needs: [.version(0x34)]
    ) { bench throws(Finding) in
      let values: [(ChannelRegister, UInt64)] = [
        (.ltrActive, 0x8800), (.ltrIdle, 0x8a58), (.ltrSwsel, 1),
      ]
      for (register, value) in values {
        let before = try bench.read(register)
        try bench.write(register, value)
        let seen = try bench.read(register)
        try bench.write(register, before)
        try bench.expect(seen, is: value, register.name)
      }
    },
  ]
}

// SPDX-License-Identifier: Apache-2.0

import NetDmaVFIO

/// Registers that the function has once.
enum GeneralRules {
  static let all: [ConformanceRule] = identity + interruptControl + version34

  private static let identity: [ConformanceRule] = [
    ConformanceRule(
      .general, "window", "BAR0 can be read and written and holds every channel's window.",
      source: "Linux registers.h: channel i at 0x80 (i + 1); drivers map one page at least",
      .function
    ) { bench throws(Finding) in
      let transport = bench.function.transport
      let info = try reaching { () throws(VFIOError) in
        try transport.regionInfo(.bar0)
      }
      try bench.expect(info.isReadable && info.isWritable, "BAR0 cannot be read and written")
      let needed = max(4096, ChannelRegister.window(bench.facts.channelCount))
      try bench.expect(
        info.size >= needed, "BAR0 has \(info.size) bytes, the channels need \(needed)")
    },
    ConformanceRule(
      .general, "version", "CBVER names a version from 3.0 to 3.4.",
      source: "CBVER; Linux, SPDK and FreeBSD refuse older ones", .function
    ) { bench throws(Finding) in
      let version = try bench.function.read(.cbver)
      try bench.expect((0x30...0x34).contains(version), "CBVER is \(hex(version))")
    },
    ConformanceRule(
      .general, "channel-count", "CHANCNT counts 1 to 31 channels.",
      source: "CHANCNT 4:0; Xeon E7 v2 datasheet, CHANCTRL: 0 is a function that firmware disabled",
      .function
    ) { bench throws(Finding) in
      try bench.expect(bench.facts.channelCount > 0, "CHANCNT 4:0 is 0")
    },
    ConformanceRule(
      .general, "transfer-limit", "XFERCAP is 0 (4 GiB) or at least 12 (a page).",
      source: "XFERCAP 4:0; SPDK asserts 12", .function
    ) { bench throws(Finding) in
      let bits = bench.facts.transferBits
      try bench.expect(bits == 0 || bits >= 12, "XFERCAP 4:0 is \(bits)")
    },
    ConformanceRule(
      .general, "identity-fixed", "CHANCNT, XFERCAP and CBVER ignore what is written to them.",
      source: "CHANCNT, XFERCAP, CBVER: RO", .once
    ) { bench throws(Finding) in
      for register in [GeneralRegister.chancnt, .xfercap, .cbver] {
        try expectFixed(register, bench)
      }
    },
    ConformanceRule(
      .general, "capability-fixed", "DMACAPABILITY ignores what is written to it.",
      source: "DMACAPABILITY: RO", .once
    ) { bench throws(Finding) in
      try expectFixed(.dmacapability, bench)
    },
    ConformanceRule(
      .general, "offsets-fixed", "PERPORTOFFSET and DCAOFFSET ignore what is written to them.",
      source: "PERPORTOFFSET, DCAOFFSET: RO", .once
    ) { bench throws(Finding) in
      for register in [GeneralRegister.perportoffset, .dcaoffset] {
        try expectFixed(register, bench)
      }
    },
    ConformanceRule(
      .general, "capability-known", "DMACAPABILITY sets only bits that have a meaning.",
      source: "DMACAPABILITY; Linux, FreeBSD: drivers act on bits they know", .function
    ) { bench throws(Finding) in
      let unknown = bench.facts.capabilities & ~CapabilityBit.named
      try bench.expect(unknown == 0, "the unnamed bits \(hex(unknown)) are set")
    },
    ConformanceRule(
      .general, "capability-raid", "P+Q of 16 sources comes with P+Q of 8.",
      source: "DMACAPABILITY 17 extends bit 9 (Linux)", .function
    ) { bench throws(Finding) in
      let bits = bench.facts.capabilities
      try bench.expect(
        bits & CapabilityBit.raid16 == 0 || bits & CapabilityBit.pq != 0,
        "DMACAPABILITY is \(hex(bits))")
    },
    ConformanceRule(
      .general, "access-widths", "Registers read alike by bytes, words and double words.",
      source: "access widths of Linux, SPDK, DPDK and FreeBSD differ", .once
    ) { bench throws(Finding) in
      for offset: UInt64 in [0x08, 0x10] {
        let whole = try bench.function.read(at: offset, .dword)
        for (width, step) in [(AccessWidth.byte, UInt64(1)), (.word, 2)] {
          var composed: UInt64 = 0
          for part in stride(from: UInt64(0), to: 4, by: UInt64.Stride(step)) {
            composed |= try bench.function.read(at: offset + part, width) << (8 * part)
          }
          try bench.expect(
            composed, is: whole, "offset \(hex(offset)) read by \(step) bytes at a time")
        }
      }
    },
    ConformanceRule(
      .general, "priority-zero", "CBPRIO reads 0 and ignores what is written to it.",
      source: "Xeon E7 v2 datasheet 14.4 CBPRIO: unused, RO", .once
    ) { bench throws(Finding) in
      try bench.expect(try bench.function.read(.cbprio), is: 0, "CBPRIO")
      try expectFixed(.cbprio, bench)
    },
    ConformanceRule(
      .general, "reserved-zero", "Offsets without a register read 0 and ignore writes.",
      source: "reserved; probing drivers must not find all-ones there (inferred)", .once
    ) { bench throws(Finding) in
      guard try bench.function.read(.dcaoffset) == 0 else {
        throw .notApplicable("there is a DCA block somewhere")
      }
      for offset in Array(stride(from: UInt64(0x18), to: 0x40, by: 4)) + [0x50, 0x60, 0x7c] {
        try bench.function.write(at: offset, .dword, 0xffff_ffff)
        let seen = try bench.function.read(at: offset, .dword)
        try bench.expect(seen, is: 0, "offset \(hex(offset))")
      }
    },
  ]

  private static let interruptControl: [ConformanceRule] = [
    ConformanceRule(
      .general, "intrctrl-read", "Reading INTRCTRL shows MASTER_INT_EN and clears it.",
      source: "INTRCTRL 0; gem5, Linux's handler writes it anew at its end", .once
    ) { bench throws(Finding) in
      try bench.function.write(.intrctrl, InterruptBit.master)
      let first = try bench.function.read(.intrctrl)
      let second = try bench.function.read(.intrctrl)
      try bench.expect(first & InterruptBit.master, is: InterruptBit.master, "the first read")
      try bench.expect(second & InterruptBit.master, is: 0, "bit 0 at the second read")
    },
    ConformanceRule(
      .general, "intrctrl-vectors", "MSIX_VECTOR_CONTROL keeps what is written, also when read.",
      source: "INTRCTRL 3; Linux writes 0x09", .once
    ) { bench throws(Finding) in
      try bench.function.write(.intrctrl, InterruptBit.master | InterruptBit.vectorControl)
      _ = try bench.function.read(.intrctrl)
      let seen = try bench.function.read(.intrctrl)
      try bench.expect(
        seen & InterruptBit.vectorControl, is: InterruptBit.vectorControl, "bit 3 after two reads")
      try bench.function.write(.intrctrl, 0)
      let cleared = try bench.function.read(.intrctrl)
      try bench.expect(cleared & InterruptBit.vectorControl, is: 0, "bit 3 after writing 0")
    },
    ConformanceRule(
      .general, "intrctrl-status-fixed", "INT_STATUS and INT cannot be written.",
      source: "INTRCTRL 2:1: RO", .once
    ) { bench throws(Finding) in
      try bench.function.write(.intrctrl, InterruptBit.status | InterruptBit.interrupt)
      let seen = try bench.function.read(.intrctrl)
      try bench.expect(
        seen & (InterruptBit.status | InterruptBit.interrupt), is: 0, "bits 2:1 without interrupt")
    },
    ConformanceRule(
      .general, "attention-rest", "ATTNSTATUS is 0 while no channel has raised an interrupt.",
      source: "ATTNSTATUS: bit i, channel i", .once
    ) { bench throws(Finding) in
      try bench.expect(try bench.function.read(.attnstatus), is: 0, "ATTNSTATUS")
    },
    ConformanceRule(
      .general, "delay-keeps", "INTRDELAY 13:0 keeps what is written where bit 15 offers it.",
      source: "INTRDELAY; FreeBSD gives up without bit 15", .once
    ) { bench throws(Finding) in
      guard try bench.function.read(.intrdelay) & 0x8000 != 0 else {
        throw .notApplicable("INTRDELAY 15 is clear")
      }
      for value: UInt64 in [0x3fff, 0x1234, 0] {
        try bench.function.write(.intrdelay, value)
        try bench.expect(try bench.function.read(.intrdelay) & 0x3fff, is: value, "INTRDELAY 13:0")
      }
    },
    ConformanceRule(
      .general, "delay-support-fixed", "INTRDELAY bit 15 cannot be written.",
      source: "INTRDELAY 15: RO", .once
    ) { bench throws(Finding) in
      let before = try bench.function.read(.intrdelay) & 0x8000
      try bench.function.write(.intrdelay, before ^ 0x8000)
      let after = try bench.function.read(.intrdelay) & 0x8000
      try bench.function.write(.intrdelay, 0)
      try bench.expect(after, is: before, "bit 15 after writing its complement")
    },
  ]

  private static let version34: [ConformanceRule] = [
    ConformanceRule(
      .general, "prefetch-limit", "CHWPREFLMT keeps what is written.",
      source: "CHWPREFLMT, version 3.4: Linux writes 5", .once, needs: [.version(0x34)]
    ) { bench throws(Finding) in
      let before = try bench.function.read(.chwpreflmt)
      for value: UInt64 in [5, 1] {
        try bench.function.write(.chwpreflmt, value)
        try bench.expect(try bench.function.read(.chwpreflmt), is: value, "CHWPREFLMT")
      }
      try bench.function.write(.chwpreflmt, before)
    },
    ConformanceRule(
      .general, "stray-writes", "Linux's writes behind a channel's window disturb no channel.",
      source: "Linux 3.4 writes DRSCTL and LTR at window + 0xb6, 0xbc, 0xc0, 0xc4", .once,
      needs: [.version(0x34)]
    ) { bench throws(Finding) in
      guard let last = bench.function.channels.last else { return }
      try bench.start()
      let before = try last.status()
      try last.write(at: 0xb6, .word, 0x0309)
      try last.write(at: 0xbc, .byte, 1)
      try last.write(at: 0xc0, .dword, 0x8800)
      try last.write(at: 0xc4, .dword, 0x8a58)
      try bench.expect(status: try last.status(), is: before, "CHANSTS of the last channel")
      bench.smallCopies(0..<1)
      try bench.ring(1)
      try bench.awaitIdle()
      try bench.expectCopied(0..<1, "after the stray writes")
    },
  ]

  /// Writes the complement; the register must not change.
  private static func expectFixed(
    _ register: GeneralRegister, _ bench: ChannelBench
  ) throws(Finding) {
    let before = try bench.function.read(register)
    try bench.function.write(register, ~before)
    let after = try bench.function.read(register)
    if after != before { try bench.function.write(register, before) }
    try bench.expect(after, is: before, "\(register.name) after writing its complement")
  }
}

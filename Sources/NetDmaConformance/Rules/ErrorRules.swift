// SPDX-License-Identifier: Apache-2.0

import NetDmaVFIO

/// What a fault does to CHANERR, to the chain and to the completion word.
enum ErrorRules {
  static let all: [ConformanceRule] = causes + stopping + words + register

  private static let causes: [ConformanceRule] = [
    ConformanceRule(
      .error, "source-unmapped", "An unreadable source sets READ_DATA (0x100) and nothing else.",
      source: "CHANERR 8; Linux recovers from it, a second bit is fatal there"
    ) { bench throws(Finding) in
      bench.memory.fill(0, at: bench.page(1), 64)
      bench.copy(0, 64, from: bench.memory.end, to: bench.page(1))
      try bench.expectFault(ErrorBit.readData)
      try bench.expect(0, at: bench.page(1), 64, "the target of the failed copy")
    },
    ConformanceRule(
      .error, "target-unmapped", "An unwritable target sets WRITE_DATA (0x200) and nothing else.",
      source: "CHANERR 9; Linux recovers from it, a second bit is fatal there"
    ) { bench throws(Finding) in
      bench.copy(0, 64, from: bench.page(0), to: bench.memory.end)
      try bench.expectFault(ErrorBit.writeData)
    },
    ConformanceRule(
      .error, "target-read-only", "Memory mapped for reading only is not written: WRITE_DATA.",
      source: "CHANERR 9; VFIO_DMA_MAP_FLAG_READ without WRITE"
    ) { bench throws(Finding) in
      let target = try bench.function.allocate(4096, permissions: .read)
      bench.memory.put(BenchMemory.pattern(64, seed: 1), at: bench.page(0))
      bench.copy(0, 64, from: bench.page(0), to: target.start)
      try bench.expectFault(ErrorBit.writeData)
      bench.function.quiet()
      try bench.expect(
        target.bytes(target.start, 64).allSatisfy { $0 == 0 }, "read-only memory was written")
    },
    ConformanceRule(
      .error, "source-half-mapped", "A source that ends in unmapped memory sets READ_DATA.",
      source: "CHANERR 8; addresses are translated page by page"
    ) { bench throws(Finding) in
      bench.copy(0, 4096, from: bench.memory.end - 100, to: bench.page(2))
      try bench.expectFault(ErrorBit.readData)
    },
    ConformanceRule(
      .error, "source-beyond", "A source beyond every engine's width is SRC_ADDR or READ_DATA.",
      source: "CHANERR 0 or 8; FreeBSD: 40, 46 or 48 bits"
    ) { bench throws(Finding) in
      bench.copy(0, 64, from: 1 << 52, to: bench.page(1))
      try bench.expectFault(ErrorBit.sourceAddress, or: ErrorBit.readData)
    },
    ConformanceRule(
      .error, "target-beyond", "A target beyond every engine's width is DEST_ADDR or WRITE_DATA.",
      source: "CHANERR 1 or 9; FreeBSD: 40, 46 or 48 bits"
    ) { bench throws(Finding) in
      bench.copy(0, 64, from: bench.page(0), to: 1 << 52)
      try bench.expectFault(ErrorBit.destinationAddress, or: ErrorBit.writeData)
    },
    ConformanceRule(
      .error, "opcode", "The deprecated XOR opcode 0x85 is a bad control word (0x400).",
      source: "CHANERR 10 (inferred); FreeBSD: engines abort on 0x85",
      needs: [.noCapability(CapabilityBit.oldXOR, "the old XOR")]
    ) { bench throws(Finding) in
      bench.descriptor(
        0, Opcode.oldXOR, size: 64, control: DescriptorBit.completion, word1: bench.page(0),
        word2: bench.page(2), word4: bench.page(1))
      try bench.expectFault(ErrorBit.control)
    },
    ConformanceRule(
      .error, "too-long", "More than 2^XFERCAP bytes are a bad length (0x800).",
      source: "CHANERR 11, XFERCAP (inferred); Linux and SPDK split before"
    ) { bench throws(Finding) in
      let bits = bench.facts.transferBits
      guard (12...30).contains(bits) else {
        throw .notApplicable("no 32-bit size is too long (XFERCAP is \(bits))")
      }
      bench.copy(0, 1 << bits + 1, from: bench.page(0), to: bench.page(1))
      try bench.expectFault(ErrorBit.length)
    },
    ConformanceRule(
      .error, "no-length", "A copy of 0 bytes is a bad length (0x800).",
      source: "CHANERR 11; Linux: 3.0 refuses size 0, SPDK never issues it"
    ) { bench throws(Finding) in
      bench.copy(0, 0, from: bench.page(0), to: bench.page(1))
      try bench.expectFault(ErrorBit.length)
    },
    ConformanceRule(
      .error, "next-unmapped", "An unreadable `next` is NEXT_ADDR (0x4), after the one before it.",
      source: "CHANERR 2"
    ) { bench throws(Finding) in
      bench.smallCopies(0..<1)
      bench.copy(
        0, 64, from: bench.smallSource(0), to: bench.smallDestination(0), next: bench.memory.end)
      try bench.expectFault(ErrorBit.nextAddress, count: 2, last: bench.slot(0))
      try bench.expectCopied(0..<1, "before the bad `next`")
    },
    ConformanceRule(
      .error, "chain-unmapped", "An unreadable CHAINADDR halts the channel with an error.",
      source: "CHANERR 4 or 8 (drivers disagree on the bit)"
    ) { bench throws(Finding) in
      try bench.start()
      try bench.write(.chainaddr, bench.memory.end)
      try bench.ring(1)
      let seen = try bench.awaitHalt("behind an unmapped CHAINADDR")
      try bench.expect(seen & ~0x3f, is: 0, "the address in CHANSTS")
      try bench.expect(try bench.error() != 0, "CHANERR is 0")
    },
    ConformanceRule(
      .error, "word-unmapped", "A completion word that cannot be written is error 0x1000.",
      source: "CHANERR 12, with ANY_ERR_ABORT_EN (inferred)"
    ) { bench throws(Finding) in
      bench.nulls(1)
      try bench.start(control: ControlBit.anyErrorAbort)
      try bench.write(.chancmp, bench.memory.end)
      try bench.ring(1)
      try bench.awaitHalt("with CHANCMP unmapped")
      try bench.expect(try bench.error(), is: ErrorBit.completionAddress, "CHANERR")
    },
  ]

  private static let stopping: [ConformanceRule] = [
    ConformanceRule(
      .error, "stops", "Descriptors before a fault are done, those behind it never begin.",
      source: "Linux, DPDK and FreeBSD resume behind the failed one"
    ) { bench throws(Finding) in
      bench.smallCopies(0..<6)
      bench.copy(3, 64, from: bench.memory.end, to: bench.smallDestination(3))
      try bench.start()
      try bench.ring(6)
      try bench.awaitHalt("at the failing descriptor")
      bench.function.quiet()
      try bench.expectCopied(0..<3, "before the fault")
      try bench.expectNotCopied(3..<6, "from the fault on")
    },
    ConformanceRule(
      .error, "status", "CHANSTS is the last good descriptor and HALTED.",
      source: "CHANSTS after an error: Linux, DPDK look one further"
    ) { bench throws(Finding) in
      bench.smallCopies(0..<4)
      bench.copy(2, 64, from: bench.memory.end, to: bench.smallDestination(2))
      try bench.start()
      try bench.ring(4)
      try bench.expect(
        status: try bench.awaitHalt("at the failing descriptor"),
        is: bench.slot(1) | BenchState.halted.rawValue, "CHANSTS")
    },
    ConformanceRule(
      .error, "positions", "Of 16 descriptors the failing one is told right wherever it is.",
      source: "DPDK's error tests: 0, 7, 14, 15 of 16"
    ) { bench throws(Finding) in
      for failing in [0, 7, 14, 15] {
        try bench.prepare()
        bench.smallCopies(0..<16)
        bench.copy(failing, 64, from: bench.memory.end, to: bench.smallDestination(failing))
        try bench.start()
        try bench.ring(16)
        try bench.awaitHalt("with descriptor \(failing) failing")
        let last = failing == 0 ? 0 : bench.slot(failing - 1)
        try bench.awaitWord(
          last | BenchState.halted.rawValue, "with descriptor \(failing) failing")
        try bench.expectCopied(0..<failing, "with descriptor \(failing) failing")
        try bench.expectNotCopied(failing..<16, "with descriptor \(failing) failing")
      }
    },
    ConformanceRule(
      .error, "doorbell-ignored", "A higher DMACOUNT does not revive a halted channel.",
      source: "HALTED needs CHANERR cleared and CHAINADDR written"
    ) { bench throws(Finding) in
      bench.smallCopies(0..<6)
      bench.copy(1, 64, from: bench.memory.end, to: bench.smallDestination(1))
      try bench.start()
      try bench.ring(3)
      let halted = try bench.awaitHalt("at the failing descriptor")
      try bench.ring(6)
      bench.function.quiet()
      try bench.expect(status: try bench.status(), is: halted, "CHANSTS after another doorbell")
      try bench.expectNotCopied(1..<6, "after another doorbell")
    },
    ConformanceRule(
      .error, "others-run", "A fault of one channel leaves the others running.",
      source: "errors are per channel", .once, needs: [.channels(2)]
    ) { bench throws(Finding) in
      let other = bench.function.channels[1]
      bench.smallCopies(16..<32)
      try other.start(slot: 16, word: 1)
      try bench.provokeError()
      try bench.expect(
        status: try other.status(), is: BenchState.armed.rawValue, "the other CHANSTS")
      try bench.expect(try other.error(), is: 0, "the other CHANERR")
      try other.ring(16)
      try other.awaitIdle("of the other channel")
      try bench.expectCopied(16..<32, "on the other channel")
    },
  ]

  private static let words: [ConformanceRule] = [
    ConformanceRule(
      .error, "word", "With ERR_COMPLETION_EN the word is the last good descriptor and HALTED.",
      source: "CHANCTRL 2; also where that one asked for no word (Linux, SPDK batches)"
    ) { bench throws(Finding) in
      bench.smallCopies(0..<4, control: 0)
      bench.copy(2, 64, from: bench.memory.end, to: bench.smallDestination(2), control: 0)
      try bench.start()
      try bench.ring(4)
      try bench.awaitWord(bench.slot(1) | BenchState.halted.rawValue, "after the fault")
    },
    ConformanceRule(
      .error, "first", "If the first descriptor of a chain fails the word's address is 0.",
      source: "Linux ignores a zero address, DPDK takes it for none"
    ) { bench throws(Finding) in
      bench.smallCopies(0..<3)
      bench.copy(0, 64, from: bench.memory.end, to: bench.smallDestination(0))
      try bench.start()
      try bench.ring(3)
      let seen = try bench.awaitHalt("at the first descriptor")
      try bench.expect(status: seen, is: BenchState.halted.rawValue, "CHANSTS")
      try bench.awaitWord(BenchState.halted.rawValue, "after the fault")
    },
    ConformanceRule(
      .error, "no-word", "Without ERR_COMPLETION_EN an error writes no word.",
      source: "CHANCTRL 2; SPDK runs with 0x08 and polls memory only"
    ) { bench throws(Finding) in
      bench.copy(0, 64, from: bench.memory.end, to: bench.page(1))
      try bench.start(control: ControlBit.anyErrorAbort)
      try bench.ring(1)
      try bench.awaitHalt("at the failing descriptor")
      bench.function.quiet()
      try bench.expectUntouchedWord("after an error without ERR_COMPLETION_EN")
    },
    ConformanceRule(
      .error, "registers-first", "CHANSTS and CHANERR tell of an error before the word does.",
      source: "DPDK reads CHANERR as soon as it sees HALTED in memory"
    ) { bench throws(Finding) in
      for _ in 0..<8 {
        try bench.prepare()
        bench.copy(0, 64, from: bench.memory.end, to: bench.page(1))
        try bench.start()
        try bench.ring(1)
        try bench.awaitWord(BenchState.halted.rawValue, "after the fault")
        try bench.expect(try bench.error(), is: ErrorBit.readData, "CHANERR when the word came")
        try bench.expect(
          try bench.status() & 7, is: BenchState.halted.rawValue, "CHANSTS 2:0 when the word came")
      }
    },
  ]

  private static let register: [ConformanceRule] = [
    ConformanceRule(
      .error, "clear-by-ones", "Writing ones to CHANERR clears those bits.",
      source: "CHANERR: W1C; drivers write back what they read"
    ) { bench throws(Finding) in
      try bench.provokeError()
      try bench.write(.chanerr, try bench.error())
      try bench.expect(try bench.error(), is: 0, "CHANERR after writing it back")
    },
    ConformanceRule(
      .error, "kept-by-zeros", "Writing zeros, or ones elsewhere, leaves CHANERR's bits set.",
      source: "CHANERR: W1C"
    ) { bench throws(Finding) in
      try bench.provokeError()
      let bits = try bench.error()
      try bench.write(.chanerr, 0)
      try bench.expect(try bench.error(), is: bits, "CHANERR after writing 0")
      try bench.write(.chanerr, ~bits & ErrorBit.all)
      try bench.expect(try bench.error(), is: bits, "CHANERR after writing the other bits")
    },
    ConformanceRule(
      .error, "not-settable", "Writing ones to a clear CHANERR sets nothing.",
      source: "CHANERR: W1C"
    ) { bench throws(Finding) in
      try bench.write(.chanerr, ErrorBit.all)
      try bench.expect(try bench.error(), is: 0, "CHANERR after writing ones")
    },
    ConformanceRule(
      .error, "none", "Work that succeeds leaves CHANERR 0.", source: "CHANERR; Linux's watchdog"
    ) { bench throws(Finding) in
      try bench.expectWorks("without a fault")
      try bench.expect(try bench.error(), is: 0, "CHANERR after good copies")
    },
  ]
}

extension ChannelBench {
  /// HALTED by a copy from unmapped memory, errors not acknowledged.
  func provokeError(control: UInt64 = ControlBit.polled) throws(Finding) {
    copy(0, 64, from: memory.end, to: page(1))
    try start(control: control)
    try ring(1)
    try awaitHalt("at a copy from unmapped memory")
    try expect(try error() != 0, "CHANERR is 0 in HALTED")
  }

  /// Runs the chain at slot 0, which must halt with exactly one of two bits of CHANERR; `last` is the
  /// descriptor that CHANSTS then names.
  func expectFault(
    _ bit: UInt64, or other: UInt64? = nil, count: Int = 1, last: UInt64 = 0
  ) throws(Finding) {
    try start()
    try ring(count)
    let seen = try awaitHalt("at the failing descriptor")
    let bits = try error()
    if bits != other { try expect(bits, is: bit, "CHANERR") }
    try expect(status: seen, is: last | BenchState.halted.rawValue, "CHANSTS")
  }
}

// SPDX-License-Identifier: Apache-2.0

import NetDmaVFIO

/// The completion word, and CHANSTS beside it.
enum CompletionRules {
  static let all: [ConformanceRule] = [
    ConformanceRule(
      .completion, "word", "A completed descriptor's word is its address and ACTIVE or IDLE.",
      source: "descriptor control 3; layout of CHANSTS"
    ) { bench throws(Finding) in
      bench.nulls(1)
      try bench.start()
      try bench.ring(1)
      try bench.awaitIdle()
      let word = bench.word
      try bench.expect(
        word == bench.slot(0) || word == bench.slot(0) | 1, "the word is \(describe(word))")
    },
    ConformanceRule(
      .completion, "on-request", "A descriptor without control bit 3 writes no word.",
      source: "SPDK b01a3933: fewer write-backs on purpose"
    ) { bench throws(Finding) in
      bench.smallCopies(0..<4, control: 0)
      try bench.start()
      try bench.ring(4)
      let seen = try bench.awaitIdle()
      try bench.expect(
        status: seen, is: bench.slot(3) | BenchState.idle.rawValue, "CHANSTS at the end")
      bench.function.quiet()
      try bench.expectUntouchedWord("after four descriptors without the bit")
    },
    ConformanceRule(
      .completion, "batch", "One word at the end of a batch stands for all of it.",
      source: "SPDK sets the bit on the last descriptor before the doorbell only"
    ) { bench throws(Finding) in
      bench.smallCopies(0..<32, control: 0)
      bench.smallCopies(31..<32)
      try bench.start()
      try bench.ring(32)
      try bench.awaitDone(31)
      try bench.expectCopied(0..<32, "when the word names the last")
    },
    ConformanceRule(
      .completion, "forward", "Words name descriptors of the chain, in order, never back.",
      source: "SPDK and DPDK retire up to the address; a foreign one makes them run away"
    ) { bench throws(Finding) in
      bench.smallCopies(0..<256)
      try bench.start()
      try bench.ring(256)
      var last = 0
      let ended = try bench.poll { () throws(Finding) in
        let word = bench.word
        guard word != ChannelBench.untouched else { return false }
        let offset = (word & ~0x3f) &- bench.slot(0)
        guard offset < 256 * 64, word & 0x3f <= 1 else {
          throw .violated("a word was \(describe(word))")
        }
        let index = Int(offset / 64)
        guard index >= last else {
          throw .violated("the word went back from slot \(last) to slot \(index)")
        }
        last = index
        return last == 255
      }
      try bench.expect(ended, "the word stays at slot \(last) of 256")
    },
    ConformanceRule(
      .completion, "data-first", "Data is in memory before the word that says so.",
      source: "Linux, SPDK, DPDK and FreeBSD read data after an acquire of the word"
    ) { bench throws(Finding) in
      for round in 0..<24 {
        bench.memory.put(BenchMemory.pattern(4096, seed: round), at: bench.page(0))
        bench.memory.fill(0, at: bench.page(2), 4096)
        bench.copy(round, 4096, from: bench.page(0), to: bench.page(2))
        if round == 0 { try bench.start() }
        try bench.ring(round + 1)
        try bench.awaitDone(round, "in round \(round)")
        try bench.expect(
          bytes: BenchMemory.pattern(4096, seed: round), at: bench.page(2),
          "when the word came in round \(round), the data")
      }
    },
    ConformanceRule(
      .completion, "status-agrees", "CHANSTS names the same descriptor as the last word.",
      source: "CHANSTS and the word have one layout"
    ) { bench throws(Finding) in
      bench.nulls(7)
      try bench.start()
      try bench.ring(7)
      let status = try bench.awaitIdle()
      try bench.expect(bench.word & ~0x3f, is: status & ~0x3f, "the word's address")
      try bench.expect(status & ~0x3f, is: bench.slot(6), "the address in CHANSTS")
    },
    ConformanceRule(
      .completion, "status-clean", "Bits 5:3 of CHANSTS are 0 while nothing is wrong.",
      source: "CHANSTS 4:3 are errors; DPDK compares the whole register"
    ) { bench throws(Finding) in
      bench.nulls(1)
      try bench.start()
      try bench.ring(1)
      let status = try bench.awaitIdle()
      try bench.expect(status & 0x38, is: 0, "CHANSTS 5:3")
    },
    ConformanceRule(
      .completion, "quiet-start", "Programming a channel writes no word.",
      source: "DPDK stores its own value there after programming the registers"
    ) { bench throws(Finding) in
      try bench.start()
      try bench.write(.chanctrl, ControlBit.polled)
      bench.function.quiet()
      try bench.expectUntouchedWord("after CHANCTRL, CHANCMP and CHAINADDR")
    },
    ConformanceRule(
      .completion, "eight-bytes", "A word is eight bytes; its neighbours stay.",
      source: "CHANCMP 2:0 are 0: an aligned 64-bit write"
    ) { bench throws(Finding) in
      bench.memory.fill(0x77, at: bench.wordAddress() - 64, 192)
      bench.nulls(3)
      try bench.start()
      try bench.ring(3)
      try bench.awaitIdle()
      try bench.awaitDone(2)
      try bench.expect(0x77, at: bench.wordAddress() - 64, 64, "before the word")
      try bench.expect(0x77, at: bench.wordAddress() + 8, 56, "behind the word")
    },
    ConformanceRule(
      .completion, "moved", "CHANCMP written anew while idle moves the next word.",
      source: "Linux rewrites CHANCMP when it continues behind an error"
    ) { bench throws(Finding) in
      bench.nulls(2)
      try bench.start()
      try bench.ring(1)
      try bench.awaitIdle()
      let first = bench.word
      try bench.write(.chancmp, bench.wordAddress(5))
      try bench.ring(2)
      try bench.awaitIdle(at: 1)
      try bench.expect(status: bench.word, is: first, "the word at the old address")
      let second = bench.memory.load(bench.wordAddress(5))
      try bench.expect(second & ~0x3f, is: bench.slot(1), "the word's address at the new place")
    },
    ConformanceRule(
      .completion, "address-zero", "CHAINADDR clears the address in CHANSTS.",
      source: "CHANSTS 63:6 are 0 until the first completion of a chain (DPDK)"
    ) { bench throws(Finding) in
      bench.nulls(3)
      try bench.start()
      try bench.ring(3)
      try bench.awaitIdle()
      try bench.write(.chancmd, CommandBit.suspend)
      try bench.awaitState(.suspended, "after SUSPEND")
      try bench.write(.chainaddr, bench.slot(0))
      try bench.expect(try bench.status() & ~0x3f, is: 0, "the address in CHANSTS")
    },
    ConformanceRule(
      .completion, "null-word", "A null descriptor writes its word when asked to.",
      source: "SPDK and FreeBSD start a channel with one and wait for it"
    ) { bench throws(Finding) in
      bench.null(0)
      try bench.start()
      try bench.ring(1)
      try bench.awaitDone(0, "after the null descriptor")
    },
  ]
}

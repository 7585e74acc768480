// SPDX-License-Identifier: Apache-2.0

import NetDmaVFIO

/// The state machine: what CHAINADDR, DMACOUNT and SUSPEND do in each state.
enum StateRules {
  static let all: [ConformanceRule] = arming + running + suspending

  private static let arming: [ConformanceRule] = [
    ConformanceRule(
      .state, "armed", "CHAINADDR of a halted channel makes CHANSTS exactly ARMED (0x4).",
      source: "DPDK recovery compares all 64 bits of CHANSTS with 4"
    ) { bench throws(Finding) in
      try bench.start()
      try bench.expect(
        status: try bench.status(), is: BenchState.armed.rawValue, "CHANSTS after CHAINADDR")
    },
    ConformanceRule(
      .state, "armed-by-halves", "CHAINADDR takes two 32-bit halves, the low one first.",
      source: "Linux, FreeBSD below 3.3: low half, then high half"
    ) { bench throws(Finding) in
      bench.smallCopies(0..<1)
      try bench.write(.chanctrl, ControlBit.polled)
      // What an earlier write left must not pass for what the halves write.
      try bench.write(.chancmp, 0)
      try bench.write(.chainaddr, 0)
      try bench.writeHalves(.chancmp, bench.wordAddress())
      try bench.writeHalves(.chainaddr, bench.slot(0))
      try bench.expect(
        status: try bench.status(), is: BenchState.armed.rawValue, "CHANSTS after both halves")
      try bench.ring(1)
      try bench.awaitIdle()
      try bench.expectCopied(0..<1, "behind a CHAINADDR written in halves")
      try bench.awaitDone(0)
    },
    ConformanceRule(
      .state, "armed-by-qword", "CHAINADDR takes one 64-bit write.",
      source: "SPDK and DPDK on 3.2 to 3.4", needs: [.version(0x32)]
    ) { bench throws(Finding) in
      bench.smallCopies(0..<1)
      try bench.write(.chanctrl, ControlBit.polled)
      // What an earlier write left must not pass for what this one writes.
      try bench.writeHalves(.chancmp, 0)
      try bench.writeHalves(.chainaddr, 0)
      try bench.write(at: ChannelRegister.chancmp.offset, .qword, bench.wordAddress())
      try bench.write(at: ChannelRegister.chainaddr.offset, .qword, bench.slot(0))
      try bench.expect(
        status: try bench.status(), is: BenchState.armed.rawValue, "CHANSTS after the write")
      try bench.ring(1)
      try bench.awaitIdle()
      try bench.expectCopied(0..<1, "behind a CHAINADDR written at once")
      try bench.awaitDone(0)
    },
    ConformanceRule(
      .state, "armed-again", "CHAINADDR of an armed channel replaces the chain.",
      source: "each half of a split write loads the chain again (Linux)"
    ) { bench throws(Finding) in
      bench.smallCopies(0..<8)
      try bench.start()
      try bench.write(.chainaddr, bench.slot(4))
      try bench.expect(
        status: try bench.status(), is: BenchState.armed.rawValue, "CHANSTS after the second write")
      try bench.ring(2)
      try bench.awaitIdle()
      try bench.expectCopied(4..<6, "in the second chain")
      try bench.expectNotCopied(0..<4, "in the replaced chain")
    },
    ConformanceRule(
      .state, "armed-waits", "Nothing of an armed chain begins before DMACOUNT is written.",
      source: "DPDK test: no completion within 50 ms between enqueue and submit"
    ) { bench throws(Finding) in
      bench.smallCopies(0..<2)
      try bench.start()
      bench.function.quiet()
      try bench.expectNotCopied(0..<2, "without a doorbell")
      try bench.expect(
        status: try bench.status(), is: BenchState.armed.rawValue, "CHANSTS without a doorbell")
    },
    ConformanceRule(
      .state, "error-blocks", "CHAINADDR does not arm while CHANERR is set.",
      source: "SPDK 9b172afd; DPDK looks for HALTED right after the write"
    ) { bench throws(Finding) in
      try bench.provokeError()
      try bench.function.clearErrorMirror()
      try bench.write(.chainaddr, bench.slot(0))
      let blocked = try bench.status()
      try bench.expect(
        blocked & 7, is: BenchState.halted.rawValue, "CHANSTS 2:0 after CHAINADDR with CHANERR set")
      try bench.acknowledge()
      try bench.write(.chainaddr, bench.slot(0))
      try bench.expect(
        status: try bench.status(), is: BenchState.armed.rawValue, "CHANSTS with CHANERR clear")
    },
    ConformanceRule(
      .state, "mirror-blocks", "CHAINADDR does not arm while CHANERR_INT is set, before 3.3.",
      source: "SPDK 9b172afd; Linux clears config 0x180 below 3.3", needs: [.versionBelow(0x33)]
    ) { bench throws(Finding) in
      guard try bench.function.errorMirror() != nil else {
        throw .notApplicable("CHANERR_INT cannot be reached")
      }
      try bench.provokeError()
      try bench.write(.chanerr, try bench.error())
      try bench.write(.chainaddr, bench.slot(0))
      let blocked = try bench.status()
      try bench.expect(
        blocked & 7, is: BenchState.halted.rawValue, "CHANSTS 2:0 with CHANERR_INT set")
      try bench.acknowledge()
      try bench.write(.chainaddr, bench.slot(0))
      try bench.expect(
        status: try bench.status(), is: BenchState.armed.rawValue, "CHANSTS with both clear")
    },
  ]

  private static let running: [ConformanceRule] = [
    ConformanceRule(
      .state, "doorbell", "CHANSTS is ACTIVE or IDLE as soon as DMACOUNT was written.",
      source: "Linux: 20 µs, FreeBSD: 100 µs; DPDK asks at once"
    ) { bench throws(Finding) in
      bench.nulls(1)
      try bench.start()
      try bench.ring(1)
      let seen = try bench.status()
      try bench.expect(
        seen & 7 <= BenchState.idle.rawValue, "the first CHANSTS is \(describe(seen))")
      try bench.awaitIdle()
    },
    ConformanceRule(
      .state, "idle", "CHANSTS becomes IDLE and names the last descriptor when all are done.",
      source: "CHANSTS 63:6, 2:0; SPDK and FreeBSD wait for it"
    ) { bench throws(Finding) in
      bench.smallCopies(0..<5)
      try bench.start()
      try bench.ring(5)
      let seen = try bench.awaitIdle()
      try bench.expect(
        status: seen, is: bench.slot(4) | BenchState.idle.rawValue, "CHANSTS at the end")
      try bench.expectCopied(0..<5, "when CHANSTS is IDLE")
    },
    ConformanceRule(
      .state, "halted-doorbell", "DMACOUNT of a halted channel starts nothing, then or later.",
      source: "CHANSTS HALTED needs CHAINADDR (inferred)"
    ) { bench throws(Finding) in
      bench.smallCopies(0..<4)
      try bench.start()
      try bench.reset()
      try bench.ring(2)
      bench.function.quiet()
      try bench.expect(
        try bench.status() & 7, is: BenchState.halted.rawValue, "CHANSTS 2:0 after the doorbell")
      try bench.start()
      bench.function.quiet()
      try bench.expect(
        status: try bench.status(), is: BenchState.armed.rawValue, "CHANSTS of the next chain")
      try bench.expectNotCopied(0..<4, "after a doorbell in HALTED")
    },
    ConformanceRule(
      .state, "channels-apart", "What one channel does leaves the others as they are.",
      source: "windows of 0x80 bytes", .once, needs: [.channels(2)]
    ) { bench throws(Finding) in
      let others = bench.function.channels.dropFirst()
      for other in others { try other.start(word: other.index) }
      bench.smallCopies(0..<4)
      try bench.start()
      try bench.ring(4)
      try bench.awaitIdle()
      for other in others {
        try bench.expect(
          status: try other.status(), is: BenchState.armed.rawValue,
          "CHANSTS of channel \(other.index) while channel 0 runs")
        try bench.expect(
          bench.memory.load(bench.wordAddress(other.index)), is: ChannelBench.untouched,
          "the completion word of channel \(other.index)")
      }
    },
    ConformanceRule(
      .state, "channels-together", "All channels run at the same time, each its own chain.",
      source: "one engine per channel", .once, needs: [.channels(2)]
    ) { bench throws(Finding) in
      let channels = bench.function.channels
      for channel in channels {
        bench.smallCopies(channel.index * 16..<channel.index * 16 + 16)
        try channel.start(slot: channel.index * 16, word: channel.index)
      }
      for channel in channels { try channel.ring(16) }
      for channel in channels {
        let seen = try channel.awaitIdle("of channel \(channel.index)")
        let last = channel.index * 16 + 15
        try bench.expect(
          status: seen, is: bench.slot(last) | BenchState.idle.rawValue,
          "CHANSTS of channel \(channel.index)")
        try bench.expectCopied(channel.index * 16..<last + 1, "on channel \(channel.index)")
      }
    },
  ]

  private static let suspending: [ConformanceRule] = [
    ConformanceRule(
      .state, "suspend-idle", "SUSPEND of an idle channel leads to SUSPENDED.",
      source: "CHANCMD 2; Linux, SPDK, DPDK and FreeBSD wait for it 20 to 100 ms"
    ) { bench throws(Finding) in
      bench.nulls(1)
      try bench.start()
      try bench.ring(1)
      try bench.awaitIdle()
      try bench.write(.chancmd, CommandBit.suspend)
      try bench.awaitState(.suspended, "after SUSPEND in IDLE")
    },
    ConformanceRule(
      .state, "suspend-active", "SUSPEND of a running channel stops it between two descriptors.",
      source: "CHANCMD 2; drivers quiesce so before RESET"
    ) { bench throws(Finding) in
      bench.longChain()
      try bench.start()
      try bench.ring(512)
      try bench.write(.chancmd, CommandBit.suspend)
      let seen = try bench.awaitState(.suspended, "after SUSPEND in ACTIVE")
      let last = seen & ~0x3f
      try bench.expect(
        last == 0 || (bench.slot(0)...bench.slot(511)).contains(last),
        "CHANSTS \(describe(seen)) names no descriptor of the chain")
      bench.memory.fill(0xa5, at: bench.page(112), 4096)
      bench.function.quiet()
      try bench.expect(status: try bench.status(), is: seen, "CHANSTS of the suspended channel")
      try bench.expect(0xa5, at: bench.page(112), 4096, "a target of the suspended channel")
    },
    ConformanceRule(
      .state, "suspend-restart", "CHAINADDR of a suspended channel starts anew, without RESET.",
      source: "DPDK stop and start; CHANSTS exactly ARMED, the count from zero"
    ) { bench throws(Finding) in
      bench.smallCopies(0..<8)
      try bench.start()
      try bench.ring(3)
      try bench.awaitIdle()
      try bench.write(.chancmd, CommandBit.suspend)
      try bench.awaitState(.suspended, "after SUSPEND")
      try bench.start(slot: 4)
      try bench.expect(
        status: try bench.status(), is: BenchState.armed.rawValue, "CHANSTS after CHAINADDR")
      try bench.ring(2)
      let seen = try bench.awaitIdle()
      try bench.expect(
        status: seen, is: bench.slot(5) | BenchState.idle.rawValue, "CHANSTS of the new chain")
      try bench.expectCopied(4..<6, "in the new chain")
      try bench.expectNotCopied(6..<8, "behind the new count")
    },
    ConformanceRule(
      .state, "suspend-halted", "SUSPEND of a halted channel has no lasting effect.",
      source: "DPDK's probe sends it blindly"
    ) { bench throws(Finding) in
      try bench.write(.chancmd, CommandBit.suspend)
      bench.function.quiet()
      try bench.expect(
        try bench.status() & 7, is: BenchState.halted.rawValue, "CHANSTS 2:0 after SUSPEND")
      try bench.acknowledge()
      try bench.expectWorks("after SUSPEND in HALTED")
    },
    ConformanceRule(
      .state, "suspend-armed", "SUSPEND of an armed channel does not keep RESET from halting it.",
      source: "DPDK 664fa1c3"
    ) { bench throws(Finding) in
      try bench.start()
      try bench.write(.chancmd, CommandBit.suspend)
      try bench.acknowledge()
      try bench.reset()
      try bench.awaitState(.halted, "after SUSPEND in ARMED and RESET")
      try bench.expectWorks("after SUSPEND in ARMED")
    },
  ]
}

// SPDX-License-Identifier: Apache-2.0

import NetDmaVFIO

/// CHANCMD's RESET, and the function's reset.
enum ResetRules {
  static let all: [ConformanceRule] = channel + function

  private static let channel: [ConformanceRule] = [
    ConformanceRule(
      .reset, "idle", "RESET of an idle channel leads to HALTED and then reads 0.",
      source: "CHANCMD 5; Linux, SPDK, FreeBSD, DPDK poll it 20 to 200 ms"
    ) { bench throws(Finding) in
      bench.nulls(4)
      try bench.start()
      try bench.ring(4)
      try bench.awaitIdle()
      try bench.expectReset()
    },
    ConformanceRule(
      .reset, "armed", "RESET of an armed channel leads to HALTED.",
      source: "DPDK 664fa1c3: the way to stop a channel that never ran"
    ) { bench throws(Finding) in
      try bench.start()
      try bench.expectReset()
    },
    ConformanceRule(
      .reset, "suspended", "RESET of a suspended channel leads to HALTED.",
      source: "Linux and SPDK suspend before RESET"
    ) { bench throws(Finding) in
      bench.nulls(4)
      try bench.start()
      try bench.ring(4)
      try bench.awaitIdle()
      try bench.write(.chancmd, CommandBit.suspend)
      try bench.awaitState(.suspended, "after SUSPEND")
      try bench.expectReset()
    },
    ConformanceRule(
      .reset, "active", "RESET of a running channel leads to HALTED, and no data follows.",
      source: "FreeBSD requires it not to be ACTIVE afterwards"
    ) { bench throws(Finding) in
      bench.longChain()
      try bench.start()
      try bench.ring(512)
      try bench.expectReset()
      bench.memory.fill(0xa5, at: bench.page(112), 112 * 4096)
      bench.function.quiet()
      try bench.expect(0xa5, at: bench.page(112), 112 * 4096, "a target after RESET")
    },
    ConformanceRule(
      .reset, "no-late-word", "No completion word follows a RESET that has ended.",
      source: "drivers free or reuse the memory then"
    ) { bench throws(Finding) in
      for _ in 0..<8 {
        let ring = 512
        for index in 0..<ring { bench.null(index, next: bench.slot((index + 1) % ring)) }
        try bench.start()
        try bench.ring(60_000)
        try bench.reset()
        bench.memory.store(ChannelBench.untouched, at: bench.wordAddress())
        bench.function.quiet()
        try bench.expectUntouchedWord("after RESET")
        try bench.awaitState(.halted, "after RESET")
      }
    },
    ConformanceRule(
      .reset, "status", "After RESET CHANSTS is exactly HALTED (0x3), without an address.",
      source: "as after power-on (inferred)"
    ) { bench throws(Finding) in
      bench.nulls(4)
      try bench.start()
      try bench.ring(4)
      try bench.awaitIdle()
      try bench.reset()
      try bench.awaitState(.halted, "after RESET")
      try bench.expect(
        status: try bench.status(), is: BenchState.halted.rawValue, "CHANSTS after RESET")
    },
    ConformanceRule(
      .reset, "count", "RESET and CHAINADDR start the count from zero.",
      source: "FreeBSD starts its head at 0 after RESET: the engine's counter did"
    ) { bench throws(Finding) in
      bench.smallCopies(0..<16)
      try bench.start()
      try bench.ring(5)
      try bench.awaitIdle()
      try bench.halt()
      try bench.start(slot: 8)
      try bench.ring(2)
      try bench.awaitIdle(at: 9, "of the chain after RESET")
      bench.function.quiet()
      try bench.expectCopied(8..<10, "within count 2 after RESET")
      try bench.expectNotCopied(10..<16, "behind count 2 after RESET")
    },
    ConformanceRule(
      .reset, "error", "RESET of a channel that failed clears CHANERR.",
      source: "FreeBSD requires CHANERR 0 after RESET (inferred)"
    ) { bench throws(Finding) in
      try bench.provokeError()
      try bench.reset()
      try bench.expect(try bench.error(), is: 0, "CHANERR after RESET")
      try bench.expect(
        try bench.status() & 7, is: BenchState.halted.rawValue, "CHANSTS 2:0 after RESET")
    },
    ConformanceRule(
      .reset, "neighbours", "RESET of one channel leaves the others as they are.",
      source: "one engine per channel (Xeon E7 v2 erratum CF5 is the exception on XOR channels)",
      .once,
      needs: [.channels(2)]
    ) { bench throws(Finding) in
      let others = bench.function.channels.dropFirst()
      for other in others { try other.start(word: other.index) }
      try bench.start()
      try bench.reset()
      for other in others {
        try bench.expect(
          status: try other.status(), is: BenchState.armed.rawValue,
          "CHANSTS of channel \(other.index)")
      }
    },
    ConformanceRule(
      .reset, "often", "Fifty starts, copies and RESETs in a row all work.",
      source: "SPDK 1534; Linux loads and unloads"
    ) { bench throws(Finding) in
      for round in 0..<50 {
        try bench.expectWorks("in round \(round)")
        try bench.halt()
      }
    },
  ]

  private static let function: [ConformanceRule] = [
    ConformanceRule(
      .reset, "function", "The function's reset leaves every channel as after power-on.",
      source:
        "function-level reset (Xeon C5500 datasheet); CHANSTS 3, addresses, CHANERR and CHANCTRL 0",
      .once,
      needs: [.functionReset]
    ) { bench throws(Finding) in
      for channel in bench.function.channels {
        try channel.write(.chanerrmask, ErrorBit.xorPOrCRC)
        try channel.provokeError(control: ControlBit.polled | ControlBit.errorInterrupt)
        // It would keep the next channel from starting, before version 3.3.
        try bench.function.clearErrorMirror()
      }
      try bench.function.resetFunction()
      for channel in bench.function.channels {
        let name = "of channel \(channel.index)"
        try bench.expect(
          status: try channel.status(), is: BenchState.halted.rawValue, "CHANSTS \(name)")
        try bench.expect(try channel.error(), is: 0, "CHANERR \(name)")
        try bench.expect(try channel.read(.chanerrmask), is: 0, "CHANERRMASK \(name)")
        try bench.expect(try channel.read(.chainaddr), is: 0, "CHAINADDR \(name)")
        try bench.expect(try channel.read(.chancmp), is: 0, "CHANCMP \(name)")
        try bench.expect(try channel.read(.chanctrl), is: 0, "CHANCTRL \(name)")
        try bench.expect(try channel.read(.chancmd), is: 0, "CHANCMD \(name)")
      }
    },
    ConformanceRule(
      .reset, "function-general", "The function's reset clears INTRCTRL, INTRDELAY, ATTNSTATUS.",
      source: "function-level reset (Xeon C5500 datasheet)", .once, needs: [.functionReset]
    ) { bench throws(Finding) in
      try bench.function.write(.intrctrl, InterruptBit.master | InterruptBit.vectorControl)
      if try bench.function.read(.intrdelay) & 0x8000 != 0 {
        try bench.function.write(.intrdelay, 0x1234)
      }
      try bench.function.resetFunction()
      try bench.expect(try bench.function.read(.intrctrl), is: 0, "INTRCTRL")
      try bench.expect(try bench.function.read(.intrdelay) & 0x3fff, is: 0, "INTRDELAY 13:0")
      try bench.expect(try bench.function.read(.attnstatus), is: 0, "ATTNSTATUS")
      if let mirror = try bench.function.errorMirror() {
        try bench.expect(mirror, is: 0, "CHANERR_INT")
      }
    },
    ConformanceRule(
      .reset, "function-active", "The function's reset ends all work; no memory is touched later.",
      source: "VFIO resets before it gives a device away", .once, needs: [.functionReset]
    ) { bench throws(Finding) in
      bench.longChain()
      try bench.start()
      try bench.ring(512)
      try bench.function.resetFunction()
      bench.memory.fill(0xa5, at: bench.page(112), 112 * 4096)
      bench.memory.store(ChannelBench.untouched, at: bench.wordAddress())
      try bench.function.setBusMaster(true)
      bench.function.quiet()
      try bench.expect(0xa5, at: bench.page(112), 112 * 4096, "a target after the reset")
      try bench.expectUntouchedWord("after the function's reset")
      try bench.expect(
        status: try bench.status(), is: BenchState.halted.rawValue, "CHANSTS after the reset")
    },
    ConformanceRule(
      .reset, "function-works", "After the function's reset every channel works again.",
      source: "SPDK 1534: only a machine reset helped", .once, needs: [.functionReset]
    ) { bench throws(Finding) in
      try bench.provokeError()
      try bench.function.resetFunction()
      try bench.function.setBusMaster(true)
      for channel in bench.function.channels {
        try channel.expectWorks("on channel \(channel.index) after the reset")
      }
    },
  ]
}

extension ChannelBench {
  /// RESET must end, and leave the channel halted.
  fileprivate func expectReset() throws(Finding) {
    try reset()
    try awaitState(.halted, "after RESET")
    try expect(try read(.chancmd), is: 0, "CHANCMD after RESET")
  }
}

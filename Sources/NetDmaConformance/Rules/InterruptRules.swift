// SPDX-License-Identifier: Apache-2.0

import NetDmaVFIO

/// Messages to the host: when one comes, and when none may come.
enum InterruptRules {
  static let all: [ConformanceRule] = raising + holding + function

  private static let raising: [ConformanceRule] = [
    ConformanceRule(
      .interrupt, "requested", "A descriptor with control bit 0 raises an interrupt.",
      source: "descriptor control 0; Linux's self test", needs: [.interrupts]
    ) { bench throws(Finding) in
      let vector = try bench.connect()
      bench.smallCopies(0..<1, control: DescriptorBit.interrupt | DescriptorBit.completion)
      try bench.start(control: ControlBit.interrupting)
      try bench.ring(1)
      try bench.awaitInterrupt(vector, 1, "after a descriptor with the bit")
    },
    ConformanceRule(
      .interrupt, "null", "A null descriptor with control bit 0 raises an interrupt.",
      source: "Linux starts a channel with one", needs: [.interrupts]
    ) { bench throws(Finding) in
      let vector = try bench.connect()
      bench.null(0, control: DescriptorBit.interrupt | DescriptorBit.completion, size: 1)
      try bench.start(control: ControlBit.interrupting)
      try bench.ring(1)
      try bench.awaitInterrupt(vector, 1, "after a null descriptor with the bit")
    },
    ConformanceRule(
      .interrupt, "not-requested", "Descriptors without control bit 0 raise none.",
      source: "descriptor control 0; SPDK and DPDK never set it", needs: [.interrupts]
    ) { bench throws(Finding) in
      let vector = try bench.connect()
      bench.nulls(8)
      try bench.start(control: ControlBit.interrupting)
      try bench.ring(8)
      try bench.awaitIdle()
      try bench.expectNone(vector, since: 0, "after descriptors without the bit")
    },
    ConformanceRule(
      .interrupt, "word-first", "Data and completion word are there when the interrupt comes.",
      source: "Linux's handler looks at the word and nothing else", needs: [.interrupts]
    ) { bench throws(Finding) in
      let vector = try bench.connect()
      bench.smallCopies(0..<16, control: DescriptorBit.interrupt | DescriptorBit.completion)
      try bench.start(control: ControlBit.interrupting)
      for index in 0..<16 {
        try bench.ring(index + 1)
        try bench.awaitInterrupt(vector, UInt64(index + 1), "of descriptor \(index)")
        let word = bench.word
        try bench.expect(
          word & ~0x3f, is: bench.slot(index), "at interrupt \(index) the word's address")
        try bench.expectCopied(index..<index + 1, "at its interrupt")
        try bench.write(.chanctrl, ControlBit.interrupting)
      }
    },
    ConformanceRule(
      .interrupt, "error", "With ERR_INT_EN an error raises an interrupt.",
      source: "CHANCTRL 4; Linux's and FreeBSD's error path", needs: [.interrupts]
    ) { bench throws(Finding) in
      let vector = try bench.connect()
      try bench.provokeError(control: ControlBit.interrupting)
      try bench.awaitInterrupt(vector, 1, "after an error")
    },
    ConformanceRule(
      .interrupt, "error-off", "Without ERR_INT_EN an error raises none.",
      source: "CHANCTRL 4", needs: [.interrupts]
    ) { bench throws(Finding) in
      let vector = try bench.connect()
      try bench.provokeError(control: ControlBit.polled | ControlBit.rearm)
      try bench.expectNone(vector, since: 0, "after an error without ERR_INT_EN")
    },
    ConformanceRule(
      .interrupt, "failed", "The failing descriptor's own control bit 0 raises none.",
      source: "only a completed descriptor interrupts; ERR_INT_EN is for errors",
      needs: [.interrupts]
    ) { bench throws(Finding) in
      let vector = try bench.connect()
      bench.copy(
        0, 64, from: bench.memory.end, to: bench.page(1),
        control: DescriptorBit.interrupt | DescriptorBit.completion)
      try bench.start(control: ControlBit.polled | ControlBit.rearm)
      try bench.ring(1)
      try bench.awaitHalt("at the failing descriptor")
      try bench.expectNone(vector, since: 0, "after a failed descriptor with the bit")
    },
  ]

  private static let holding: [ConformanceRule] = [
    ConformanceRule(
      .interrupt, "disables", "An interrupt sets CHANCTRL bit 0; writing 1 clears it, 0 does not.",
      source: "CHANCTRL 0; gem5, Xeon E7 v2 datasheet, pending bits; Linux and FreeBSD write 0x1d",
      needs: [.interrupts]
    ) { bench throws(Finding) in
      let vector = try bench.connect()
      bench.null(0, control: DescriptorBit.interrupt | DescriptorBit.completion)
      try bench.start(control: ControlBit.interrupting)
      try bench.expect(try bench.read(.chanctrl) & ControlBit.rearm, is: 0, "bit 0 when re-armed")
      try bench.ring(1)
      try bench.awaitInterrupt(vector, 1, "after a descriptor with the bit")
      try bench.expect(
        try bench.read(.chanctrl) & ControlBit.rearm, is: 1, "bit 0 after an interrupt")
      try bench.write(.chanctrl, ControlBit.interrupting & ~ControlBit.rearm)
      try bench.expect(try bench.read(.chanctrl) & ControlBit.rearm, is: 1, "bit 0 after writing 0")
      try bench.write(.chanctrl, ControlBit.interrupting)
      try bench.expect(try bench.read(.chanctrl) & ControlBit.rearm, is: 0, "bit 0 after writing 1")
    },
    ConformanceRule(
      .interrupt, "held", "While bit 0 is set a further event raises none.",
      source: "CHANCTRL 0; drivers re-arm after they have cleaned up", needs: [.interrupts]
    ) { bench throws(Finding) in
      let vector = try bench.connect()
      try bench.holdEvents(vector, 3)
      try bench.expectNone(vector, since: 1, "before the re-arm")
    },
    ConformanceRule(
      .interrupt, "held-delivered", "The re-arm raises what was held back: no event is lost.",
      source: "Xeon E7 v2 datasheet, pending bits; Linux re-arms after its last look at the word",
      needs: [.interrupts]
    ) { bench throws(Finding) in
      let vector = try bench.connect()
      try bench.holdEvents(vector, 1)
      try bench.write(.chanctrl, ControlBit.interrupting)
      try bench.awaitInterrupt(vector, 2, "after the re-arm")
    },
    ConformanceRule(
      .interrupt, "held-merged", "Several events held back become one interrupt.",
      source: "Xeon E7 v2 datasheet: one pending bit a vector", needs: [.interrupts]
    ) { bench throws(Finding) in
      let vector = try bench.connect()
      try bench.holdEvents(vector, 5)
      try bench.write(.chanctrl, ControlBit.interrupting)
      try bench.awaitInterrupt(vector, 2, "after the re-arm")
      try bench.write(.chanctrl, ControlBit.interrupting)
      try bench.expectNone(vector, since: 2, "after the second re-arm")
    },
    ConformanceRule(
      .interrupt, "rearm-empty", "A re-arm with nothing held back raises none.",
      source: "CHANCTRL 0; Linux re-arms after every clean-up", needs: [.interrupts]
    ) { bench throws(Finding) in
      let vector = try bench.connect()
      bench.null(0, control: DescriptorBit.interrupt | DescriptorBit.completion)
      try bench.start(control: ControlBit.interrupting)
      try bench.ring(1)
      try bench.awaitInterrupt(vector, 1, "after a descriptor with the bit")
      for _ in 0..<4 { try bench.write(.chanctrl, ControlBit.interrupting) }
      try bench.expectNone(vector, since: 1, "after four re-arms")
    },
    ConformanceRule(
      .interrupt, "sequence", "Each of 64 interrupts, re-armed in between, comes.",
      source: "Linux's 200 ms timer is a safety net, not the way", needs: [.interrupts]
    ) { bench throws(Finding) in
      let vector = try bench.connect()
      bench.nulls(64, control: DescriptorBit.interrupt | DescriptorBit.completion)
      try bench.start(control: ControlBit.interrupting)
      for index in 0..<64 {
        try bench.ring(index + 1)
        try bench.awaitInterrupt(vector, UInt64(index + 1), "of descriptor \(index)")
        try bench.write(.chanctrl, ControlBit.interrupting)
      }
    },
  ]

  private static let function: [ConformanceRule] = [
    ConformanceRule(
      .interrupt, "master-off", "Without MASTER_INT_EN no interrupt comes.",
      source: "INTRCTRL 0; Linux writes 0 to silence the function", needs: [.interrupts]
    ) { bench throws(Finding) in
      let vector = try bench.connect(control: InterruptBit.vectorControl)
      bench.null(0, control: DescriptorBit.interrupt | DescriptorBit.completion)
      try bench.start(control: ControlBit.interrupting)
      try bench.ring(1)
      try bench.awaitIdle()
      try bench.expectNone(vector, since: 0, "without MASTER_INT_EN")
    },
    ConformanceRule(
      .interrupt, "attention", "ATTNSTATUS shows the channel that interrupted; reading clears it.",
      source: "ATTNSTATUS; Linux's INTx handler, gem5", needs: [.interrupts]
    ) { bench throws(Finding) in
      let vector = try bench.connect()
      bench.null(0, control: DescriptorBit.interrupt | DescriptorBit.completion)
      try bench.start(control: ControlBit.interrupting)
      try bench.ring(1)
      try bench.awaitInterrupt(vector, 1, "after a descriptor with the bit")
      try bench.expect(
        try bench.function.read(.attnstatus), is: 1 << UInt64(bench.index), "ATTNSTATUS")
      try bench.expect(try bench.function.read(.attnstatus), is: 0, "ATTNSTATUS read again")
    },
    ConformanceRule(
      .interrupt, "status", "INT_STATUS follows ATTNSTATUS, INT is INT_STATUS and MASTER_INT_EN.",
      source: "INTRCTRL 2:0; Linux's INTx handler leaves where bit 1 is clear",
      needs: [.interrupts]
    ) { bench throws(Finding) in
      let vector = try bench.connect()
      bench.null(0, control: DescriptorBit.interrupt | DescriptorBit.completion)
      try bench.start(control: ControlBit.interrupting)
      try bench.ring(1)
      try bench.awaitInterrupt(vector, 1, "after a descriptor with the bit")
      let low = InterruptBit.master | InterruptBit.status | InterruptBit.interrupt
      try bench.expect(try bench.function.read(.intrctrl) & low, is: low, "INTRCTRL 2:0")
      try bench.expect(
        try bench.function.read(.intrctrl) & low, is: InterruptBit.status,
        "INTRCTRL 2:0 without MASTER_INT_EN")
      _ = try bench.function.read(.attnstatus)
      try bench.expect(
        try bench.function.read(.intrctrl) & low, is: 0, "INTRCTRL 2:0 after ATTNSTATUS was read")
    },
    ConformanceRule(
      .interrupt, "vector", "With MSIX_VECTOR_CONTROL each channel uses its own vector.",
      source: "INTRCTRL 3; Linux with one vector for each channel",
      needs: [.interrupts, .channels(2)]
    ) { bench throws(Finding) in
      guard bench.facts.interruptIndex == .msix,
        bench.facts.vectorCount >= bench.facts.channelCount
      else { throw .notApplicable("there are fewer MSI-X vectors than channels") }
      let vector = try bench.connect()
      bench.null(0, control: DescriptorBit.interrupt | DescriptorBit.completion)
      try bench.start(control: ControlBit.interrupting)
      try bench.ring(1)
      try bench.awaitInterrupt(vector, 1, "after a descriptor with the bit")
      bench.function.quiet()
      for (index, other) in bench.function.vectors.enumerated() where index != bench.index {
        other.update()
        try bench.expect(other.count == 0, "vector \(index) was signalled too")
      }
    },
    ConformanceRule(
      .interrupt, "delayed", "With INTRDELAY set the interrupt still comes.",
      source: "INTRDELAY 13:0 µs; Linux's coalescing", needs: [.interrupts]
    ) { bench throws(Finding) in
      guard try bench.function.read(.intrdelay) & 0x8000 != 0 else {
        throw .notApplicable("INTRDELAY 15 is clear")
      }
      let vector = try bench.connect()
      try bench.function.write(.intrdelay, 500)
      bench.nulls(8, control: DescriptorBit.interrupt | DescriptorBit.completion)
      try bench.start(control: ControlBit.interrupting)
      try bench.ring(8)
      try bench.awaitInterrupt(vector, 1, "with INTRDELAY 500")
      try bench.function.write(.intrdelay, 0)
    },
  ]
}

extension ChannelBench {
  /// Connects the function's vectors; returns this channel's.
  fileprivate func connect(
    control: UInt64 = InterruptBit.master | InterruptBit.vectorControl
  ) throws(Finding) -> BenchVector {
    try function.connectInterrupts(control: control)
    return function.vectors[function.vectorIndex(of: index)]
  }

  /// Waits until the vector was signalled `count` times in all.
  fileprivate func awaitInterrupt(
    _ vector: BenchVector, _ count: UInt64, _ when: String
  ) throws(Finding) {
    let deadline = Deadline(after: function.options.limit)
    while vector.count < count, !deadline.hasPassed { vector.wait(deadline) }
    try expect(
      vector.count == count, "\(when) there were \(vector.count) interrupts instead of \(count)")
  }

  /// Nothing may come beyond `count` signals, on any vector.
  fileprivate func expectNone(
    _ vector: BenchVector, since count: UInt64, _ when: String
  ) throws(Finding) {
    function.quiet()
    for each in function.vectors { each.update() }
    let total = function.vectors.reduce(0) { $0 + $1.count }
    try expect(total == count, "\(when) there were \(total - count) interrupts too many")
  }

  /// One interrupt, and then `count` events that have to wait for the re-arm.
  fileprivate func holdEvents(_ vector: BenchVector, _ count: Int) throws(Finding) {
    nulls(count + 1, control: DescriptorBit.interrupt | DescriptorBit.completion)
    try start(control: ControlBit.interrupting)
    try ring(1)
    try awaitInterrupt(vector, 1, "after the first descriptor")
    try ring(count + 1)
    try awaitIdle(at: count, "of the events to be held")
    function.quiet()
    vector.update()
    try expect(vector.count == 1, "before the re-arm there were \(vector.count - 1) more")
  }
}

// SPDX-License-Identifier: Apache-2.0

import NetDmaVFIO

/// XOR and P+Q, where DMACAPABILITY has them.
enum ParityRules {
  static let all: [ConformanceRule] = xor + pq + wide

  private static let needsXOR: [Need] = [.capability(CapabilityBit.xor, "XOR")]
  private static let needsPQ: [Need] = [.capability(CapabilityBit.pq, "P+Q")]

  private static let xor: [ConformanceRule] = [
    ConformanceRule(
      .raid, "xor", "XOR adds 2 to 8 sources; from 6 on an extension slot follows.",
      source: "opcode 0x87; Linux's prep: sources 6 to 8 in the next slot", needs: needsXOR
    ) { bench throws(Finding) in
      for count in 2...8 {
        let sources = bench.makeSources(count)
        bench.memory.fill(0xee, at: bench.result(0) - 64, 4096 + 128)
        let slots = bench.xor(0, Opcode.xor, count, target: bench.result(0))
        try bench.runChain(slots)
        try bench.expect(
          bytes: ParityOracle.xor(sources), at: bench.result(0), "XOR of \(count) sources")
        try bench.expect(0xee, at: bench.result(0) + 4096, 64, "behind XOR of \(count) sources")
      }
    },
    ConformanceRule(
      .raid, "xor-slots", "An extension counts in DMACOUNT; the base one is reported.",
      source: "DMACOUNT counts slots; Linux compares with the base descriptor", needs: needsXOR
    ) { bench throws(Finding) in
      _ = bench.makeSources(8)
      _ = bench.xor(0, Opcode.xor, 8, target: bench.result(0))
      bench.null(2)
      try bench.start()
      try bench.ring(2)
      try bench.expect(
        status: try bench.awaitIdle("at count 2"), is: bench.slot(0) | BenchState.idle.rawValue,
        "CHANSTS after base and extension")
      try bench.ring(3)
      try bench.awaitIdle(at: 2, "at count 3")
    },
    ConformanceRule(
      .raid, "xor-validate", "XOR validate of the right sum is no error and writes nothing.",
      source: "opcode 0x88; Linux's self test 3", needs: needsXOR
    ) { bench throws(Finding) in
      let sum = ParityOracle.xor(bench.makeSources(6))
      bench.memory.put(sum, at: bench.result(0))
      try bench.runChain(bench.xor(0, Opcode.xorValidate, 6, target: bench.result(0)))
      try bench.expect(bytes: sum, at: bench.result(0), "the validated sum")
      try bench.expect(try bench.error(), is: 0, "CHANERR")
    },
    ConformanceRule(
      .raid, "xor-mismatch", "XOR validate of a wrong sum halts with 0x10000 and nothing else.",
      source: "CHANERR 16; Linux's self test 4 continues with the next slot", needs: needsXOR
    ) { bench throws(Finding) in
      var sum = ParityOracle.xor(bench.makeSources(6))
      sum[4095] ^= 1
      bench.memory.put(sum, at: bench.result(0))
      let slots = bench.xor(0, Opcode.xorValidate, 6, target: bench.result(0))
      bench.null(slots)
      try bench.expectFault(ErrorBit.xorPOrCRC, count: slots + 1)
      try bench.acknowledge()
      try bench.start(slot: slots)
      try bench.ring(1)
      try bench.awaitIdle(at: slots, "of the null descriptor behind")
    },
    ConformanceRule(
      .raid, "mismatch-masked", "A mismatch that CHANERRMASK covers does not halt.",
      source: "CHANERRMASK 16; Linux sets 0x30000 where errors are written back", needs: needsXOR
    ) { bench throws(Finding) in
      _ = bench.makeSources(2)
      bench.memory.fill(0x13, at: bench.result(0), 4096)
      try bench.write(.chanerrmask, ErrorBit.xorPOrCRC | ErrorBit.xorQ)
      let slots = bench.xor(0, Opcode.xorValidate, 2, target: bench.result(0))
      bench.null(slots)
      try bench.start()
      try bench.ring(slots + 1)
      try bench.awaitIdle(at: slots, "behind a masked mismatch")
    },
  ]

  private static let pq: [ConformanceRule] = [
    ConformanceRule(
      .raid, "pq", "P+Q of 2 to 8 sources gives the sum, and the sum of products in GF(2^8).",
      source: "opcode 0x89; Linux RAID-6, polynomial 0x11d", needs: needsPQ
    ) { bench throws(Finding) in
      for count in 2...8 {
        let sources = bench.makeSources(count)
        bench.memory.fill(0xee, at: bench.result(0), 3 * 4096)
        try bench.runChain(bench.pq(0, Opcode.pq, count))
        try bench.expect(
          bytes: ParityOracle.xor(sources), at: bench.result(0), "P of \(count) sources")
        try bench.expect(
          bytes: ParityOracle.q(sources, ChannelBench.coefficients), at: bench.result(1),
          "Q of \(count) sources")
      }
    },
    ConformanceRule(
      .raid, "pq-disable", "P or Q alone is written when the other is disabled.",
      source: "control 11 and 12; Linux does XOR so where there is P+Q only", needs: needsPQ
    ) { bench throws(Finding) in
      for (bit, written, kept) in [(DescriptorBit.pDisable, 1, 0), (DescriptorBit.qDisable, 0, 1)] {
        let sources = bench.makeSources(3)
        bench.memory.fill(0xee, at: bench.result(0), 2 * 4096)
        try bench.runChain(bench.pq(0, Opcode.pq, 3, control: bit))
        let expected =
          written == 0
          ? ParityOracle.xor(sources) : ParityOracle.q(sources, ChannelBench.coefficients)
        try bench.expect(bytes: expected, at: bench.result(written), "the result that is on")
        try bench.expect(0xee, at: bench.result(kept), 4096, "the result that is off")
      }
    },
    ConformanceRule(
      .raid, "pq-validate", "P+Q validate of the right results is no error.",
      source: "opcode 0x8a", needs: needsPQ
    ) { bench throws(Finding) in
      bench.putResults(bench.makeSources(5))
      try bench.runChain(bench.pq(0, Opcode.pqValidate, 5))
      try bench.expect(try bench.error(), is: 0, "CHANERR")
    },
    ConformanceRule(
      .raid, "pq-mismatch", "A wrong P is 0x10000, a wrong Q 0x20000, both are both.",
      source: "CHANERR 16 and 17 (Linux)", needs: needsPQ
    ) { bench throws(Finding) in
      for bits in [ErrorBit.xorPOrCRC, ErrorBit.xorQ, ErrorBit.xorPOrCRC | ErrorBit.xorQ] {
        try bench.prepare()
        bench.putResults(bench.makeSources(4))
        if bits & ErrorBit.xorPOrCRC != 0 { bench.spoil(bench.result(0) + 1000) }
        if bits & ErrorBit.xorQ != 0 { bench.spoil(bench.result(1) + 2000) }
        try bench.expectFault(bits, count: bench.pq(0, Opcode.pqValidate, 4))
      }
    },
    ConformanceRule(
      .raid, "write-back", "With control 15 the result of P+Q validate goes to the descriptor.",
      source: "DMACAPABILITY 13; Linux: bit 31 written, 25 P, 26 Q",
      needs: [
        .capability(CapabilityBit.pq, "P+Q"),
        .capability(CapabilityBit.writeBack, "error write-back"),
      ]
    ) { bench throws(Finding) in
      try bench.write(.chanerrmask, ErrorBit.xorPOrCRC | ErrorBit.xorQ)
      for (spoiled, expected) in [([], 0x8000_0000), ([0], 0x8200_0000), ([0, 1], 0x8600_0000)] {
        bench.putResults(bench.makeSources(3))
        for index in spoiled { bench.spoil(bench.result(index) + 77) }
        try bench.runChain(
          bench.pq(0, Opcode.pqValidate, 3, control: DescriptorBit.writeBack))
        let status = bench.memory.load(bench.slot(0)) & 0x8600_0000
        try bench.expect(status, is: UInt64(expected), "bits 31, 26, 25 of the descriptor")
      }
    },
  ]

  private static let wide: [ConformanceRule] = [
    ConformanceRule(
      .raid, "pq16", "P+Q of 9 to 16 sources takes the rest from a block outside the ring.",
      source: "opcode 0xa0; DMACAPABILITY 17, Linux's super-extended descriptor",
      needs: [.capability(CapabilityBit.raid16, "16-source P+Q")]
    ) { bench throws(Finding) in
      for count in 9...16 {
        let sources = bench.makeSources(count)
        bench.memory.fill(0xee, at: bench.result(0), 2 * 4096)
        bench.pq16(0, count)
        try bench.runChain(1)
        try bench.expect(
          bytes: ParityOracle.xor(sources), at: bench.result(0), "P of \(count) sources")
        try bench.expect(
          bytes: ParityOracle.q(sources, ChannelBench.coefficients), at: bench.result(1),
          "Q of \(count) sources")
      }
    }
  ]
}

extension ChannelBench {
  /// One factor for each of 16 sources; 0 and 1 are among them.
  fileprivate static let coefficients: [UInt8] = [
    1, 2, 0x80, 0, 0x1d, 0xff, 7, 0x53, 3, 0xca, 0x40, 1, 0x9d, 0x11, 0xfe, 5,
  ]

  /// Where source `index` lies, one page of 4 KiB.
  fileprivate func source(_ index: Int) -> UInt64 { page(2 * index) }
  /// Where result `index` lies, with free pages around all of them.
  fileprivate func result(_ index: Int) -> UInt64 { page(40 + index) }

  /// Fills `count` sources; returns what is in them.
  fileprivate func makeSources(_ count: Int) -> [[UInt8]] {
    (0..<count).map { index in
      let bytes = BenchMemory.pattern(4096, seed: 31 &* index &+ count)
      memory.put(bytes, at: source(index))
      return bytes
    }
  }

  /// Puts the right P and Q of `sources` where results go.
  fileprivate func putResults(_ sources: [[UInt8]]) {
    memory.put(ParityOracle.xor(sources), at: result(0))
    memory.put(ParityOracle.q(sources, Self.coefficients), at: result(1))
  }

  /// Changes one byte.
  fileprivate func spoil(_ address: UInt64) {
    memory.put(memory.bytes(address, 1).map { $0 ^ 0x40 }, at: address)
  }

  /// An XOR from slot `index` on; returns its slots.
  fileprivate func xor(_ index: Int, _ opcode: UInt64, _ count: Int, target: UInt64) -> Int {
    func address(_ number: Int) -> UInt64 { number < count ? source(number) : 0 }
    descriptor(
      index, opcode, size: 4096,
      control: DescriptorBit.completion | DescriptorBit.sourceCount(count - 2),
      word1: address(0), word2: target, word4: address(1), word5: address(2), word6: address(3),
      word7: address(4))
    guard count > 5 else { return 1 }
    put(index + 1, [address(5), address(6), address(7), slot(index + 2), 0, 0, 0, 0])
    return 2
  }

  /// A P+Q from slot `index` on, to results 0 and 1; returns its slots.
  fileprivate func pq(
    _ index: Int, _ opcode: UInt64, _ count: Int, control: UInt64 = 0
  ) -> Int {
    func address(_ number: Int) -> UInt64 { number < count ? source(number) : 0 }
    descriptor(
      index, opcode, size: 4096,
      control: control | DescriptorBit.completion | DescriptorBit.sourceCount(count - 2),
      word1: address(0), word2: result(0), word4: address(1), word5: address(2),
      word6: packed(Self.coefficients.prefix(min(count, 8))), word7: result(1))
    guard count > 3 else { return 1 }
    put(
      index + 1,
      [address(3), address(4), address(5), slot(index + 2), address(6), address(7), 0, 0])
    return 2
  }

  /// A P+Q of 9 to 16 sources in one slot, to results 0 and 1.
  fileprivate func pq16(_ index: Int, _ count: Int) {
    func address(_ number: Int) -> UInt64 { number < count ? source(number) : 0 }
    descriptor(
      index, Opcode.pq16, size: 4096,
      control: DescriptorBit.completion | DescriptorBit.sourceCount(count - 9),
      word1: address(0), word2: result(0), word4: address(1), word5: extensionBlock,
      word6: packed(Self.coefficients.prefix(8)), word7: result(1))
    memory.store(packed(Self.coefficients[8..<count]), at: extensionBlock)
    for number in 2..<16 {
      memory.store(address(number), at: extensionBlock + UInt64(8 * (number - 1)))
    }
    memory.store(0, at: extensionBlock + 120)
  }

  private func packed(_ bytes: ArraySlice<UInt8>) -> UInt64 {
    bytes.enumerated().reduce(0) { $0 | UInt64($1.element) << UInt64(8 * $1.offset) }
  }

  /// Runs `slots` slots from slot 0 on to the end; the channel is suspended afterwards.
  func runChain(_ slots: Int) throws(Finding) {
    try start()
    try ring(slots)
    try awaitIdle()
    try write(.chancmd, CommandBit.suspend)
    try awaitState(.suspended, "after SUSPEND")
  }
}

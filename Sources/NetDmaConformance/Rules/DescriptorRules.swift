// SPDX-License-Identifier: Apache-2.0

/// What a descriptor makes the engine do.
enum DescriptorRules {
  static let all: [ConformanceRule] = copies + order + others

  private static let copies: [ConformanceRule] = [
    ConformanceRule(
      .descriptor, "copy-lengths", "A copy moves exactly its bytes, whatever their number.",
      source: "SPDK verify: random lengths; Linux's self test: 2000 bytes"
    ) { bench throws(Finding) in
      let sizes = [
        1, 2, 3, 4, 7, 8, 9, 31, 63, 64, 65, 255, 256, 1000, 2000, 4095, 4096, 4097, 8191,
      ]
      try bench.expectExactCopies(sizes.map { ($0, 0, 0) })
    },
    ConformanceRule(
      .descriptor, "copy-alignment", "Source and destination may have any byte alignment.",
      source: "SPDK verify: random offsets"
    ) { bench throws(Finding) in
      var cases: [(Int, Int, Int)] = []
      for source in [0, 1, 3, 4, 7, 8, 63] {
        for target in [0, 1, 2, 5, 8, 33, 63] { cases.append((333, source, target)) }
      }
      try bench.expectExactCopies(cases)
    },
    ConformanceRule(
      .descriptor, "copy-pages", "A copy may cross pages on either side.",
      source: "addresses are translated page by page; SPDK verify"
    ) { bench throws(Finding) in
      try bench.expectExactCopies([
        (20_000, 4000, 96), (12_288, 1, 4095), (9000, 2048, 2048), (4096, 4095, 1),
      ])
    },
    ConformanceRule(
      .descriptor, "copy-limit", "A copy of 2^XFERCAP bytes is done in one descriptor.",
      source: "XFERCAP; Linux, SPDK split above it", .once
    ) { bench throws(Finding) in
      let bits = bench.facts.transferBits
      guard (12...24).contains(bits) else {
        throw .notApplicable("2^XFERCAP is more memory than the test takes (XFERCAP is \(bits))")
      }
      let size = 1 << bits
      let source = try bench.function.allocate(size)
      let target = try bench.function.allocate(size)
      for offset in stride(from: 0, to: size, by: 4096) {
        source.put(
          BenchMemory.pattern(4096, seed: offset / 4096), at: source.start + UInt64(offset))
      }
      bench.copy(0, size, from: source.start, to: target.start)
      try bench.start()
      try bench.ring(1)
      try bench.awaitIdle()
      for offset in stride(from: 0, to: size, by: 4096) {
        let at = UInt64(offset)
        try bench.expect(
          source.bytes(source.start + at, 4096) == target.bytes(target.start + at, 4096),
          "the page at \(hex(at)) of \(size) bytes differs")
      }
    },
    ConformanceRule(
      .descriptor, "page-break-source", "With a page break the source goes on at its next page.",
      source: "control 6, word 4; FreeBSD copies 8 KiB so",
      needs: [.capability(CapabilityBit.pageBreak, "page break")]
    ) { bench throws(Finding) in
      try bench.expectPageBreak(source: true, destination: false)
    },
    ConformanceRule(
      .descriptor, "page-break-target", "With a page break the target goes on at its next page.",
      source: "control 7, word 5; FreeBSD copies 8 KiB so",
      needs: [.capability(CapabilityBit.pageBreak, "page break")]
    ) { bench throws(Finding) in
      try bench.expectPageBreak(source: false, destination: true)
      try bench.expectPageBreak(source: true, destination: true)
    },
  ]

  private static let order: [ConformanceRule] = [
    ConformanceRule(
      .descriptor, "next", "The chain follows `next`, wherever that leads.",
      source: "descriptor word 3; SPDK 104fa6e7: slots need not be side by side"
    ) { bench throws(Finding) in
      let order = [0, 9, 3, 12, 1, 7]
      bench.smallCopies(0..<16)
      for (position, index) in order.enumerated() {
        let next = position + 1 < order.count ? order[position + 1] : 15
        bench.copy(
          index, 64, from: bench.smallSource(index), to: bench.smallDestination(index),
          next: bench.slot(next))
      }
      try bench.start()
      try bench.ring(order.count)
      let seen = try bench.awaitIdle()
      try bench.expect(
        status: seen, is: bench.slot(7) | BenchState.idle.rawValue, "CHANSTS at the end")
      for index in 0..<16 {
        if order.contains(index) {
          try bench.expectCopied(index..<index + 1, "along `next`")
        } else {
          try bench.expectNotCopied(index..<index + 1, "beside the chain")
        }
      }
    },
    ConformanceRule(
      .descriptor, "ring", "A ring may be gone round and rewritten, slot by slot.",
      source: "all drivers; slots behind the reported one are free"
    ) { bench throws(Finding) in
      try bench.start()
      for round in 0..<40 {
        let index = round % 4
        let pattern = BenchMemory.pattern(64, seed: round)
        bench.memory.put(pattern, at: bench.page(0))
        bench.copy(
          index, 64, from: bench.page(0), to: bench.page(1), next: bench.slot((index + 1) % 4))
        try bench.ring(round + 1)
        try bench.awaitDone(index, "in round \(round)")
        try bench.expect(bytes: pattern, at: bench.page(1), "in round \(round) the target")
      }
    },
    ConformanceRule(
      .descriptor, "fence", "A descriptor behind a fence reads what the one before it wrote.",
      source: "control 4: the next may not even prefetch its source"
    ) { bench throws(Finding) in
      let pattern = BenchMemory.pattern(4096, seed: 5)
      bench.memory.put(pattern, at: bench.page(0))
      for page in 1...16 {
        bench.memory.fill(0, at: bench.page(page), 4096)
        bench.copy(
          page - 1, 4096, from: bench.page(page - 1), to: bench.page(page),
          control: DescriptorBit.fence | DescriptorBit.completion)
      }
      try bench.start()
      try bench.ring(16)
      try bench.awaitIdle()
      for page in 1...16 {
        try bench.expect(bytes: pattern, at: bench.page(page), "behind \(page) fences the copy")
      }
    },
    ConformanceRule(
      .descriptor, "fence-overwrite", "Behind a fence a later write to the same place remains.",
      source: "control 4"
    ) { bench throws(Finding) in
      for index in 0..<8 {
        bench.memory.put(BenchMemory.pattern(512, seed: index), at: bench.page(index))
        bench.copy(
          index, 512, from: bench.page(index), to: bench.page(20),
          control: DescriptorBit.fence | DescriptorBit.completion)
      }
      try bench.start()
      try bench.ring(8)
      try bench.awaitIdle()
      try bench.expect(
        bytes: BenchMemory.pattern(512, seed: 7), at: bench.page(20), "the target of eight copies")
    },
  ]

  private static let others: [ConformanceRule] = [
    ConformanceRule(
      .descriptor, "null", "A null descriptor completes and touches no data.",
      source: "control 5; Linux uses size 1, SPDK and FreeBSD size 8"
    ) { bench throws(Finding) in
      for size in [1, 8] {
        bench.memory.put(BenchMemory.pattern(64, seed: 3), at: bench.page(0))
        bench.memory.fill(0, at: bench.page(1), 64)
        // Addresses that would be copied between if the bit were not there.
        bench.copy(
          0, size, from: bench.page(0), to: bench.page(1),
          control: DescriptorBit.null | DescriptorBit.completion)
        bench.null(1, size: size)
        try bench.start()
        try bench.ring(2)
        try bench.awaitIdle("of null descriptors of size \(size)")
        try bench.awaitDone(1)
        try bench.expect(0, at: bench.page(1), 64, "the target of a null descriptor")
        try bench.prepare()
      }
    },
    ConformanceRule(
      .descriptor, "fill", "A fill writes its pattern from its start on, and not a byte more.",
      source: "opcode 0x01; DPDK's test: 8, 64, 1024, 50, 100, 89 bytes",
      needs: [.capability(CapabilityBit.fill, "fill")]
    ) { bench throws(Finding) in
      let pattern: UInt64 = 0x8877_6655_4433_2211
      let sizes = [8, 64, 1024, 50, 100, 89, 1, 4096]
      for (index, size) in sizes.enumerated() {
        bench.memory.fill(0xee, at: bench.page(2 * index), 8192)
        bench.descriptor(
          index, Opcode.fill, size: size, control: DescriptorBit.completion, word1: pattern,
          word2: bench.page(2 * index) + 64)
      }
      try bench.start()
      try bench.ring(sizes.count)
      try bench.awaitIdle()
      for (index, size) in sizes.enumerated() {
        let expected = (0..<size).map { UInt8(truncatingIfNeeded: pattern >> UInt64(8 * ($0 % 8))) }
        let start = bench.page(2 * index) + 64
        try bench.expect(bytes: expected, at: start, "a fill of \(size) bytes")
        try bench.expect(0xee, at: start - 64, 64, "before a fill of \(size) bytes")
        try bench.expect(0xee, at: start + UInt64(size), 64, "behind a fill of \(size) bytes")
      }
    },
    ConformanceRule(
      .descriptor, "unchanged", "The engine leaves descriptors as they are.",
      source: "only P+Q with control 15 is written back (Linux)"
    ) { bench throws(Finding) in
      bench.smallCopies(0..<8)
      for index in 0..<8 {
        // What a driver may keep in the two words that belong to it.
        bench.memory.store(0x1122_3344_5566_7788, at: bench.slot(index) + 48)
        bench.memory.store(.max, at: bench.slot(index) + 56)
      }
      let before = bench.memory.bytes(bench.slot(0), 8 * 64)
      try bench.start()
      try bench.ring(8)
      try bench.awaitIdle()
      try bench.expect(bytes: before, at: bench.slot(0), "the eight slots")
      try bench.expectCopied(0..<8, "with user words in the slots")
    },
  ]
}

extension ChannelBench {
  /// Copies of (size, source offset, target offset), one chain; guards around each target.
  fileprivate func expectExactCopies(_ cases: [(Int, Int, Int)]) throws(Finding) {
    for (size, sourceOffset, targetOffset) in cases where size <= facts.transferLimit {
      let source = page(0) + UInt64(sourceOffset)
      let target = page(16) + 128 + UInt64(targetOffset)
      let pattern = BenchMemory.pattern(size, seed: size &+ 3 &* sourceOffset)
      memory.fill(0x11, at: page(0), size + sourceOffset + 64)
      memory.put(pattern, at: source)
      memory.fill(0xee, at: target - 64, size + 128)
      copy(0, size, from: source, to: target)
      try start()
      try ring(1)
      let what = "a copy of \(size) bytes from offset \(sourceOffset) to offset \(targetOffset)"
      try awaitIdle("after \(what)")
      try expect(bytes: pattern, at: target, what)
      try expect(0xee, at: target - 64, 64, "before \(what)")
      try expect(0xee, at: target + UInt64(size), 64, "behind \(what)")
      try write(.chancmd, CommandBit.suspend)
      try awaitState(.suspended, "after SUSPEND")
    }
  }

  /// 8 KiB with a page break on the sides that are said.
  fileprivate func expectPageBreak(source: Bool, destination: Bool) throws(Finding) {
    guard facts.transferLimit >= 8192 else {
      throw .notApplicable("two pages are more than 2^XFERCAP")
    }
    try prepare()
    // First pages 0 and 8; second ones 1 and 9 without a break, 4 and 12 with one.
    let secondSource = page(source ? 4 : 1)
    let secondTarget = page(destination ? 12 : 9)
    for index in [1, 4] { memory.fill(0x11, at: page(index), 4096) }
    for index in 8...13 { memory.fill(0xee, at: page(index), 4096) }
    let (first, second) = (BenchMemory.pattern(4096, seed: 1), BenchMemory.pattern(4096, seed: 2))
    memory.put(first, at: page(0))
    memory.put(second, at: secondSource)
    descriptor(
      0, Opcode.copy, size: 8192,
      control: DescriptorBit.completion | (source ? DescriptorBit.sourcePageBreak : 0)
        | (destination ? DescriptorBit.destinationPageBreak : 0),
      word1: page(0), word2: page(8), word4: source ? secondSource : 0,
      word5: destination ? secondTarget : 0)
    try start()
    try ring(1)
    try awaitIdle()
    try expect(bytes: first, at: page(8), "the first page")
    try expect(bytes: second, at: secondTarget, "the second page")
    try expect(0xee, at: page(destination ? 9 : 12), 4096, "the page that was not meant")
  }
}

// SPDX-License-Identifier: Apache-2.0

import NetDmaVFIO

/// CRC32C, where DMACAPABILITY has it.
enum ChecksumRules {
  static let all: [ConformanceRule] = [
    ConformanceRule(
      .raid, "crc-store", "CRC store writes the CRC32C of its source, inverted and reflected.",
      source: "opcode 0x83, FreeBSD; RFC 3720 B.4 gives the wire format",
      needs: [.capability(CapabilityBit.crc, "CRC")]
    ) { bench throws(Finding) in
      // The check value of the polynomial first, then a block.
      let cases = [Array("123456789".utf8), BenchMemory.pattern(4096, seed: 9)]
      for bytes in cases {
        bench.memory.put(bytes, at: bench.page(0))
        bench.memory.store(0, at: bench.page(4))
        bench.checksum(Opcode.crcStore, bytes.count)
        try bench.runChain(1)
        try bench.expect(
          bench.memory.load(bench.page(4)), is: UInt64(ParityOracle.crc32c(bytes)),
          "the CRC of \(bytes.count) bytes")
      }
    },
    ConformanceRule(
      .raid, "crc-test", "CRC test passes the right value and halts with 0x10000 on a wrong one.",
      source: "opcode 0x82, CHANERR 16", needs: [.capability(CapabilityBit.crc, "CRC")]
    ) { bench throws(Finding) in
      let bytes = BenchMemory.pattern(1000, seed: 4)
      bench.memory.put(bytes, at: bench.page(0))
      bench.memory.store(UInt64(ParityOracle.crc32c(bytes)), at: bench.page(4))
      bench.checksum(Opcode.crcTest, bytes.count)
      try bench.runChain(1)
      bench.memory.store(UInt64(ParityOracle.crc32c(bytes)) ^ 1, at: bench.page(4))
      bench.checksum(Opcode.crcTest, bytes.count)
      try bench.expectFault(ErrorBit.xorPOrCRC)
    },
    ConformanceRule(
      .raid, "crc-move", "Move with CRC store copies the data and writes its CRC.",
      source: "opcode 0x43, FreeBSD",
      needs: [.capability(CapabilityBit.moveCRC, "move with CRC")]
    ) { bench throws(Finding) in
      let bytes = BenchMemory.pattern(2000, seed: 6)
      bench.memory.put(bytes, at: bench.page(0))
      bench.memory.fill(0, at: bench.page(2), 4096)
      bench.memory.store(0, at: bench.page(4))
      bench.checksum(Opcode.moveCRCStore, bytes.count, to: bench.page(2))
      try bench.runChain(1)
      try bench.expect(bytes: bytes, at: bench.page(2), "the copy")
      try bench.expect(
        bench.memory.load(bench.page(4)), is: UInt64(ParityOracle.crc32c(bytes)), "the CRC")
    },
  ]
}

extension ChannelBench {
  /// A CRC operation on `size` bytes of page 0, seeded with ones; the CRC is at page 4.
  fileprivate func checksum(_ opcode: UInt64, _ size: Int, to target: UInt64 = 0) {
    descriptor(
      0, opcode, size: size, control: DescriptorBit.completion | DescriptorBit.useSeed,
      word1: page(0), word2: target, word6: 0xffff_ffff, word7: page(4))
  }
}

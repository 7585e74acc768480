// SPDX-License-Identifier: Apache-2.0

import NetDmaVFIO

/// Bits of a descriptor's control word.
enum DescriptorBit {
  static let interrupt: UInt64 = 1 << 0
  static let completion: UInt64 = 1 << 3
  static let fence: UInt64 = 1 << 4
  static let null: UInt64 = 1 << 5
  static let sourcePageBreak: UInt64 = 1 << 6
  static let destinationPageBreak: UInt64 = 1 << 7
  static let useSeed: UInt64 = 1 << 11
  static let pDisable: UInt64 = 1 << 11
  static let qDisable: UInt64 = 1 << 12
  static let writeBack: UInt64 = 1 << 15
  static func sourceCount(_ field: Int) -> UInt64 { UInt64(field) << 5 }
}

/// Control bits 31:24.
enum Opcode {
  static let copy: UInt64 = 0x00
  static let fill: UInt64 = 0x01
  static let moveCRCStore: UInt64 = 0x43
  static let crcTest: UInt64 = 0x82
  static let crcStore: UInt64 = 0x83
  static let oldXOR: UInt64 = 0x85
  static let xor: UInt64 = 0x87
  static let xorValidate: UInt64 = 0x88
  static let pq: UInt64 = 0x89
  static let pqValidate: UInt64 = 0x8a
  static let pq16: UInt64 = 0xa0
}

extension ChannelBench {
  /// Stores a slot: word 0 is size and control, word 3 the next slot (the one behind by default).
  func descriptor(
    _ index: Int, _ opcode: UInt64, size: Int, control: UInt64, word1: UInt64 = 0,
    word2: UInt64 = 0, next: UInt64? = nil, word4: UInt64 = 0, word5: UInt64 = 0,
    word6: UInt64 = 0, word7: UInt64 = 0
  ) {
    put(
      index,
      [
        UInt64(size) | control << 32 | opcode << 56, word1, word2, next ?? slot(index + 1), word4,
        word5, word6, word7,
      ])
  }

  /// Stores the eight words of a slot.
  func put(_ index: Int, _ words: [UInt64]) {
    for (position, word) in words.enumerated() {
      memory.store(word, at: slot(index) + UInt64(8 * position))
    }
  }

  /// A copy.
  func copy(
    _ index: Int, _ size: Int, from source: UInt64, to destination: UInt64,
    control: UInt64 = DescriptorBit.completion, next: UInt64? = nil
  ) {
    descriptor(
      index, Opcode.copy, size: size, control: control, word1: source, word2: destination,
      next: next)
  }

  /// A null descriptor, of the size that SPDK and FreeBSD give it.
  func null(
    _ index: Int, control: UInt64 = DescriptorBit.completion, size: Int = 8, next: UInt64? = nil
  ) {
    descriptor(
      index, Opcode.copy, size: size, control: control | DescriptorBit.null, next: next)
  }

  /// `count` nulls from slot 0 on, each with `control`.
  func nulls(_ count: Int, control: UInt64 = DescriptorBit.completion) {
    for index in 0..<count { null(index, control: control) }
  }

  /// Small copies, each of its own 64 bytes from page 0 to page 1 (pages 2 and 3 for the next 64).
  ///
  /// The sources hold a pattern, the destinations zeros.
  func smallCopies(_ range: Range<Int>, control: UInt64 = DescriptorBit.completion) {
    for index in range {
      memory.put(BenchMemory.pattern(64, seed: index + 7), at: smallSource(index))
      memory.fill(0, at: smallDestination(index), 64)
      copy(index, 64, from: smallSource(index), to: smallDestination(index), control: control)
    }
  }

  /// Where the small copy of slot `index` (below 512) reads.
  func smallSource(_ index: Int) -> UInt64 {
    page(2 * (index / 64)) + UInt64(index % 64 * 64)
  }
  /// Where the small copy of slot `index` (below 512) writes.
  func smallDestination(_ index: Int) -> UInt64 { smallSource(index) + 4096 }

  /// The small copies of `range` must be done.
  func expectCopied(_ range: Range<Int>, _ when: String) throws(Finding) {
    for index in range {
      try expect(
        bytes: BenchMemory.pattern(64, seed: index + 7), at: smallDestination(index),
        "\(when) copy \(index)")
    }
  }

  /// The small copies of `range` must not have begun.
  func expectNotCopied(_ range: Range<Int>, _ when: String) throws(Finding) {
    for index in range {
      try expect(0, at: smallDestination(index), 64, "\(when) the target of copy \(index)")
    }
  }

  /// A chain of 512 that takes long: copies of up to 112 pages, without completion words.
  ///
  /// Its targets are pages 112 and on.
  func longChain() {
    let size = min(112 * 4096, facts.transferLimit)
    for index in 0..<512 { copy(index, size, from: page(0), to: page(112), control: 0) }
  }

  /// A copy of 64 bytes from the small copies' places, from a freshly halted channel to IDLE.
  func expectWorks(_ when: String) throws(Finding) {
    smallCopies(0..<2)
    try start()
    try ring(2)
    try awaitIdle("\(when), of a new chain,")
    try expectCopied(0..<2, when)
  }
}

// SPDX-License-Identifier: Apache-2.0

import NetDmaMock
import NetDmaVFIO
import Testing

/// The arithmetic as the specification defines it, bit by bit.
private enum Reference {
  static func multiply(_ a: UInt8, _ b: UInt8) -> UInt8 {
    var product: UInt16 = 0
    for bit in 0..<8 where b & 1 << UInt8(bit) != 0 { product ^= UInt16(a) << UInt16(bit) }
    for bit in stride(from: 14, through: 8, by: -1) where product & 1 << UInt16(bit) != 0 {
      product ^= 0x11d << UInt16(bit - 8)
    }
    return UInt8(product)
  }
  static func p(_ sources: [[UInt8]]) -> [UInt8] {
    q(sources, [UInt8](repeating: 1, count: sources.count))
  }
  static func q(_ sources: [[UInt8]], _ coefficients: [UInt8]) -> [UInt8] {
    var sum = [UInt8](repeating: 0, count: sources[0].count)
    for (source, coefficient) in zip(sources, coefficients) {
      let products = (0...255).map { multiply($0, coefficient) }
      for index in sum.indices { sum[index] ^= products[Int(source[index])] }
    }
    return sum
  }
}

@Suite("Model: XOR, P+Q and CRC")
struct ModelParityTests {
  static let size = 20_000  // More than a work area, and no multiple of eight below.
  private static let all = ModelConfiguration(
    deviceID: 0x0c50, capabilities: 0x2_2363, timing: .fast)

  /// Operands of `size` bytes each, 64 KiB apart, source i at `area(i)`.
  private func area(_ index: Int) -> UInt64 { ModelBench.data + UInt64(index) * 0x8000 + 3 }

  private func bench(_ configuration: ModelConfiguration = all) throws -> ModelBench {
    try ModelBench(configuration, size: 4 << 20)
  }

  private func sources(_ bench: ModelBench, _ count: Int, size: Int = size) -> [[UInt8]] {
    (0..<count).map { index in
      let data = ModelBench.pattern(size, seed: index + 1)
      bench.put(data, at: area(index))
      return data
    }
  }

  private func finish(
    _ bench: ModelBench, slots: Int, control: UInt64 = 0x1d, error: UInt64 = 0,
    sourceLocation: SourceLocation = #_sourceLocation
  ) {
    bench.start(control: control)
    bench.ring(slots)
    bench.waitForState(error == 0 ? State.idle : State.halted, sourceLocation: sourceLocation)
    #expect(bench.error() == error, sourceLocation: sourceLocation)
  }

  /// Puts an XOR over sources 0..<count with its extension; returns the slots.
  @discardableResult
  private func xor(
    _ bench: ModelBench, at slot: Int = 0, count: Int, to destination: UInt64,
    operation: UInt32 = 0x87, size: Int = size, options: UInt32 = 8
  ) -> Int {
    let a = (0..<16).map { area($0) }
    bench.slot(
      slot,
      [
        UInt64(size) | UInt64(operation << 24 | UInt32(count - 2) << 5 | options) << 32,
        a[0], destination, ModelBench.slot(slot + 1), a[1], a[2], a[3], a[4],
      ])
    guard count > 5 else { return 1 }
    bench.slot(slot + 1, [a[5], a[6], a[7], ModelBench.slot(slot + 2), 0, 0, 0, 0])
    return 2
  }

  /// Puts a P+Q over sources 0..<count (2 to 8).
  @discardableResult
  private func pq(
    _ bench: ModelBench, count: Int, p: UInt64, q: UInt64, coefficients: [UInt8],
    operation: UInt32 = 0x89, size: Int = size, options: UInt32 = 8
  ) -> Int {
    let a = (0..<16).map { area($0) }
    let packed = coefficients.prefix(8).enumerated().reduce(UInt64(0)) {
      $0 | UInt64($1.element) << UInt64(8 * $1.offset)
    }
    bench.slot(
      0,
      [
        UInt64(size) | UInt64(operation << 24 | UInt32(count - 2) << 5 | options) << 32,
        a[0], p, ModelBench.slot(1), a[1], a[2], packed, q,
      ])
    guard count > 3 else { return 1 }
    bench.slot(1, [a[3], a[4], a[5], ModelBench.slot(2), a[6], a[7], 0, 0])
    return 2
  }

  // MARK: XOR

  @Test("XOR of 2 to 8 sources; from 6 on the extension takes a slot and counts", arguments: 2...8)
  func xorSources(count: Int) throws {
    let bench = try bench()
    let data = sources(bench, count)
    let slots = xor(bench, count: count, to: area(20))
    bench.smallCopy(slots, control: 0)
    bench.start()
    bench.ring(slots)
    bench.waitForState(State.idle)
    #expect(bench.bytes(area(20), Self.size) == Reference.p(data))
    #expect(bench.status() == ModelBench.slot(0) | State.idle, "the base slot's address")
    #expect(bench.model.statistics.channels[0].descriptors == 1)
    bench.ring(slots + 1)
    bench.wait("the slot behind") { bench.status() == ModelBench.slot(slots) | State.idle }
  }

  @Test("XOR validate compares with the destination and writes nothing", arguments: [2, 6, 8])
  func xorValidate(count: Int) throws {
    let bench = try bench()
    let data = sources(bench, count)
    var parity = Reference.p(data)
    bench.put(parity, at: area(20))
    finish(bench, slots: xor(bench, count: count, to: area(20), operation: 0x88))
    #expect(bench.word == ModelBench.slot(0) | State.idle)
    let wrong = try self.bench()
    _ = sources(wrong, count)
    parity[Self.size - 1] ^= 1
    wrong.put(parity, at: area(20))
    finish(
      wrong, slots: xor(wrong, count: count, to: area(20), operation: 0x88), error: 0x1_0000)
    #expect(wrong.word == State.halted)
    #expect(wrong.bytes(area(20), Self.size) == parity)
  }

  @Test("nine XOR sources do not exist")
  func tooManySources() throws {
    let bench = try bench()
    _ = sources(bench, 2)
    xor(bench, count: 9, to: area(20))
    finish(bench, slots: 2, error: 0x400)
  }

  @Test("an extension that DMACOUNT does not cover is an error of the count")
  func uncoveredExtension() throws {
    let bench = try bench()
    _ = sources(bench, 6)
    xor(bench, count: 6, to: area(20))
    finish(bench, slots: 1, error: 0x4_0000)
  }

  @Test("an extension is checked like any slot")
  func badExtension() throws {
    for (next, bit) in [(UInt64(0), 2), (ModelBench.slot(1) + 4, 3)] {
      let bench = try bench()
      _ = sources(bench, 6)
      xor(bench, count: 6, to: area(20))
      bench.store(next, to: ModelBench.slot(0) + 24)
      finish(bench, slots: 2, error: 1 << UInt64(bit))
    }
  }

  @Test("a bad operand of an XOR is the fault of its side")
  func badOperands() throws {
    for (word, address, bit) in [
      (1, UInt64(0), 8), (7, 0, 8), (2, 0, 9), (4, UInt64(1) << 60, 0), (2, 1 << 60, 1),
    ] {
      let bench = try bench()
      _ = sources(bench, 5)
      xor(bench, count: 5, to: area(20))
      bench.store(address, to: ModelBench.slot(0) + UInt64(8 * word))
      finish(bench, slots: 1, error: 1 << UInt64(bit))
    }
  }

  // MARK: P+Q

  @Test("P and Q of 2 to 8 sources with any factors", arguments: 2...8)
  func pqSources(count: Int) throws {
    let bench = try bench()
    let data = sources(bench, count)
    let coefficients: [UInt8] = [1, 2, 4, 0x80, 0xff, 0, 0x1d, 0x53]
    finish(
      bench,
      slots: pq(bench, count: count, p: area(20), q: area(21), coefficients: coefficients))
    #expect(bench.bytes(area(20), Self.size) == Reference.p(data))
    #expect(bench.bytes(area(21), Self.size) == Reference.q(data, coefficients))
  }

  @Test(
    "a disabled result is not written, though its address must be valid",
    arguments: [UInt32(0x800), 0x1000])
  func disabled(option: UInt32) throws {
    let bench = try bench()
    let data = sources(bench, 4)
    let coefficients: [UInt8] = [1, 2, 4, 8, 0, 0, 0, 0]
    let slots = pq(
      bench, count: 4, p: area(20), q: area(21), coefficients: coefficients, options: 8 | option)
    finish(bench, slots: slots)
    let zeros = [UInt8](repeating: 0, count: Self.size)
    #expect(bench.bytes(area(20), Self.size) == (option == 0x800 ? zeros : Reference.p(data)))
    #expect(
      bench.bytes(area(21), Self.size)
        == (option == 0x1000 ? zeros : Reference.q(data, coefficients)))
    let bad = try self.bench()
    _ = sources(bad, 4)
    pq(bad, count: 4, p: area(20), q: area(21), coefficients: coefficients, options: 8 | option)
    bad.store(1 << 60, to: ModelBench.slot(0) + (option == 0x800 ? 16 : 56))
    finish(bad, slots: 2, error: 0x2)
  }

  @Test("P+Q validate tells P and Q apart", arguments: [false, true], [false, true])
  func pqValidate(badP: Bool, badQ: Bool) throws {
    let bench = try bench()
    let data = sources(bench, 5)
    let coefficients: [UInt8] = [1, 2, 4, 8, 16, 0, 0, 0]
    var (p, q) = (Reference.p(data), Reference.q(data, coefficients))
    if badP { p[0] ^= 0x80 }
    if badQ { q[17_000] ^= 0x01 }
    bench.put(p, at: area(20))
    bench.put(q, at: area(21))
    finish(
      bench,
      slots: pq(
        bench, count: 5, p: area(20), q: area(21), coefficients: coefficients, operation: 0x8a),
      error: (badP ? 0x1_0000 : 0) | (badQ ? 0x2_0000 : 0))
  }

  @Test("a disabled result is not validated either")
  func validateDisabled() throws {
    let bench = try bench()
    let data = sources(bench, 2)
    bench.put(Reference.p(data), at: area(20))
    finish(
      bench,
      slots: pq(
        bench, count: 2, p: area(20), q: area(21), coefficients: [1, 2], operation: 0x8a,
        options: 8 | 0x1000))
  }

  @Test(
    "with write-back the descriptor's first dword tells the result, and masked errors do not halt",
    arguments: [false, true], [false, true])
  func writeBack(badP: Bool, badQ: Bool) throws {
    let bench = try bench()
    bench.write(0x2c, 4, 0x3_0000)
    let data = sources(bench, 3)
    let coefficients: [UInt8] = [1, 2, 4]
    var (p, q) = (Reference.p(data), Reference.q(data, coefficients))
    if badP { p[1] ^= 1 }
    if badQ { q[2] ^= 1 }
    bench.put(p, at: area(20))
    bench.put(q, at: area(21))
    let slots = pq(
      bench, count: 3, p: area(20), q: area(21), coefficients: coefficients, operation: 0x8a,
      options: 8 | 0x8000)
    let control = bench.load(ModelBench.slot(0)) >> 32
    finish(bench, slots: slots)
    let first = bench.load(ModelBench.slot(0))
    #expect(
      first & 0xffff_ffff == 0x8000_0000 | (badP ? 0x0200_0000 : 0) | (badQ ? 0x0400_0000 : 0))
    #expect(first >> 32 == control)
    #expect(bench.word == ModelBench.slot(0) | State.idle)
  }

  @Test("write-back needs its capability")
  func writeBackCapability() throws {
    let bench = try bench(ModelConfiguration(capabilities: 0x341, timing: .fast))
    _ = sources(bench, 2)
    finish(
      bench,
      slots: pq(
        bench, count: 2, p: area(20), q: area(21), coefficients: [1, 2], options: 8 | 0x8000),
      error: 0x400)
  }

  @Test("9 to 16 sources come from a block outside the ring", arguments: [9, 10, 13, 16])
  func sixteen(count: Int) throws {
    for operation in [UInt32(0xa0), 0xa1] {
      let bench = try bench()
      let data = sources(bench, count)
      let coefficients = (0..<16).map { UInt8(truncatingIfNeeded: 1 + $0 * 37) }
      let block = ModelBench.data - 0x1000
      var bytes = Array(coefficients[8..<16])
      for index in 2..<9 { withUnsafeBytes(of: area(index)) { bytes += Array($0) } }
      for index in 9..<16 { withUnsafeBytes(of: area(index)) { bytes += Array($0) } }
      bytes += [UInt8](repeating: 0, count: 8)
      #expect(bytes.count == 128)
      bench.put(bytes, at: block)
      let packed = (0..<8).reduce(UInt64(0)) { $0 | UInt64(coefficients[$1]) << UInt64(8 * $1) }
      if operation == 0xa1 {
        bench.put(Reference.p(data), at: area(20))
        bench.put(Reference.q(data, coefficients), at: area(21))
      }
      bench.slot(
        0,
        [
          UInt64(Self.size) | UInt64(operation << 24 | UInt32(count - 9) << 5 | 8) << 32,
          area(0), area(20), ModelBench.slot(1), area(1), block, packed, area(21),
        ])
      finish(bench, slots: 1)
      #expect(bench.bytes(area(20), Self.size) == Reference.p(data))
      #expect(bench.bytes(area(21), Self.size) == Reference.q(data, coefficients))
    }
  }

  @Test(
    "a bad block address is an error of its own",
    arguments: [0, ModelBench.base + 8, UInt64(1) << 60])
  func badBlock(address: UInt64) throws {
    let bench = try bench()
    bench.slot(
      0,
      [
        UInt64(4096) | UInt64(0xa000_0008) << 32, area(0), area(20), ModelBench.slot(1), area(1),
        address, 0, area(21),
      ])
    finish(bench, slots: 1, error: 0x4000)
  }

  @Test("P+Q update replaces one source's share")
  func update() throws {
    let bench = try bench()
    var data = sources(bench, 4)
    let coefficients: [UInt8] = [1, 2, 4, 8]
    bench.put(Reference.p(data), at: area(20))
    bench.put(Reference.q(data, coefficients), at: area(21))
    let old = data[2]
    data[2] = ModelBench.pattern(Self.size, seed: 99)
    bench.put(old, at: area(10))
    bench.put(data[2], at: area(11))
    bench.slot(
      0,
      [
        UInt64(Self.size) | UInt64(0x8b04_0008) << 32, area(10), area(22), ModelBench.slot(1),
        area(11), area(20), area(21), area(23),
      ])
    finish(bench, slots: 1)
    #expect(bench.bytes(area(22), Self.size) == Reference.p(data))
    #expect(bench.bytes(area(23), Self.size) == Reference.q(data, coefficients))
  }

  // MARK: CRC

  /// CRC32C of "123456789" is 0xe3069283; in a frame its bytes are 83 92 06 e3.
  private static let check: [UInt8] = [0x83, 0x92, 0x06, 0xe3]

  private func crc(
    _ bench: ModelBench, at slot: Int = 0, _ operation: UInt32, size: Int = 9, offset: UInt64 = 0,
    options: UInt32 = 0x808, seed: UInt64 = 0xffff_ffff
  ) {
    bench.slot(
      slot,
      [
        UInt64(size) | UInt64(operation << 24 | options) << 32, ModelBench.page(2) + offset,
        ModelBench.page(3) + offset, ModelBench.slot(slot + 1), 0, 0, seed, ModelBench.page(4),
      ])
  }

  @Test(
    "CRC store writes the inverted, reflected CRC32C; behind the data or at its address",
    arguments: [UInt32(0x83), 0x43], [UInt32(0), 0x1000])
  func crcStore(operation: UInt32, behind: UInt32) throws {
    let bench = try bench()
    bench.put(Array("123456789".utf8), at: ModelBench.page(2))
    crc(bench, operation, options: 0x808 | behind)
    finish(bench, slots: 1)
    let place =
      behind == 0
      ? ModelBench.page(4) : (operation == 0x43 ? ModelBench.page(3) : ModelBench.page(2)) + 9
    #expect(bench.bytes(place, 4) == Self.check)
    #expect(
      bench.bytes(ModelBench.page(3), 9)
        == (operation == 0x43 ? Array("123456789".utf8) : [UInt8](repeating: 0, count: 9)))
  }

  @Test(
    "CRC test compares; a mismatch is CHANERR bit 16", arguments: [UInt32(0x82), 0x42],
    [UInt32(0), 0x1000])
  func crcTest(operation: UInt32, behind: UInt32) throws {
    for wrong in [false, true] {
      let bench = try bench()
      bench.put(Array("123456789".utf8), at: ModelBench.page(2))
      var stored = Self.check
      if wrong { stored[3] ^= 1 }
      bench.put(stored, at: behind == 0 ? ModelBench.page(4) : ModelBench.page(2) + 9)
      crc(bench, operation, options: 0x808 | behind)
      finish(bench, slots: 1, error: wrong ? 0x1_0000 : 0)
    }
  }

  @Test("the accumulator goes on from descriptor to descriptor until a seed is loaded")
  func crcAccumulates() throws {
    let bench = try bench()
    bench.put(Array("123456789".utf8), at: ModelBench.page(2))
    crc(bench, at: 0, 0x81, size: 4)
    crc(bench, at: 1, 0x41, size: 3, offset: 4, options: 0)
    crc(bench, at: 2, 0x83, size: 2, offset: 7, options: 8)
    finish(bench, slots: 3)
    #expect(bench.bytes(ModelBench.page(4), 4) == Self.check)
    #expect(bench.bytes(ModelBench.page(3) + 4, 3) == Array("567".utf8))
  }
}

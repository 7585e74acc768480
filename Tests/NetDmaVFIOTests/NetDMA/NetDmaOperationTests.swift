// SPDX-License-Identifier: Apache-2.0

import NetDmaMock
import NetDmaVFIO
import Testing

/// Every operation by what memory holds afterwards.
struct NetDmaOperationTests {
  private static let everything = ModelConfiguration(
    deviceID: 0x0c50, capabilities: 0x2_2363 | 0x10, timing: .fast)

  @Test("a copy moves its bytes and no others", arguments: [1, 63, 64, 4096, 5000, 300_000])
  func copy(size: Int) throws {
    let bench = try EngineBench()
    var channel = try bench.open(.polled)
    let sent = channel.enqueueCopy(
      from: bench.memory.source(7..<7 + size), to: bench.memory.target(100..<100 + size), token: 9)
    #expect(sent)
    try channel.submit()
    let ended = try pollAll(&channel, 1)
    #expect(ended.map(\.token) == [9])
    #expect(bench.memory.targetBytes(100..<100 + size) == bench.memory.sourceBytes(7..<7 + size))
    #expect(bench.memory.isZero(0..<100) && bench.memory.isZero(100 + size..<200 + size))
  }

  @Test("a copy longer than the engine takes is several descriptors and one operation")
  func longCopy() throws {
    let bench = try EngineBench(ModelConfiguration(transferCapability: 12, timing: .fast))
    var channel = try bench.open(.polled)
    #expect(channel.maximumDescriptorSize == 4096)
    let sent = channel.enqueueCopy(
      from: bench.memory.source(1..<20_001), to: bench.memory.target(3..<20_003), token: 1)
    #expect(sent)
    try channel.submit()
    let ended = try pollAll(&channel, 1)
    #expect(ended.count == 1)
    #expect(channel.statistics.submittedDescriptors == 5)
    #expect(bench.memory.targetBytes(3..<20_003) == bench.memory.sourceBytes(1..<20_001))
  }

  @Test("a null descriptor ends in its turn and touches nothing")
  func null() throws {
    let bench = try EngineBench()
    var channel = try bench.open(.polled)
    for token in 0..<4 {
      let sent = channel.enqueueNull(token: UInt64(token))
      #expect(sent)
    }
    try channel.submit()
    let ended = try pollAll(&channel, 4)
    #expect(ended.map(\.token) == [0, 1, 2, 3])
    #expect(bench.memory.isZero(0..<bench.memory.count))
  }

  @Test("a fill repeats its pattern from the start, also over several descriptors")
  func fill() throws {
    let bench = try EngineBench(ModelConfiguration(transferCapability: 12, timing: .fast))
    var channel = try bench.open(.polled)
    let sent = try channel.enqueueFill(
      bench.memory.target(16..<10_016), pattern: 0x0807_0605_0403_0201, token: 5)
    #expect(sent)
    try channel.submit()
    _ = try pollAll(&channel, 1)
    let expected = (0..<10_000).map { UInt8($0 % 8 + 1) }
    #expect(bench.memory.targetBytes(16..<10_016) == expected)
    #expect(bench.memory.isZero(0..<16) && bench.memory.isZero(10_016..<10_100))
  }

  @Test("a page break goes on at the second page, on each side by itself")
  func pageBreak() throws {
    let bench = try EngineBench()
    let memory = bench.memory
    var channel = try bench.open(.polled)
    let source = try PageBrokenSlice(
      memory.source(4096 - 1000..<4096), then: memory.source(12_288..<12_288 + 2000))
    let target = try PageBrokenSlice(
      memory.target(8192 - 2500..<8192), then: memory.target(20_480..<20_480 + 500))
    let sent = try channel.enqueueCopy(from: source, to: target, token: 1)
    #expect(sent)
    try channel.submit()
    _ = try pollAll(&channel, 1)
    let expected =
      memory.sourceBytes(3096..<4096) + memory.sourceBytes(12_288..<14_288)
    let found = memory.targetBytes(5692..<8192) + memory.targetBytes(20_480..<20_980)
    #expect(found == expected)
  }

  @Test("pieces that do not meet at page boundaries are refused")
  func badPageBreak() throws {
    let bench = try EngineBench()
    #expect(throws: NetDmaError.self) {
      try PageBrokenSlice(bench.memory.source(0..<100), then: bench.memory.source(4096..<4200))
    }
    #expect(throws: NetDmaError.self) {
      try PageBrokenSlice(bench.memory.source(0..<4096), then: bench.memory.source(5000..<5100))
    }
  }

  @Test("XOR of 2 to 8 blocks is their XOR, and its validation tells", arguments: 2...8)
  func xor(count: Int) throws {
    let bench = try EngineBench(Self.everything)
    let memory = bench.memory
    let size = 5000
    let blocks = (0..<count).map { memory.source($0 * size..<($0 + 1) * size) }
    var channel = try bench.open(.polled)
    var sent = try channel.enqueueXOR(of: blocks, into: memory.target(0..<size), token: 1)
    #expect(sent)
    sent = try channel.enqueueXORValidation(of: blocks, against: memory.target(0..<size), token: 2)
    #expect(sent)
    try channel.submit()
    let ended = try pollAll(&channel, 2)
    #expect(ended.map(\.token) == [1, 2] && ended.allSatisfy { $0.error == nil })
    let sources = (0..<count).map { memory.sourceBytes($0 * size..<($0 + 1) * size) }
    let expected = (0..<size).map { index in sources.reduce(UInt8(0)) { $0 ^ $1[index] } }
    #expect(memory.targetBytes(0..<size) == expected)

    memory.setTarget([expected[17] ^ 1], at: 17)
    sent = try channel.enqueueXORValidation(of: blocks, against: memory.target(0..<size), token: 3)
    let after = channel.enqueueCopy(
      from: memory.source(0..<64), to: memory.target(600_000..<600_064), token: 4)
    #expect(sent && after)
    try channel.submit()
    let checked = try pollAll(&channel, 2)
    let failure = checked.first { $0.token == 3 }
    guard case .validationFailed(_, p: true, q: false) = failure?.error else {
      Issue.record("\(String(describing: failure))")
      return
    }
    #expect(checked.contains { $0.token == 4 && $0.error == nil })
    #expect(memory.targetBytes(600_000..<600_064) == memory.sourceBytes(0..<64))
  }

  @Test(
    "P and Q of 2 to 16 blocks satisfy their own validation, and a wrong byte is found",
    arguments: 2...16)
  func pq(count: Int) throws {
    let bench = try EngineBench(Self.everything)
    let memory = bench.memory
    let size = 3000
    let blocks = (0..<count).map { memory.source($0 * size..<($0 + 1) * size) }
    let factors = (0..<count).map { UInt8($0 * 7 + 1) }
    let (p, q) = (memory.target(0..<size), memory.target(8192..<8192 + size))
    var channel = try bench.open(.polled)
    var sent = try channel.enqueuePQ(of: blocks, coefficients: factors, p: p, q: q, token: 1)
    #expect(sent)
    try channel.submit()
    var ended = try pollAll(&channel, 1)
    #expect(ended.allSatisfy { $0.error == nil })
    let sources = (0..<count).map { memory.sourceBytes($0 * size..<($0 + 1) * size) }
    let expectedP = (0..<size).map { index in sources.reduce(UInt8(0)) { $0 ^ $1[index] } }
    let expectedQ = (0..<size).map { index in
      zip(sources, factors).reduce(UInt8(0)) { $0 ^ Self.product($1.0[index], $1.1) }
    }
    #expect(memory.targetBytes(0..<size) == expectedP)
    #expect(memory.targetBytes(8192..<8192 + size) == expectedQ)
    memory.setTarget([expectedQ[5] ^ 0x80], at: 8192 + 5)
    sent = try channel.enqueuePQValidation(
      of: blocks, coefficients: factors, p: p, q: nil, token: 2)
    #expect(sent)
    sent = try channel.enqueuePQValidation(of: blocks, coefficients: factors, p: p, q: q, token: 3)
    #expect(sent)
    try channel.submit()
    ended = try pollAll(&channel, 2)
    #expect(ended.first { $0.token == 2 }?.error == nil)
    guard
      case .validationFailed(_, p: false, q: true) = ended.first(where: { $0.token == 3 })?.error
    else {
      Issue.record("\(ended)")
      return
    }
  }

  /// GF(2^8) with polynomial 0x11d.
  private static func product(_ a: UInt8, _ b: UInt8) -> UInt8 {
    var (result, value, factor): (UInt16, UInt16, UInt8) = (0, UInt16(a), b)
    while factor != 0 {
      if factor & 1 != 0 { result ^= value }
      value <<= 1
      if value & 0x100 != 0 { value ^= 0x11d }
      factor >>= 1
    }
    return UInt8(truncatingIfNeeded: result)
  }

  @Test("a DCA context change reaches an engine with DCA")
  func contextChange() throws {
    let bench = try EngineBench(Self.everything)
    var channel = try bench.open(.interrupt)
    let sent = try channel.enqueueContextChange(apicID: 3, token: 8)
    #expect(sent)
    try channel.submit()
    #expect(bench.log.wait(for: 1).map(\.token) == [8])
    #expect(bench.log.failures.isEmpty)
  }

  @Test("what the engine cannot do is refused before it is queued")
  func unsupported() throws {
    let bench = try EngineBench(ModelConfiguration(capabilities: 0, timing: .fast))
    let memory = bench.memory
    var channel = try bench.open(.polled)
    let free = channel.freeDescriptors()
    var refusals = 0
    do {
      _ = try channel.enqueueFill(memory.target(0..<8), pattern: 1, token: 0)
      Issue.record("a fill was not refused")
    } catch NetDmaError.notSupported { refusals += 1 }
    do {
      _ = try channel.enqueueXOR(
        of: [memory.source(0..<8), memory.source(8..<16)], into: memory.target(0..<8), token: 0)
      Issue.record("XOR was not refused")
    } catch NetDmaError.notSupported { refusals += 1 }
    do {
      _ = try channel.enqueuePQ(
        of: [memory.source(0..<8), memory.source(8..<16)], coefficients: [1, 2],
        p: memory.target(0..<8), q: nil, token: 0)
      Issue.record("PQ was not refused")
    } catch NetDmaError.notSupported { refusals += 1 }
    do {
      _ = try channel.enqueueCopy(
        from: PageBrokenSlice(memory.source(0..<8)), to: PageBrokenSlice(memory.target(0..<8)),
        token: 0)
      Issue.record("a page break was not refused")
    } catch NetDmaError.notSupported { refusals += 1 }
    do {
      _ = try channel.enqueueContextChange(apicID: 0, token: 0)
      Issue.record("a context change was not refused")
    } catch NetDmaError.notSupported { refusals += 1 }
    #expect(refusals == 5)
    #expect(channel.freeDescriptors() == free)
  }

  @Test("a batch enqueues as many requests as fit, in order")
  func batch() throws {
    let bench = try EngineBench()
    var channel = try bench.open(.polled, ringCapacity: 16)
    let requests = (0..<20).map { index in
      DMACopyRequest(
        from: bench.memory.source(index * 100..<index * 100 + 50),
        to: bench.memory.target(index * 100..<index * 100 + 50), token: UInt64(index))
    }
    let count = channel.enqueue(requests.span)
    #expect(count == 15)
    try channel.submit()
    let ended = try pollAll(&channel, 15)
    #expect(ended.map(\.token) == (0..<15).map(UInt64.init))
    for index in 0..<20 {
      let range = index * 100..<index * 100 + 50
      #expect(index < 15 ? bench.memory.matches(range) : bench.memory.isZero(range))
    }
  }
}

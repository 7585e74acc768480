// SPDX-License-Identifier: Apache-2.0

import NetDmaMock
import NetDmaVFIO
import Testing

/// A way to spoil descriptor `index`, and the one CHANERR bit that it must set.
enum Spoiling: String, CaseIterable, Sendable {
  case unreadableSource, unwritableDestination, sourceBeyondWidth, destinationBeyondWidth
  case sourceWraps, unknownOpcode, deprecatedOpcode, missingCapability, reservedBit, sizeZero
  case sizeTooLarge, nullSizeZero, halfUnreadable

  static let readOnly: UInt64 = 0x2_0000_0000

  var bit: Int {
    switch self {
    case .sourceBeyondWidth, .sourceWraps: 0
    case .destinationBeyondWidth: 1
    case .unreadableSource, .halfUnreadable: 8
    case .unwritableDestination: 9
    case .unknownOpcode, .deprecatedOpcode, .missingCapability, .reservedBit: 10
    case .sizeZero, .sizeTooLarge, .nullSizeZero: 11
    }
  }

  func spoil(_ bench: ModelBench, _ index: Int) {
    let (source, destination) = (ModelBench.page(2), ModelBench.page(3))
    func put(
      _ control: UInt32 = 8, _ size: UInt32 = 64, _ from: UInt64? = nil, _ to: UInt64? = nil
    ) {
      bench.descriptor(
        index, control: control, size: size, source: from ?? source,
        destination: to ?? destination + UInt64(64 * index))
    }
    switch self {
    case .unreadableSource: put(8, 64, 0)
    case .halfUnreadable: put(8, 64, ModelBench.base + UInt64(bench.size) - 32)
    case .unwritableDestination: put(8, 64, nil, Self.readOnly)
    case .sourceBeyondWidth: put(8, 64, 1 << 46 - 32)
    case .sourceWraps: put(8, 64, .max - 31)
    case .destinationBeyondWidth: put(8, 64, nil, 1 << 46)
    case .unknownOpcode: put(0x7700_0008)
    case .deprecatedOpcode: put(0x8500_0008)
    case .missingCapability: put(0x8700_0008)
    case .reservedBit: put(0x8 | 1 << 13)
    case .sizeZero: put(8, 0)
    case .sizeTooLarge: put(8, 4097)
    case .nullSizeZero: put(0x28, 0)
    }
  }
}

@Suite("Model: errors")
struct ModelErrorTests {
  private func bench() throws -> ModelBench {
    let bench = try ModelBench(
      ModelConfiguration(
        cbVersion: 0x32, transferCapability: 12, addressWidth: 46, timing: .fast))
    try bench.bus.inner.map(
      iova: Spoiling.readOnly, size: 4096, pointer: bench.pointer(ModelBench.page(8)),
      isWritable: false)
    bench.put(ModelBench.pattern(4096), at: ModelBench.page(2))
    return bench
  }

  struct Case: Sendable, CustomTestStringConvertible {
    let spoiling: Spoiling
    let position: Int
    let control: UInt64
    var testDescription: String { "\(spoiling) at \(position), CHANCTRL \(control)" }
    static let all: [Case] = Spoiling.allCases.flatMap { spoiling in
      [0, 2, 4].flatMap { position in
        // Every combination of ERR_COMPLETION_EN, ANY_ERR_ABORT_EN and ERR_INT_EN.
        stride(from: UInt64(0), through: 0x1c, by: 4).map {
          Case(spoiling: spoiling, position: position, control: $0)
        }
      }
    }
  }

  @Test(
    "a descriptor's fault sets its one bit, halts there, and reports as CHANCTRL says",
    arguments: Case.all)
  func descriptorFault(_ test: Case) throws {
    let bench = try bench()
    bench.enableInterrupts()
    for index in 0..<5 { bench.smallCopy(index) }
    test.spoiling.spoil(bench, test.position)
    bench.start(control: test.control)
    bench.ring(5)
    bench.waitForState(State.halted)
    let good = test.position == 0 ? 0 : ModelBench.slot(test.position - 1)
    #expect(bench.error() == 1 << test.spoiling.bit)
    #expect(bench.model.channelErrorInt == 1 << test.spoiling.bit)
    #expect(bench.status() == good | State.halted)
    if test.control & 0x4 != 0 {
      #expect(bench.word == good | State.halted)
    } else {
      #expect(bench.word == good, "the last good descriptor's own word, ACTIVE")
    }
    let interrupts = test.control & 0x10 != 0 ? 1 : 0
    #expect(bench.model.statistics.channels[0].interruptsRaised == UInt64(interrupts))
    bench.wait("the interrupt") { bench.line.total == interrupts }
    #expect(bench.read(0x00, 1) & 1 == (test.control & 0x10 != 0 ? 1 : 0))
    // What came before is done, nothing else was touched.
    let data = ModelBench.pattern(4096)
    let done = 64 * test.position
    #expect(bench.bytes(ModelBench.page(3), done) == Array(data[..<done]))
    #expect(bench.bytes(ModelBench.page(3) + UInt64(done), 320 - done).allSatisfy { $0 == 0 })
    #expect(bench.model.statistics.channels[0].errors == 1)
    #expect(bench.model.statistics.channels[0].descriptors == UInt64(test.position + 1))
  }

  @Test("the registers tell of the error before the completion word does")
  func registersFirst() throws {
    for round in 0..<50 {
      let bench = try bench()
      for index in 0..<5 { bench.smallCopy(index, control: 0) }
      Spoiling.unreadableSource.spoil(bench, round % 5)
      bench.start()
      bench.ring(5)
      while bench.word & 7 != State.halted {}
      #expect(bench.error() == 0x100)
      #expect(bench.state() == State.halted)
    }
  }

  @Test("a bad next fails where it leads to, after the descriptor that holds it")
  func badNext() throws {
    for (next, bit) in [
      (ModelBench.slot(1) + 8, 3), (UInt64(0), 2), (UInt64(1) << 46, 2), (UInt64(0x40), 2),
    ] {
      let bench = try bench()
      bench.descriptor(
        0, control: 8, size: 64, source: ModelBench.page(2), destination: ModelBench.page(3),
        next: next)
      bench.start()
      bench.ring(2)
      bench.waitForState(State.halted)
      #expect(bench.error() == 1 << bit, "next \(next)")
      #expect(bench.word == ModelBench.slot(0) | State.halted)
    }
  }

  @Test("a bad next of the last valid descriptor does no harm")
  func unusedNext() throws {
    let bench = try bench()
    bench.descriptor(
      0, control: 8, size: 64, source: ModelBench.page(2), destination: ModelBench.page(3), next: 7)
    bench.start()
    bench.ring(1)
    bench.waitForState(State.idle)
    #expect(bench.error() == 0)
    bench.ring(2)
    bench.waitForState(State.halted)
    #expect(bench.error() == 1 << 3)
  }

  @Test(
    "a bad CHAINADDR fails with bit 4 at the first doorbell",
    arguments: [0, 0x40, ModelBench.base + 8, 1 << 46])
  func badChain(chain: UInt64) throws {
    let bench = try bench()
    bench.start(chain: chain)
    #expect(bench.status() == State.armed)
    bench.ring(1)
    bench.waitForState(State.halted)
    #expect(bench.error() == 1 << 4)
    #expect(bench.word == State.halted)
  }

  @Test(
    "a bad CHANCMP fails with bit 12 and halts only with ANY_ERR_ABORT_EN",
    arguments: [0, ModelBench.completion + 4, 1 << 46, Spoiling.readOnly], [0x0c, 0x04])
  func badCompletion(address: UInt64, control: UInt64) throws {
    let bench = try bench()
    bench.smallCopy(0, control: 0)
    bench.smallCopy(1)
    bench.smallCopy(2, control: 0)
    bench.start(control: control, completion: address)
    bench.ring(3)
    if control & 8 != 0 {
      bench.waitForState(State.halted)
      #expect(bench.status() == ModelBench.slot(0) | State.halted)
    } else {
      bench.waitForState(State.idle)
      #expect(bench.status() == ModelBench.slot(2) | State.idle)
    }
    #expect(bench.error() == 1 << 12)
    #expect(bench.word == 0)
  }

  @Test("CHANERR is cleared by writing ones, byte by byte, and nothing else clears it")
  func clear() throws {
    let bench = try bench()
    bench.model.install(FaultPlan(channelErrorAtStart: 0x0003_0f21))
    bench.write(0x28, 4, 0)
    #expect(bench.error() == 0x0003_0f21)
    bench.write(0x28, 4, 0x1_0001)
    #expect(bench.error() == 0x0002_0f20)
    bench.write(0x29, 1, 0x01)
    #expect(bench.error() == 0x0002_0e20)
    bench.write(0x28, 4, .max)
    #expect(bench.error() == 0)
    #expect(bench.read(0x2c, 4) == 0, "CHANERRMASK is not touched by a write to CHANERR")
  }

  @Test(
    "a halted channel takes no chain until CHANERR is clear, and below 3.3 CHANERR_INT too",
    arguments: [0x32, 0x33])
  func restartNeedsClearErrors(version: Int) throws {
    let bench = try ModelBench(ModelConfiguration(cbVersion: UInt8(version), timing: .fast))
    bench.smallCopy(0, source: 0)
    bench.smallCopy(1)
    bench.start()
    bench.ring(2)
    bench.waitForState(State.halted)
    bench.write(0x10, 8, ModelBench.slot(1))
    #expect(bench.state() == State.halted)
    bench.write(0x28, 4, bench.error())
    bench.write(0x10, 8, ModelBench.slot(1))
    if version < 0x33 {
      #expect(bench.state() == State.halted)
      bench.command(Command.reset)
      bench.write(0x10, 8, ModelBench.slot(1))
      #expect(bench.state() == State.halted, "a channel RESET does not clear the mirror")
      bench.model.clearChannelErrorInt(0x1)
      bench.write(0x10, 8, ModelBench.slot(1))
      #expect(bench.state() == State.halted, "the wrong bit")
      bench.model.clearChannelErrorInt(bench.model.channelErrorInt)
      bench.write(0x10, 8, ModelBench.slot(1))
    }
    #expect(bench.status() == State.armed)
    bench.ring(1)
    bench.waitForState(State.idle)
    #expect(bench.word == ModelBench.slot(1) | State.idle)
  }

  @Test("a masked error halts nothing and reports nothing")
  func masked() throws {
    let bench = try bench()
    for index in 0..<3 { bench.smallCopy(index) }
    Spoiling.unreadableSource.spoil(bench, 1)
    bench.write(0x2c, 4, 0x100)
    bench.enableInterrupts()
    bench.start()
    bench.ring(3)
    bench.waitForState(State.idle)
    #expect(bench.error() == 0)
    #expect(bench.model.channelErrorInt == 0)
    #expect(bench.word == ModelBench.slot(2) | State.idle)
    #expect(bench.model.statistics.channels[0].interruptsRaised == 0)
  }

  @Test("without bus mastering nothing can be fetched")
  func noBusMaster() throws {
    let bench = try bench()
    bench.model.isBusMaster = false
    bench.smallCopy(0)
    bench.start()
    bench.ring(1)
    bench.waitForState(State.halted)
    #expect(bench.error() == 1 << 4)
    #expect(bench.word == 0, "nor can the error be written")
  }

  @Test("memory taken away while the channel runs is an error, not a crash")
  func unmap() throws {
    let bench = try bench()
    for index in 0..<1024 { bench.smallCopy(index) }
    bench.start()
    bench.ring(60000)
    bench.wait("progress") { bench.word != 0 }
    try bench.bus.inner.unmap(iova: ModelBench.base, size: UInt64(bench.size))
    let accesses = bench.load(ModelBench.completion)
    bench.waitForState(State.halted)
    #expect(bench.error().nonzeroBitCount == 1)
    #expect(bench.word == accesses, "no store after the unmap")
  }
}

// SPDX-License-Identifier: Apache-2.0

import NetDmaMock
import NetDmaVFIO
import Testing

@Suite("Model: copy, null, fill, page break, context change")
struct ModelDescriptorTests {
  private func run(
    _ bench: ModelBench, slots: Int = 1, sourceLocation: SourceLocation = #_sourceLocation
  ) {
    bench.start()
    bench.ring(slots)
    bench.waitForState(State.idle, sourceLocation: sourceLocation)
  }

  @Test(
    "copies of any alignment and length move exactly their bytes",
    arguments: [1, 2, 7, 8, 63, 64, 65, 1460, 4095, 4096, 4097, 65536, 131_072])
  func copy(size: Int) throws {
    for (from, to) in [(0, 0), (1, 0), (0, 3), (5, 7), (4095, 1)] {
      let bench = try ModelBench()
      let source = ModelBench.data + 0x1_0000 + UInt64(from)
      let destination = ModelBench.data + 0x8_0000 + UInt64(to)
      let data = ModelBench.pattern(size)
      bench.put(data, at: source)
      bench.put([0xee], at: destination - 1)
      bench.put([0xee], at: destination + UInt64(size))
      bench.descriptor(0, control: 8, size: UInt32(size), source: source, destination: destination)
      run(bench)
      #expect(bench.bytes(destination, size) == data)
      #expect(bench.bytes(destination - 1, 1) == [0xee])
      #expect(bench.bytes(destination + UInt64(size), 1) == [0xee])
      #expect(bench.bytes(source, size) == data)
    }
  }

  @Test("a copy of exactly 2^XFERCAP is taken, one byte more is not")
  func limit() throws {
    for (size, error) in [(32768, UInt64(0)), (32769, 0x800)] {
      let bench = try ModelBench(ModelConfiguration(transferCapability: 15, timing: .fast))
      bench.descriptor(
        0, control: 8, size: UInt32(size), source: ModelBench.data,
        destination: ModelBench.data + 0x4_0000)
      bench.start()
      bench.ring(1)
      bench.waitForState(error == 0 ? State.idle : State.halted)
      #expect(bench.error() == error)
    }
  }

  @Test("the hints (snoop, bundle, DCA, hint, fence) change nothing about the data")
  func hints() throws {
    for bit in [1, 2, 4, 8, 9, 10] {
      let bench = try ModelBench()
      bench.put(ModelBench.pattern(64), at: ModelBench.page(2))
      bench.smallCopy(0, control: 8 | 1 << UInt32(bit))
      run(bench)
      #expect(bench.bytes(ModelBench.page(3), 64) == ModelBench.pattern(64))
    }
  }

  @Test("a fenced copy can feed the next one")
  func fence() throws {
    let bench = try ModelBench()
    bench.put(ModelBench.pattern(64), at: ModelBench.page(2))
    bench.smallCopy(0, control: 0x10)
    bench.descriptor(
      1, control: 8, size: 64, source: ModelBench.page(3), destination: ModelBench.page(4))
    run(bench, slots: 2)
    #expect(bench.bytes(ModelBench.page(4), 64) == ModelBench.pattern(64))
  }

  @Test("null moves nothing, whatever its addresses, and still completes and interrupts")
  func null() throws {
    let bench = try ModelBench()
    bench.enableInterrupts()
    bench.descriptor(0, control: 0x29, size: 1)
    bench.descriptor(1, control: 0x28, size: 8, source: .max, destination: .max)
    bench.descriptor(2, control: 0x38, size: 8)
    run(bench, slots: 3)
    #expect(bench.word == ModelBench.slot(2) | State.idle)
    bench.waitForInterrupts(1)
    #expect(bench.model.statistics.channels[0].bytes == 0)
  }

  // MARK: Page break

  @Test(
    "a page break on either side goes on at the next page, independently",
    arguments: [(true, false), (false, true), (true, true)])
  func pageBreak(source: Bool, destination: Bool) throws {
    let bench = try ModelBench()
    let data = ModelBench.pattern(8192)
    bench.put(Array(data[..<4096]), at: ModelBench.page(10))
    bench.put(Array(data[4096...]), at: ModelBench.page(source ? 20 : 11))
    bench.put([UInt8](repeating: 0xee, count: 8192), at: ModelBench.page(30))
    bench.descriptor(
      0, control: 8 | (source ? 0x40 : 0) | (destination ? 0x80 : 0), size: 8192,
      source: ModelBench.page(10), destination: ModelBench.page(30),
      word4: ModelBench.page(20), word5: ModelBench.page(40))
    run(bench)
    #expect(bench.bytes(ModelBench.page(30), 4096) == Array(data[..<4096]))
    #expect(bench.bytes(ModelBench.page(destination ? 40 : 31), 4096) == Array(data[4096...]))
    if destination { #expect(bench.bytes(ModelBench.page(31), 4096).allSatisfy { $0 == 0xee }) }
  }

  @Test("a page break inside a page, each side at its own place")
  func unalignedPageBreak() throws {
    let bench = try ModelBench()
    let data = ModelBench.pattern(1000)
    // Source: 100 bytes to its page's end; destination: 300 bytes.
    bench.put(Array(data[..<100]), at: ModelBench.page(11) - 100)
    bench.put(Array(data[100...]), at: ModelBench.page(20) + 5)
    bench.descriptor(
      0, control: 0xc8, size: 1000, source: ModelBench.page(11) - 100,
      destination: ModelBench.page(31) - 300, word4: ModelBench.page(20) + 5,
      word5: ModelBench.page(40) + 7)
    run(bench)
    #expect(bench.bytes(ModelBench.page(31) - 300, 300) == Array(data[..<300]))
    #expect(bench.bytes(ModelBench.page(31), 64).allSatisfy { $0 == 0 })
    #expect(bench.bytes(ModelBench.page(40) + 7, 700) == Array(data[300...]))
  }

  @Test("the next-page addresses mean nothing without the control bits, and need the capability")
  func noPageBreak() throws {
    let bench = try ModelBench()
    bench.put(ModelBench.pattern(8192), at: ModelBench.page(10))
    bench.descriptor(
      0, control: 8, size: 8192, source: ModelBench.page(10), destination: ModelBench.page(30),
      word4: 1, word5: 1)
    run(bench)
    #expect(bench.bytes(ModelBench.page(30), 8192) == ModelBench.pattern(8192))
    let plain = try ModelBench(ModelConfiguration(capabilities: 0x40, timing: .fast))
    plain.smallCopy(0, control: 0x48)
    plain.start()
    plain.ring(1)
    plain.waitForState(State.halted)
    #expect(plain.error() == 0x400)
  }

  @Test(
    "a bad next page is the fault of its side",
    arguments: [(UInt32(0x40), UInt64(0), 8), (0x80, 0, 9), (0x40, 1 << 50, 0), (0x80, 1 << 50, 1)])
  func badNextPage(bit: UInt32, address: UInt64, error: Int) throws {
    let bench = try ModelBench()
    bench.descriptor(
      0, control: 8 | bit, size: 8192, source: ModelBench.page(10),
      destination: ModelBench.page(30), word4: address, word5: address)
    bench.start()
    bench.ring(1)
    bench.waitForState(State.halted)
    #expect(bench.error() == 1 << error)
  }

  // MARK: Fill

  @Test(
    "fill repeats its eight bytes from the destination's start and writes no byte more",
    arguments: [1, 8, 50, 64, 89, 100, 1024, 4097, 65536, 70001])
  func fill(size: Int) throws {
    for start in 0..<9 {
      let bench = try ModelBench()
      let destination = ModelBench.data + 0x1000 + UInt64(start)
      bench.put([0xee], at: destination - 1)
      bench.put([0xee], at: destination + UInt64(size))
      bench.descriptor(
        0, control: 0x0100_0008, size: UInt32(size), source: 0x8877_6655_4433_2211,
        destination: destination)
      run(bench)
      let expected = (0..<size).map { UInt8(0x11 * ($0 % 8 + 1)) }
      #expect(bench.bytes(destination, size) == expected)
      #expect(bench.bytes(destination - 1, 1) == [0xee])
      #expect(bench.bytes(destination + UInt64(size), 1) == [0xee])
    }
  }

  @Test("fills with different patterns in turn do not mix, and a page break keeps the phase")
  func fillTurns() throws {
    let bench = try ModelBench()
    for index in 0..<8 {
      bench.descriptor(
        index, control: 0x0100_0008, size: 24,
        source: UInt64(index + 1) &* 0x0101_0101_0101_0101,
        destination: ModelBench.page(5) + UInt64(24 * index))
    }
    bench.descriptor(
      8, control: 0x0100_0088, size: 100, source: 0x8877_6655_4433_2211,
      destination: ModelBench.page(11) - 13, word5: ModelBench.page(20) + 3)
    run(bench, slots: 9)
    let stripes: [UInt8] = (0..<192).map { UInt8($0 / 24 + 1) }
    #expect(bench.bytes(ModelBench.page(5), 192) == stripes)
    let expected = (0..<100).map { UInt8(0x11 * ($0 % 8 + 1)) }
    #expect(bench.bytes(ModelBench.page(11) - 13, 13) == Array(expected[..<13]))
    #expect(bench.bytes(ModelBench.page(20) + 3, 87) == Array(expected[13...]))
  }

  // MARK: Context change, capabilities

  @Test("a DCA context change sets the target CPU, raises no interrupt, and needs the capability")
  func contextChange() throws {
    let bench = try ModelBench(ModelConfiguration(capabilities: 0x51, timing: .fast))
    bench.enableInterrupts()
    bench.write(0x30, 4, 0x1_0000)
    bench.descriptor(0, control: 0xff00_0009, size: 0x27)
    run(bench)
    #expect(bench.read(0x30, 4) == 0x1_0027)
    #expect(bench.word == ModelBench.slot(0) | State.idle)
    #expect(bench.model.statistics.channels[0].interruptsRaised == 0)
    let plain = try ModelBench()
    plain.descriptor(0, control: 0xff00_0009, size: 0x27)
    plain.start()
    plain.ring(1)
    plain.waitForState(State.halted)
    #expect(plain.error() == 0x400)
  }

  @Test("an operation is taken if and only if DMACAPABILITY has its bit")
  func capabilities() throws {
    let table: [(UInt32, UInt32)] = [
      (0x01, 0x40), (0x41, 0x20), (0x42, 0x20), (0x43, 0x20), (0x81, 0x2), (0x82, 0x2),
      (0x83, 0x2), (0x87, 0x100), (0x88, 0x100), (0x89, 0x200), (0x8a, 0x200), (0x8b, 0x200),
      (0xa0, 0x2_0000), (0xa1, 0x2_0000), (0xff, 0x10),
      // Never: marker, old XOR, unknown.
      (0x84, 0x4), (0x85, 0x8), (0x86, 0x8), (0x02, 0xffff_ffff), (0x40, 0xffff_ffff),
    ]
    for (operation, capability) in table {
      for has in [true, false] {
        let bench = try ModelBench(
          ModelConfiguration(
            capabilities: has ? capability : ~capability, timing: .fast))
        // All operands are zero pages, so that every validation and test holds.
        bench.descriptor(
          0, control: operation << 24 | 8, size: 64, source: ModelBench.page(2),
          destination: ModelBench.page(3), word4: ModelBench.page(4), word5: ModelBench.page(5),
          word6: ModelBench.page(6), word7: ModelBench.page(7))
        // A checksum test of zeros needs the checksum of zeros.
        if operation == 0x42 || operation == 0x82 {
          bench.put([0x4c, 0x0b, 0x69, 0x30], at: ModelBench.page(7))
        }
        // The block of 9 or more sources.
        for word in 1...14 {
          bench.store(ModelBench.page(2), to: ModelBench.page(5) + UInt64(8 * word))
        }
        bench.start()
        bench.ring(1)
        bench.wait("the end") { bench.state() == State.idle || bench.state() == State.halted }
        let never = [0x84, 0x85, 0x86, 0x02, 0x40].contains(operation)
        let taken = has && !never
        if bench.error() & 0x400 != 0 {
          #expect(!taken, "opcode \(operation)")
        } else if operation == 0x42 || operation == 0x82 {
          #expect(taken, "opcode \(operation)")
        } else {
          #expect(taken && bench.error() == 0, "opcode \(operation) \(bench.error())")
        }
      }
    }
  }

  @Test("poisoned destinations show the poison until the data comes, and only the data afterwards")
  func poison() throws {
    let bench = try ModelBench(ModelConfiguration(poison: .destinations, timing: .fast))
    bench.put(ModelBench.pattern(64), at: ModelBench.page(2))
    bench.smallCopy(0)
    bench.bus.close(at: ModelBench.page(2))
    bench.start()
    bench.ring(1)
    bench.waitForGate()
    #expect(bench.bytes(ModelBench.page(3), 64).allSatisfy { $0 == 0xdb })
    bench.bus.open()
    bench.waitForState(State.idle)
    #expect(bench.bytes(ModelBench.page(3), 64) == ModelBench.pattern(64))
  }
}

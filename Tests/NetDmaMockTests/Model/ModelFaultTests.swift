// SPDX-License-Identifier: Apache-2.0

import NetDmaMock
import NetDmaVFIO
import Testing

@Suite("Model: fault injection")
struct ModelFaultTests {
  private func bench(
    _ count: Int = 16, _ configuration: ModelConfiguration = ModelConfiguration(timing: .fast)
  ) throws -> ModelBench {
    let bench = try ModelBench(configuration)
    for index in 0..<count { bench.smallCopy(index, control: 0x9) }
    bench.put(ModelBench.pattern(4096), at: ModelBench.page(2))
    bench.enableInterrupts()
    return bench
  }

  @Test(
    "every CHANERR bit can be injected at a descriptor index, and acts like the real one",
    arguments: 0...27)
  func everyBit(bit: Int) throws {
    let bench = try bench()
    bench.model.install(FaultPlan(rules: [.init(.error(bit: bit), on: .descriptor(2))]))
    bench.start()
    bench.ring(5)
    bench.waitForState(State.halted)
    #expect(bench.error() == 1 << bit)
    #expect(bench.read(0x08, 8) & ~0x3f == ModelBench.slot(1))
    // Bit 15 shows in CHANSTS and only there.
    #expect(bench.status() & 0x38 == (bit == 15 ? 0x8 : 0))
    #expect(bench.word == ModelBench.slot(1) | State.halted)
    #expect(bench.bytes(ModelBench.page(3) + 128, 64).allSatisfy { $0 == 0 })
    #expect(bench.model.statistics.channels[0].injectedFaults == 1)
  }

  @Test("the index counts on across resets, so that a plan can aim at what comes next")
  func absoluteIndex() throws {
    let bench = try bench()
    bench.start()
    bench.ring(3)
    bench.waitForState(State.idle)
    let next = bench.model.statistics.channels[0].descriptors
    #expect(next == 3)
    bench.model.install(FaultPlan(rules: [.init(.error(bit: 8), on: .descriptor(next + 1))]))
    bench.command(Command.reset)
    bench.write(0x10, 8, ModelBench.slot(3))
    bench.ring(4)
    bench.waitForState(State.halted)
    #expect(bench.status() == ModelBench.slot(3) | State.halted)
  }

  @Test("faults by address hit what touches the range, with a limit and on one channel only")
  func byAddress() throws {
    let bench = try bench(16, ModelConfiguration(channelCount: 2, timing: .fast))
    let source = ModelBench.page(2) + 64 * 3
    let destination = ModelBench.page(3) + 64 * 5
    bench.model.install(
      FaultPlan(rules: [
        .init(.error(bit: 6), on: .source(source + 63...source + 63), channel: 1, limit: 1),
        .init(.error(bit: 7), on: .destination(destination...destination), channel: 1),
      ]))
    for channel in 0..<2 {
      bench.start(completion: ModelBench.completion + UInt64(channel * 8), channel: channel)
    }
    bench.ring(8, channel: 0)
    bench.waitForState(State.idle, channel: 0)
    bench.ring(8, channel: 1)
    bench.waitForState(State.halted, channel: 1)
    #expect(bench.status(1) == ModelBench.slot(2) | State.halted)
    #expect(bench.error(1) == 1 << 6)
    // Once more: the first rule is used up, the second is not.
    for _ in 0..<2 {
      bench.write(0x28, 4, .max, channel: 1)
      bench.write(0x10, 8, ModelBench.slot(3), channel: 1)
      bench.ring(5, channel: 1)
      bench.waitForState(State.halted, channel: 1)
      #expect(bench.status(1) == ModelBench.slot(4) | State.halted)
      #expect(bench.error(1) == 1 << 7)
    }
  }

  @Test("faults by probability repeat with the seed and come about as often as asked for")
  func byProbability() throws {
    func failures(seed: UInt64) throws -> [Int] {
      let bench = try bench(1024)
      bench.model.install(
        FaultPlan(rules: [.init(.lostCompletion, on: .probability(0.25))], seed: seed))
      for index in 0..<1000 { bench.smallCopy(index) }
      bench.start()
      // One by one, to see which words are missing.
      var missing: [Int] = []
      for index in 0..<1000 {
        bench.store(0, to: ModelBench.completion)
        bench.ring(index + 1)
        bench.wait("descriptor \(index)") {
          bench.status() == ModelBench.slot(index) | State.idle
        }
        if bench.word == 0 { missing.append(index) }
      }
      return missing
    }
    let first = try failures(seed: 7)
    #expect(try failures(seed: 7) == first)
    #expect(try failures(seed: 8) != first)
    // 250 expected; six standard deviations are 82.
    #expect((168...332).contains(first.count))
  }

  @Test("a hung engine stays ACTIVE, takes no SUSPEND, and is freed by RESET")
  func hang() throws {
    let bench = try bench()
    bench.model.install(FaultPlan(rules: [.init(.hang, on: .descriptor(1))]))
    bench.start()
    bench.ring(4)
    bench.wait("the hang") { bench.model.statistics.channels[0].injectedFaults == 1 }
    #expect(bench.status() == ModelBench.slot(0) | State.active)
    bench.command(Command.suspend)
    bench.ring(5)
    #expect(bench.status() == ModelBench.slot(0) | State.active)
    #expect(bench.read(0x20, 8) == ModelBench.slot(1))
    bench.command(Command.reset)
    #expect(bench.status() == State.halted)
    #expect(bench.read(0x04, 1) == 0)
    bench.write(0x10, 8, ModelBench.slot(1))
    bench.ring(3)
    bench.waitForState(State.idle)
    #expect(bench.status() == ModelBench.slot(3) | State.idle)
  }

  @Test("a slow descriptor is done in the end, and RESET does not wait for it")
  func slow() throws {
    let bench = try bench()
    bench.model.install(
      FaultPlan(rules: [
        .init(.slow(nanoseconds: 2_000_000), on: .descriptor(1)),
        .init(.slow(nanoseconds: 3_600_000_000_000), on: .descriptor(4)),
      ]))
    bench.start()
    bench.ring(3)
    bench.waitForState(State.idle)
    #expect(bench.status() == ModelBench.slot(2) | State.idle)
    bench.ring(6)
    bench.wait("the slow one") { bench.read(0x20, 8) == ModelBench.slot(4) }
    bench.command(Command.reset)
    bench.wait("the end of the reset") { bench.read(0x04, 1) == 0 }
    #expect(bench.status() == State.halted)
  }

  @Test("a lost interrupt is not raised, its completion word is written")
  func lostInterrupt() throws {
    let bench = try bench()
    bench.model.install(FaultPlan(rules: [.init(.lostInterrupt, on: .descriptor(0))]))
    bench.start()
    bench.ring(1)
    bench.waitForState(State.idle)
    #expect(bench.word == ModelBench.slot(0) | State.idle)
    #expect(bench.read(0x00, 1) & 1 == 0)
    bench.ring(2)
    bench.waitForInterrupts(1)
    #expect(bench.line.total == 1)
  }

  @Test("a spurious interrupt comes beside everything else")
  func spuriousInterrupt() throws {
    let bench = try bench()
    bench.smallCopy(0)
    bench.model.install(FaultPlan(rules: [.init(.spuriousInterrupt, on: .descriptor(0))]))
    bench.start()
    bench.ring(1)
    bench.waitForInterrupts(1)
    bench.waitForState(State.idle)
    #expect(bench.read(0x00, 1) & 1 == 0)
  }

  @Test("a completion word can be lost or wrong while the registers are right")
  func wrongCompletion() throws {
    let bench = try bench()
    bench.model.install(
      FaultPlan(rules: [
        .init(.wrongCompletion(xor: 0x100_0000), on: .descriptor(0)),
        .init(.lostCompletion, on: .descriptor(1)),
        .init(.wrongCompletion(xor: 0x6), on: .descriptor(2)),
      ]))
    bench.start()
    for (index, word) in [
      (0, (ModelBench.slot(0) | 1) ^ 0x100_0000), (1, (ModelBench.slot(0) | 1) ^ 0x100_0000),
      (2, ModelBench.slot(2) | 7),
    ] {
      bench.ring(index + 1)
      bench.wait("descriptor \(index)") { bench.status() == ModelBench.slot(index) | State.idle }
      #expect(bench.word == word)
    }
  }

  @Test("a reset that never ends keeps the channel halted until the function is reset")
  func endlessReset() throws {
    let bench = try bench()
    bench.model.install(FaultPlan(resetNeverEnds: true))
    bench.start()
    bench.command(Command.reset)
    bench.write(0x10, 8, ModelBench.base)
    bench.ring(1)
    #expect(bench.read(0x04, 1) == Command.reset)
    #expect(bench.status() == State.halted)
    bench.model.install(.none)
    #expect(bench.read(0x04, 1) == Command.reset, "stuck is stuck")
    bench.model.reset()
    #expect(bench.read(0x04, 1) == 0)
    bench.start()
    #expect(bench.status() == State.armed)
  }

  @Test(
    "a removed device reads all ones, ignores writes and touches no memory; it comes back reset")
  func removal() throws {
    let bench = try bench()
    bench.bus.close(at: ModelBench.page(2) + 64)
    bench.start()
    bench.ring(8)
    bench.waitForGate()
    // Removal must not wait for an engine that cannot go on: it is installed from elsewhere.
    let done = Deadline(after: .seconds(20))
    bench.bus.open()
    bench.model.install(FaultPlan(isRemoved: true))
    #expect(!done.hasPassed)
    let accesses = bench.bus.accessCount
    #expect(bench.model.readRegister(0x08, width: 1) == 0xff)
    #expect(bench.read(0x06, 2) == 0xffff)
    #expect(bench.error() == 0xffff_ffff)
    #expect(bench.status() == .max)
    bench.start()
    bench.ring(1)
    #expect(bench.bus.accessCount == accesses)
    bench.model.install(.none)
    #expect(bench.status() == State.halted)
    #expect(bench.read(0x10, 8) == 0)
    bench.start()
    bench.ring(1)
    bench.waitForState(State.idle)
  }

  @Test("a former owner's leftovers: IN_USE, CHANERR and CHANERR_INT")
  func leftovers() throws {
    let bench = try bench(4, ModelConfiguration(cbVersion: 0x32, timing: .fast))
    bench.model.install(
      FaultPlan(inUseAtStart: true, channelErrorAtStart: 0x200, channelErrorIntAtStart: 0x200))
    #expect(bench.read(0x00, 2) == 0x100)
    #expect(bench.error() == 0x200)
    #expect(bench.model.channelErrorInt == 0x200)
    bench.start()
    #expect(bench.status() == State.halted)
    bench.write(0x28, 4, 0x200)
    bench.model.clearChannelErrorInt(0x200)
    bench.start()
    #expect(bench.status() == State.armed)
    bench.write(0x00, 2, 0)
    #expect(bench.read(0x00, 2) & 0x100 == 0)
  }

  @Test("XOR and P+Q operands are seen by address faults")
  func parityOperands() throws {
    for (trigger, hits) in [
      (FaultPlan.Trigger.source(ModelBench.page(24)...ModelBench.page(24)), true),
      (.destination(ModelBench.page(30)...ModelBench.page(30)), true),
      (.source(ModelBench.page(30)...ModelBench.page(30)), false),
    ] {
      let bench = try bench(0, ModelConfiguration(capabilities: 0x100, timing: .fast))
      bench.model.install(FaultPlan(rules: [.init(.error(bit: 7), on: trigger)]))
      bench.slot(
        0,
        [
          64 | UInt64(0x8700_0068) << 32, ModelBench.page(20), ModelBench.page(30),
          ModelBench.slot(1), ModelBench.page(21), ModelBench.page(22), ModelBench.page(23),
          ModelBench.page(24),
        ])
      bench.start()
      bench.ring(1)
      bench.waitForState(hits ? State.halted : State.idle)
      #expect(bench.error() == (hits ? 0x80 : 0))
    }
  }
}

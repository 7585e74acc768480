// SPDX-License-Identifier: Apache-2.0

import NetDmaMock
import NetDmaVFIO
import Synchronization
import Testing

/// A small linear generator, so that a failing round can be repeated.
private struct Random {
  var state: UInt64
  mutating func next(below limit: Int) -> Int {
    state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
    return Int(state >> 33) % limit
  }
}

/// Tells the watchers that there is nothing left to watch.
private final class Flag: Sendable {
  private let value = Atomic<Bool>(false)
  var isRaised: Bool { value.load(ordering: .acquiring) }
  func raise() { value.store(true, ordering: .releasing) }
}

@Suite("Model: stress")
struct ModelStressTests {
  /// Drives one channel: random batches with bad sources among them, suspensions, resets and
  /// restarts at random moments, and a full account of what happened after each round.
  private func drive(_ bench: ModelBench, channel: Int, rounds: Int, seed: UInt64) {
    var random = Random(state: seed)
    // A ring of 64 slots and 64 cells of 64 bytes on either side per channel.
    let ring = ModelBench.base + 0x8_0000 + UInt64(channel * 4096)
    let word = ModelBench.completion + UInt64(channel * 8)
    let sources = ModelBench.page(2 + channel)
    let destinations = ModelBench.page(10 + channel)
    func cell(_ base: UInt64, _ index: Int) -> UInt64 { base + UInt64(index % 64 * 64) }
    func load() {
      bench.store(0, to: word)
      bench.write(0x28, 4, .max, channel: channel)
      bench.write(0x10, 8, ring, channel: channel)
    }
    bench.write(0x00, 2, 0x1d, channel: channel)
    bench.write(0x18, 8, word, channel: channel)
    for round in 0..<rounds {
      let count = 1 + random.next(below: 60)
      let bad = random.next(below: 4) == 0 ? random.next(below: count) : count
      for index in 0..<64 {
        bench.put(
          [UInt8](repeating: UInt8(truncatingIfNeeded: round + index), count: 64),
          at: cell(sources, index))
        bench.put([UInt8](repeating: 0xee, count: 64), at: cell(destinations, index))
        let slot = bench.pointer(cell(ring, index)).assumingMemoryBound(to: UInt64.self)
        slot[0] = 64 | UInt64(0x9) << 32
        slot[1] = index == bad ? 0 : cell(sources, index)
        slot[2] = cell(destinations, index)
        slot[3] = cell(ring, index + 1)
      }
      load()
      #expect(bench.status(channel) == 4)
      var rung = 0
      while rung < count {
        rung = min(count, rung + 1 + random.next(below: 20))
        bench.ring(rung, channel: channel)
        if random.next(below: 3) == 0 {
          bench.command(Command.suspend, channel: channel)
          bench.wait("a stop") { bench.state(channel) != State.active }
          bench.command(Command.resume, channel: channel)
        }
        if random.next(below: 4) == 0 { bench.write(0x00, 2, 0x1d, channel: channel) }
      }
      let reset = random.next(below: 5) == 0
      if reset {
        bench.command(Command.reset, channel: channel)
        #expect(bench.state(channel) == State.halted)
        bench.wait("the reset") { bench.read(0x04, 1, channel: channel) == 0 }
      } else {
        let end = bad < count ? State.halted : State.idle
        bench.waitForState(end, channel: channel)
        let last = bad < count ? bad - 1 : count - 1
        let address = last < 0 ? 0 : cell(ring, last)
        #expect(bench.status(channel) == address | end)
        #expect(bench.load(word) == address | end)
        #expect(bench.error(channel) == (bad < count ? 0x100 : 0))
      }
      // Cells are done in order, each whole or untouched, none beyond the fault.
      var isPrefix = true
      var done = 0
      for index in 0..<64 {
        let bytes = bench.bytes(cell(destinations, index), 64)
        if bytes.allSatisfy({ $0 == UInt8(truncatingIfNeeded: round + index) }) {
          #expect(isPrefix)
          done += 1
        } else {
          #expect(bytes.allSatisfy { $0 == 0xee })
          isPrefix = false
        }
      }
      if reset {
        #expect(done <= min(count, bad))
      } else {
        #expect(done == min(count, bad))
        if bench.state(channel) == State.idle {
          bench.command(Command.suspend, channel: channel)
        }
      }
    }
  }

  @Test(
    "four channels driven at random, while others read every register and the statistics",
    arguments: [EngineTiming.fast, .skylake])
  func everything(timing: EngineTiming) async throws {
    let bench = try ModelBench(
      ModelConfiguration(cbVersion: 0x33, channelCount: 4, timing: timing))
    bench.enableInterrupts()
    let finished = Flag()
    await withTaskGroup(of: Void.self) { group in
      for channel in 0..<4 {
        group.addTask {
          drive(bench, channel: channel, rounds: 150, seed: UInt64(channel + 1) &* 7919)
        }
      }
      let watcher = Task.detached {
        var offset = 0
        while !finished.isRaised {
          // Everything but CHANCTRL and INTRCTRL, whose reads are the drivers' own.
          let place = 8 * (offset % 512)
          if place >= 0x88 || place == 0x08, place % 0x80 != 0 {
            _ = bench.model.readRegister(place, width: 8)
          }
          _ = bench.model.statistics
          _ = bench.model.isInterruptAsserted
          offset += 1
          await Task.yield()
        }
      }
      await group.waitForAll()
      finished.raise()
      await watcher.value
    }
    let statistics = bench.model.statistics
    #expect(statistics.channels.allSatisfy { $0.descriptors > 1000 })
    // Every message is accounted for.
    let raised = statistics.channels.reduce(0) { $0 + $1.interruptsRaised }
    #expect(statistics.messages + statistics.messagesHeld == raised)
    #expect(UInt64(bench.line.total) == statistics.messages)
  }

  @Test(
    "mappings come and go under a running engine: it faults, recovers, and never writes to what was taken away"
  )
  func mappings() throws {
    let bench = try ModelBench()
    let window: UInt64 = 0x9_0000_0000
    let backing = ModelBench.page(40)
    for round in 0..<200 {
      bench.put([UInt8](repeating: 0xee, count: 4096), at: backing)
      try bench.bus.inner.map(iova: window, size: 4096, pointer: bench.pointer(backing))
      for index in 0..<ModelBench.slots {
        bench.smallCopy(index, destination: window + UInt64(index % 64 * 64))
      }
      bench.store(0, to: ModelBench.completion)
      bench.start()
      bench.ring(60000)
      if round % 2 == 0 { bench.wait("progress") { bench.word != 0 } }
      try bench.bus.inner.unmap(iova: window, size: 4096)
      let after = bench.bytes(backing, 4096)
      bench.waitForState(State.halted)
      #expect(bench.error() == 0x200)
      #expect(bench.bytes(backing, 4096) == after)
      bench.write(0x28, 4, .max)
      bench.command(Command.reset)
    }
  }

  @Test("random registers and random descriptors harm nothing but the channel")
  func noise() throws {
    var random = Random(state: 42)
    let bench = try ModelBench(
      ModelConfiguration(
        cbVersion: 0x34, channelCount: 2, transferCapability: 12, capabilities: .max,
        supportsInterruptDelay: true, timing: .fast))
    let operations: [UInt32] = [
      0, 1, 0x41, 0x42, 0x43, 0x81, 0x82, 0x83, 0x87, 0x88, 0x89, 0x8a, 0x8b, 0xa0, 0xa1, 0xff,
      0x85, 0x33,
    ]
    for _ in 0..<3000 {
      for _ in 0..<4 {
        let slot = random.next(below: 32)
        func address() -> UInt64 {
          switch random.next(below: 8) {
          case 0: 0
          case 1: .max - UInt64(random.next(below: 200))
          case 2: ModelBench.slot(random.next(below: 40)) + UInt64(random.next(below: 3) * 4)
          default: ModelBench.data + UInt64(random.next(below: 0x8_0000))
          }
        }
        let control =
          operations[random.next(below: operations.count)] << 24
          | UInt32(random.next(below: random.next(below: 4) == 0 ? 0x100_0000 : 0x200))
        bench.slot(
          slot,
          [
            UInt64(random.next(below: random.next(below: 4) == 0 ? 6000 : 4096))
              | UInt64(control) << 32,
            address(), address(),
            random.next(below: 5) == 0 ? address() : ModelBench.slot(random.next(below: 32)),
            address(), address(), address(), address(),
          ])
      }
      let channel = random.next(below: 2)
      switch random.next(below: 6) {
      case 0: bench.command(UInt64(random.next(below: 64)), channel: channel)
      case 1:
        bench.write(0x28, 4, .max, channel: channel)
        bench.command(Command.reset, channel: channel)
        bench.start(
          control: UInt64(random.next(below: 0x400)),
          chain: ModelBench.slot(random.next(below: 32)),
          channel: channel)
        bench.ring(1 + random.next(below: 40), channel: channel)
      case 2: bench.ring(random.next(below: 200), channel: channel)
      case 3:
        bench.model.writeRegister(
          random.next(below: 0x200), width: 1 << random.next(below: 4),
          value: UInt64(random.next(below: 1 << 30)))
      case 4: _ = bench.model.readRegister(random.next(below: 0x4010), width: random.next(below: 9))
      default:
        bench.start(chain: ModelBench.slot(random.next(below: 32)), channel: channel)
        bench.ring(1 + random.next(below: 10), channel: channel)
      }
    }
    // Whatever happened, a reset function works like a new one.
    bench.model.reset()
    bench.put(ModelBench.pattern(64), at: ModelBench.page(2))
    for channel in 0..<2 {
      bench.smallCopy(0)
      bench.start(channel: channel)
      bench.ring(1, channel: channel)
      bench.waitForState(State.idle, channel: channel)
      #expect(bench.bytes(ModelBench.page(3), 64) == ModelBench.pattern(64))
    }
  }

  @Test("models come and go without waiting for anything", arguments: 0..<30)
  func lifetimes(round: Int) throws {
    let bench = try ModelBench(
      ModelConfiguration(channelCount: 8, timing: round % 2 == 0 ? .fast : .skylake))
    for index in 0..<ModelBench.slots { bench.smallCopy(index) }
    if round % 3 == 0 {
      bench.model.install(FaultPlan(rules: [.init(.hang, on: .descriptor(3))]))
    }
    for channel in 0..<8 {
      bench.start(channel: channel)
      bench.ring(50000, channel: channel)
    }
    // The bench ends here, with every engine at work or hung.
  }
}

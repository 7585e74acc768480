// SPDX-License-Identifier: Apache-2.0

import NetDmaMock
import NetDmaVFIO
import Testing

/// The engine does descriptors behind each other without asking its channel; nobody is to see that.
@Suite("Model: turns")
struct ModelTurnTests {
  @Test("a slot that software rewrote after its retirement is read again by the next count")
  func rewritten() throws {
    let bench = try ModelBench()
    bench.put(ModelBench.pattern(64, seed: 1), at: ModelBench.page(2))
    bench.put(ModelBench.pattern(64, seed: 2), at: ModelBench.page(4))
    // A ring of one slot, whose `next` names itself.
    let slot = ModelBench.slot(0)
    bench.descriptor(
      0, control: 8, size: 64, source: ModelBench.page(2), destination: ModelBench.page(3),
      next: slot)
    bench.start()
    bench.ring(1)
    bench.waitForState(State.idle)
    #expect(bench.bytes(ModelBench.page(3), 64) == ModelBench.pattern(64, seed: 1))
    bench.descriptor(
      0, control: 8, size: 64, source: ModelBench.page(4), destination: ModelBench.page(3),
      next: slot)
    bench.ring(2)
    bench.waitForState(State.idle)
    #expect(bench.bytes(ModelBench.page(3), 64) == ModelBench.pattern(64, seed: 2))
  }

  @Test("a chain that comes back to a slot within one count reads it as the engine left it")
  func written() throws {
    let bench = try ModelBench()
    bench.put(ModelBench.pattern(64, seed: 2), at: ModelBench.page(4))
    // Slot 0 copies a descriptor from page 5 over itself, and is followed by itself.
    let slot = ModelBench.slot(0)
    bench.descriptor(
      1, control: 8, size: 64, source: ModelBench.page(4), destination: ModelBench.page(3),
      next: slot)
    bench.put(bench.bytes(ModelBench.slot(1), 64), at: ModelBench.page(5))
    bench.descriptor(
      0, control: 0, size: 64, source: ModelBench.page(5), destination: slot, next: slot)
    bench.start()
    bench.ring(2)
    bench.waitForState(State.idle)
    #expect(bench.bytes(ModelBench.page(3), 64) == ModelBench.pattern(64, seed: 2))
  }

  @Test("what lies beyond a count that was lowered is read when a later count covers it")
  func lowered() throws {
    let bench = try ModelBench()
    bench.put(ModelBench.pattern(64, seed: 1), at: ModelBench.page(5))
    bench.smallCopy(0, source: ModelBench.page(6), destination: ModelBench.page(7))
    bench.smallCopy(1, source: ModelBench.page(4), destination: ModelBench.page(3))
    bench.smallCopy(2)
    bench.bus.close(at: ModelBench.page(6))
    bench.start()
    bench.ring(3)
    bench.waitForGate()
    bench.ring(1)
    bench.bus.open()
    bench.waitForState(State.idle)
    bench.smallCopy(1, source: ModelBench.page(5), destination: ModelBench.page(3))
    bench.ring(2)
    bench.waitForState(State.idle)
    #expect(bench.bytes(ModelBench.page(3), 64) == ModelBench.pattern(64, seed: 1))
  }

  @Test(
    "a count that grows while the engine copies is carried out; lowered again, so far and no further"
  )
  func grownAndLowered() throws {
    let bench = try ModelBench()
    bench.put(ModelBench.pattern(64 * 8), at: ModelBench.page(2))
    for index in 0..<8 { bench.smallCopy(index, control: index < 3 ? 0 : 8) }
    bench.bus.close(at: ModelBench.page(2) + 64)
    bench.start()
    bench.ring(3)
    bench.waitForGate()
    bench.ring(7)
    bench.ring(5)
    bench.bus.open()
    bench.waitForState(State.idle)
    #expect(bench.status() == ModelBench.slot(4) | State.idle)
    #expect(bench.bytes(ModelBench.page(3), 64 * 5) == Array(ModelBench.pattern(64 * 8)[..<320]))
    #expect(bench.bytes(ModelBench.page(3) + 320, 64).allSatisfy { $0 == 0 })
    bench.ring(8)
    bench.waitForState(State.idle)
    #expect(bench.bytes(ModelBench.page(3), 64 * 8) == ModelBench.pattern(64 * 8))
  }

  @Test("CHANSTS and CDAR name the descriptors that the engine is between, which asked for no word")
  func registers() throws {
    let bench = try ModelBench()
    for index in 0..<3 { bench.smallCopy(index, control: 0) }
    bench.smallCopy(3, control: 0, source: ModelBench.page(6))
    bench.smallCopy(4)
    bench.bus.close(at: ModelBench.page(6))
    bench.start()
    bench.ring(5)
    bench.waitForGate()
    #expect(bench.status() == ModelBench.slot(2) | State.active)
    #expect(bench.read(0x20, 8) == ModelBench.slot(3))
    bench.bus.open()
    bench.waitForState(State.idle)
    #expect(bench.status() == ModelBench.slot(4) | State.idle)
  }

  @Test("a descriptor that fails behind others is the one to blame, and those before it are done")
  func failure() throws {
    let bench = try ModelBench()
    bench.put(ModelBench.pattern(64 * 8), at: ModelBench.page(2))
    for index in 0..<5 { bench.smallCopy(index, control: 0) }
    bench.smallCopy(5, control: 0, source: 0x7000_0000)
    bench.smallCopy(6)
    bench.start()
    bench.ring(7)
    bench.waitForState(State.halted)
    #expect(bench.status() == ModelBench.slot(4) | State.halted)
    #expect(bench.word == ModelBench.slot(4) | State.halted)
    #expect(bench.bytes(ModelBench.page(3), 64 * 5) == Array(ModelBench.pattern(64 * 8)[..<320]))
    #expect(bench.bytes(ModelBench.page(3) + 320, 64).allSatisfy { $0 == 0 })
    let statistics = bench.model.statistics.channels[0]
    #expect(statistics.descriptors == 6 && statistics.bytes == 320)
  }

  @Test("SUSPEND stops behind the descriptor in flight, whatever else the count covers")
  func suspend() throws {
    let bench = try ModelBench()
    bench.put(ModelBench.pattern(64 * 8), at: ModelBench.page(2))
    for index in 0..<8 { bench.smallCopy(index, control: index == 7 ? 8 : 0) }
    bench.bus.close(at: ModelBench.page(2) + 64 * 3)
    bench.start()
    bench.ring(8)
    bench.waitForGate()
    bench.command(Command.suspend)
    bench.bus.open()
    bench.waitForState(State.suspended)
    #expect(bench.status() == ModelBench.slot(3) | State.suspended)
    #expect(bench.bytes(ModelBench.page(3) + 64 * 4, 64).allSatisfy { $0 == 0 })
    bench.command(Command.resume)
    bench.waitForState(State.idle)
    #expect(bench.bytes(ModelBench.page(3), 64 * 8) == ModelBench.pattern(64 * 8))
  }
}

// SPDX-License-Identifier: Apache-2.0

import NetDmaMock
import NetDmaVFIO
import Testing

@Suite("Model: interrupts")
struct ModelInterruptTests {
  /// Slots that each interrupt and complete.
  private func bench(_ configuration: ModelConfiguration = ModelConfiguration(timing: .fast)) throws
    -> ModelBench
  {
    let bench = try ModelBench(configuration)
    for index in 0..<256 { bench.smallCopy(index, control: 0x9) }
    return bench
  }

  @Test("int_en raises one interrupt and disables further ones until the re-arm")
  func latch() throws {
    let bench = try bench()
    bench.enableInterrupts()
    bench.start()
    bench.ring(1)
    bench.waitForInterrupts(1)
    #expect(bench.read(0x00, 1) & 1 == 1)
    bench.ring(5)
    bench.wait("five") { bench.status() == ModelBench.slot(4) | State.idle }
    #expect(bench.line.total == 1)
    #expect(bench.model.statistics.channels[0].interruptsHeld == 1)
    #expect(bench.model.statistics.channels[0].interruptsMerged == 3)
    // Re-arming raises what was held, once.
    bench.write(0x00, 2, 0x1d)
    bench.waitForInterrupts(2)
    #expect(bench.read(0x00, 1) & 1 == 1)
    bench.write(0x00, 2, 0x1d)
    #expect(bench.read(0x00, 1) & 1 == 0)
    #expect(bench.line.total == 2)
  }

  @Test("without int_en there is no interrupt")
  func quiet() throws {
    let bench = try ModelBench()
    bench.smallCopy(0)
    bench.enableInterrupts()
    bench.start()
    bench.ring(1)
    bench.waitForState(State.idle)
    #expect(bench.model.statistics.channels[0].interruptsRaised == 0)
    #expect(bench.read(0x00, 1) & 1 == 0)
  }

  @Test("writing 0 to bit 0 neither disables nor re-arms")
  func writeZero() throws {
    let bench = try bench()
    bench.enableInterrupts()
    bench.start(control: 0x1c)
    bench.ring(1)
    bench.waitForInterrupts(1)
    bench.ring(2)
    bench.wait("two") { bench.status() == ModelBench.slot(1) | State.idle }
    bench.write(0x00, 2, 0x1c)
    #expect(bench.line.total == 1)
    bench.write(0x00, 1, 0x1d)
    bench.waitForInterrupts(2)
  }

  @Test(
    "an event between reading memory and re-arming is never lost", arguments: [UInt64(1), 2, 3])
  func rearmRace(seed: UInt64) throws {
    let bench = try bench()
    for index in 0..<ModelBench.slots { bench.smallCopy(index, control: 0x9) }
    bench.enableInterrupts()
    bench.start()
    // The driver's loop: wait for an interrupt, look at memory, re-arm, ring for more at a random
    // moment. A lost event leaves it waiting for ever.
    var random = seed
    var seen = 0
    var head = 0
    var interrupts = 0
    while seen < 5000 {
      random = random &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      if head - seen < 64 {
        head += 1 + Int(random >> 60)
        bench.ring(head)
      }
      bench.wait("interrupt \(interrupts + 1)") { bench.line.total > interrupts }
      if bench.line.total == interrupts { return }
      interrupts = bench.line.total
      let word = bench.word
      bench.write(0x00, 2, 0x1d)
      let slot = Int((word & ~0x3f) - ModelBench.base) / 64
      seen += (slot + 1 - seen % 1024 + 1024) % 1024
      // All done and re-armed after the last event: nothing more will come.
      if seen == head { bench.ring(head) }
    }
    #expect(bench.error() == 0)
  }

  @Test("an error interrupts with ERR_INT_EN, and is held like any other event")
  func errorHeld() throws {
    let bench = try bench()
    bench.smallCopy(1, source: 0)
    bench.enableInterrupts()
    bench.start()
    bench.ring(2)
    bench.waitForState(State.halted)
    bench.waitForInterrupts(1)
    #expect(bench.line.total == 1)
    bench.write(0x00, 2, 0x1d)
    bench.waitForInterrupts(2)
  }

  @Test("RESET forgets events that were held")
  func resetForgets() throws {
    let bench = try bench()
    bench.enableInterrupts()
    bench.start()
    bench.ring(3)
    bench.waitForState(State.idle)
    bench.waitForInterrupts(1)
    bench.command(Command.reset)
    bench.write(0x00, 2, 0x1d)
    #expect(bench.line.total == 1)
    #expect(bench.read(0x00, 1) & 1 == 0)
  }

  @Test("without the master enable an interrupt waits for it", arguments: [UInt64(0x01), 0x09])
  func master(enable: UInt64) throws {
    let bench = try bench()
    bench.start()
    bench.ring(1)
    bench.waitForState(State.idle)
    bench.wait("the event at the function") { bench.model.statistics.messagesHeld == 1 }
    #expect(bench.line.total == 0)
    bench.enableInterrupts(enable)
    #expect(bench.line.total == 1)
    bench.enableInterrupts(enable)
    #expect(bench.line.total == 1)
  }

  @Test("the handler of INTx and MSI: INTRCTRL, ATTNSTATUS, INTRCTRL again")
  func legacyHandler() throws {
    let bench = try bench(ModelConfiguration(channelCount: 2, timing: .fast))
    bench.enableInterrupts(0x01)
    #expect(bench.model.readRegister(0x04, width: 4) == 0)
    for channel in 0..<2 {
      bench.start(completion: ModelBench.completion + UInt64(8 * channel), channel: channel)
    }
    bench.ring(1, channel: 1)
    bench.waitForInterrupts(1)
    #expect(bench.model.isInterruptAsserted)
    #expect(bench.model.readRegister(0x03, width: 1) == 0x07)
    #expect(!bench.model.isInterruptAsserted, "reading took the master enable away")
    #expect(bench.model.readRegister(0x03, width: 1) == 0x02)
    // Another channel meanwhile: no message while the handler runs.
    bench.ring(1, channel: 0)
    bench.wait("channel 0") { bench.model.statistics.messagesHeld == 1 }
    #expect(bench.line.total == 1)
    #expect(bench.model.readRegister(0x04, width: 4) == 3)
    #expect(bench.model.readRegister(0x04, width: 4) == 0, "reading clears")
    bench.enableInterrupts(0x01)
    #expect(bench.line.total == 1, "both were seen")
    bench.write(0x00, 2, 0x1d, channel: 0)
    bench.ring(2, channel: 0)
    bench.waitForInterrupts(2)
  }

  @Test("an event between reading ATTNSTATUS and enabling again raises its message then")
  func legacyRace() throws {
    let bench = try bench(ModelConfiguration(channelCount: 2, timing: .fast))
    bench.enableInterrupts(0x01)
    for channel in 0..<2 {
      bench.start(completion: ModelBench.completion + UInt64(8 * channel), channel: channel)
    }
    bench.ring(1, channel: 1)
    bench.waitForInterrupts(1)
    _ = bench.model.readRegister(0x03, width: 1)
    #expect(bench.model.readRegister(0x04, width: 4) == 2)
    bench.ring(1, channel: 0)
    bench.wait("channel 0") { bench.model.statistics.messagesHeld == 1 }
    bench.enableInterrupts(0x01)
    #expect(bench.line.total == 2)
    #expect(bench.model.readRegister(0x04, width: 4) == 1)
  }

  @Test(
    "MSIX_VECTOR_CONTROL gives each channel its vector; without it all share vector 0",
    arguments: [UInt64(0x01), 0x09])
  func vectors(enable: UInt64) throws {
    let bench = try bench(ModelConfiguration(channelCount: 4, timing: .fast))
    bench.enableInterrupts(enable)
    for channel in 0..<4 {
      bench.start(completion: ModelBench.completion + UInt64(8 * channel), channel: channel)
      bench.ring(1, channel: channel)
      bench.waitForState(State.idle, channel: channel)
    }
    bench.wait("all four") { bench.line.total == 4 }
    for vector in 0..<4 {
      #expect(bench.line.count(vector) == (enable == 0x09 ? 1 : vector == 0 ? 4 : 0))
    }
  }

  @Test("channels beyond the last vector share the first")
  func fewVectors() throws {
    let bench = try bench(ModelConfiguration(channelCount: 3, vectorCount: 2, timing: .fast))
    bench.start(channel: 2)
    bench.ring(1, channel: 2)
    bench.wait("the event") { bench.model.statistics.messagesHeld == 1 }
    bench.enableInterrupts()
    #expect(bench.line.count(0) == 1)
    bench.write(0x00, 2, 0x1d, channel: 2)
    bench.ring(2, channel: 2)
    bench.waitForInterrupts(2)
  }

  @Test("INTRDELAY merges the events of its time into one interrupt, which still comes")
  func coalescing() throws {
    let bench = try bench()
    bench.enableInterrupts()
    // 16 ms, the most; no test outlives it by chance, since it only waits for the interrupt.
    bench.model.writeRegister(0x0c, width: 2, value: 0x3fff)
    bench.start()
    bench.ring(200)
    bench.waitForState(State.idle)
    bench.waitForInterrupts(1)
    let statistics = bench.model.statistics.channels[0]
    #expect(
      statistics.interruptsRaised + statistics.interruptsMerged + statistics.interruptsHeld == 200)
    #expect(statistics.interruptsRaised == UInt64(bench.line.total))
    #expect(statistics.interruptsMerged > 0)
  }

  @Test("a re-arm within the delay waits for its end; a RESET drops the delayed interrupt")
  func delayedRearm() throws {
    let bench = try bench()
    bench.enableInterrupts()
    bench.start()
    bench.ring(1)
    bench.waitForInterrupts(1)
    bench.model.writeRegister(0x0c, width: 2, value: 0x3fff)
    bench.ring(2)
    bench.wait("held") { bench.model.statistics.channels[0].interruptsHeld == 1 }
    bench.write(0x00, 2, 0x1d)
    bench.waitForInterrupts(2)
    bench.write(0x00, 2, 0x1d)
    bench.ring(3)
    bench.wait("three") { bench.status() == ModelBench.slot(2) | State.idle }
    let raised = bench.line.total
    bench.command(Command.reset)
    // Without delay the next event comes at once; the dropped one must not come with it.
    bench.model.writeRegister(0x0c, width: 2, value: 0)
    if raised == 2 {
      bench.write(0x10, 8, ModelBench.base)
      bench.ring(1)
      bench.waitForInterrupts(3)
      #expect(bench.model.statistics.channels[0].interruptsRaised == 3)
    }
  }
}

// SPDX-License-Identifier: Apache-2.0

import NetDmaMock
import NetDmaVFIO
import Testing

@Suite("Model: channel states")
struct ModelStateTests {
  /// A channel that did one descriptor and is IDLE.
  private func idle(_ configuration: ModelConfiguration = ModelConfiguration(timing: .fast)) throws
    -> ModelBench
  {
    let bench = try ModelBench(configuration)
    for index in 0..<8 { bench.smallCopy(index) }
    bench.start()
    bench.ring(1)
    bench.waitForState(State.idle)
    return bench
  }

  /// A channel that stands in the middle of its second descriptor, with four made valid.
  private func active() throws -> ModelBench {
    let bench = try idle()
    bench.bus.close(at: ModelBench.page(2) + 64)
    bench.ring(4)
    bench.waitForGate()
    return bench
  }

  @Test("after power-on a channel is HALTED with everything zero")
  func powerOn() throws {
    let bench = try ModelBench()
    #expect(bench.status() == State.halted)
    for offset in [0x10, 0x18, 0x20] { #expect(bench.read(offset, 8) == 0) }
    #expect(bench.error() == 0)
    #expect(bench.read(0x04, 1) == 0)
    #expect(bench.read(0x06, 2) == 0)
  }

  @Test("CHAINADDR arms a halted channel: CHANSTS is exactly 4 and memory stays untouched")
  func arm() throws {
    let bench = try ModelBench()
    bench.store(0x5555, to: ModelBench.completion)
    bench.smallCopy(0)
    let before = bench.bus.accessCount
    bench.start()
    #expect(bench.status() == 4)
    #expect(bench.word == 0x5555)
    #expect(bench.bus.accessCount == before)
    #expect(bench.model.statistics.channels[0].descriptors == 0)
  }

  @Test("a doorbell makes the channel ACTIVE at once, and IDLE when the count is reached")
  func run() throws {
    let bench = try ModelBench()
    bench.smallCopy(0)
    bench.bus.close(at: ModelBench.page(2))
    bench.start()
    bench.ring(1)
    #expect(bench.status() == State.active)
    bench.waitForGate()
    #expect(bench.status() == State.active)
    #expect(bench.read(0x20, 8) == ModelBench.slot(0), "CDAR names the one in flight")
    #expect(bench.word == 0)
    bench.bus.open()
    bench.waitForState(State.idle)
    #expect(bench.status() == ModelBench.slot(0) | State.idle)
    #expect(bench.word == ModelBench.slot(0) | State.idle)
  }

  @Test("a raised count goes on along the chain; CHANSTS shows the last one done")
  func append() throws {
    let bench = try active()
    #expect(bench.status() == ModelBench.slot(0) | State.active)
    bench.ring(6)
    bench.bus.open()
    bench.waitForState(State.idle)
    #expect(bench.status() == ModelBench.slot(5) | State.idle)
    #expect(bench.model.statistics.channels[0].descriptors == 6)
  }

  @Test("a word written with work left says ACTIVE, the last one IDLE")
  func wordState() throws {
    let bench = try ModelBench()
    bench.smallCopy(0)
    bench.smallCopy(1)
    bench.bus.close(at: ModelBench.page(2) + 64)
    bench.start()
    bench.ring(2)
    bench.waitForGate()
    #expect(bench.word == ModelBench.slot(0) | State.active)
    bench.bus.open()
    bench.waitForState(State.idle)
    #expect(bench.word == ModelBench.slot(1) | State.idle)
  }

  @Test("only descriptors that ask for it write the word")
  func completionBit() throws {
    let bench = try ModelBench()
    for index in 0..<4 { bench.smallCopy(index, control: index == 2 ? 0x8 : 0) }
    bench.start()
    bench.ring(4)
    bench.waitForState(State.idle)
    #expect(bench.word == ModelBench.slot(2) | State.active)
    #expect(bench.status() == ModelBench.slot(3) | State.idle)
    #expect(bench.model.statistics.channels[0].completionWords == 1)
  }

  @Test("an unchanged count is no doorbell, in ARMED and in IDLE")
  func unchangedCount() throws {
    let bench = try ModelBench()
    bench.smallCopy(0)
    bench.start()
    bench.ring(0)
    #expect(bench.status() == State.armed)
    bench.ring(1)
    bench.waitForState(State.idle)
    bench.ring(1)
    #expect(bench.state() == State.idle)
    #expect(bench.model.statistics.channels[0].descriptors == 1)
  }

  @Test("a doorbell is ignored while HALTED")
  func haltedDoorbell() throws {
    let bench = try ModelBench()
    bench.write(0x06, 2, 7)
    #expect(bench.status() == State.halted)
    bench.start()
    #expect(bench.status() == State.armed)
    #expect(bench.read(0x06, 2) == 0)
  }

  // MARK: SUSPEND and RESUME

  @Test("SUSPEND stops an active channel after the descriptor in flight")
  func suspendActive() throws {
    let bench = try active()
    bench.command(Command.suspend)
    #expect(bench.state() == State.active, "the one in flight is not done")
    bench.bus.open()
    bench.waitForState(State.suspended)
    #expect(bench.status() == ModelBench.slot(1) | State.suspended)
    #expect(bench.word & ~0x3f == ModelBench.slot(1))
    #expect(bench.model.statistics.channels[0].descriptors == 2)
  }

  @Test("SUSPEND takes an idle channel to SUSPENDED")
  func suspendIdle() throws {
    let bench = try idle()
    bench.command(Command.suspend)
    #expect(bench.status() == ModelBench.slot(0) | State.suspended)
    #expect(bench.word == ModelBench.slot(0) | State.idle, "memory is not told")
  }

  @Test("SUSPEND has no effect on an armed, halted or suspended channel, nor an error")
  func suspendElsewhere() throws {
    let bench = try ModelBench()
    bench.command(Command.suspend)
    #expect(bench.status() == State.halted)
    bench.start()
    bench.command(Command.suspend)
    #expect(bench.status() == State.armed)
    #expect(bench.error() == 0)
    let suspended = try idle()
    suspended.command(Command.suspend)
    suspended.command(Command.suspend)
    #expect(suspended.state() == State.suspended)
    #expect(suspended.error() == 0)
  }

  @Test("a suspended channel takes a count but does not move; RESUME goes on where it stopped")
  func resume() throws {
    let bench = try active()
    bench.command(Command.suspend)
    bench.bus.open()
    bench.waitForState(State.suspended)
    bench.ring(5)
    #expect(bench.state() == State.suspended)
    bench.command(Command.resume)
    bench.waitForState(State.idle)
    #expect(bench.status() == ModelBench.slot(4) | State.idle)
    #expect(bench.model.statistics.channels[0].descriptors == 5)
  }

  @Test("RESUME reads the last descriptor's next again, since the chain may have been edited")
  func resumeEdited() throws {
    let bench = try active()
    bench.command(Command.suspend)
    bench.bus.open()
    bench.waitForState(State.suspended)
    // Slots 2 and 3 are unlinked: 1 leads to 20 now.
    bench.smallCopy(1)
    bench.descriptor(
      1, control: 0x8, size: 64, source: ModelBench.page(2), destination: ModelBench.page(3),
      next: ModelBench.slot(20))
    bench.smallCopy(20)
    bench.smallCopy(21)
    bench.command(Command.resume)
    bench.waitForState(State.idle)
    #expect(bench.status() == ModelBench.slot(21) | State.idle)
  }

  @Test("RESUME of a channel with nothing left is IDLE; elsewhere it has no effect")
  func resumeElsewhere() throws {
    let bench = try idle()
    bench.command(Command.suspend)
    bench.command(Command.resume)
    #expect(bench.status() == ModelBench.slot(0) | State.idle)
    bench.command(Command.resume)
    #expect(bench.state() == State.idle)
    let halted = try ModelBench()
    halted.command(Command.resume)
    #expect(halted.status() == State.halted)
  }

  @Test("CHAINADDR restarts a suspended channel without RESET, counting from zero")
  func restartSuspended() throws {
    let bench = try idle()
    bench.command(Command.suspend)
    bench.write(0x10, 8, ModelBench.slot(4))
    #expect(bench.status() == 4)
    #expect(bench.read(0x06, 2) == 0)
    bench.ring(2)
    bench.waitForState(State.idle)
    #expect(bench.status() == ModelBench.slot(5) | State.idle)
  }

  @Test("CHAINADDR written to a running or idle channel changes nothing")
  func chainWhileRunning() throws {
    let bench = try active()
    bench.write(0x10, 8, ModelBench.slot(100))
    bench.bus.open()
    bench.waitForState(State.idle)
    bench.write(0x10, 8, ModelBench.slot(100))
    #expect(bench.status() == ModelBench.slot(3) | State.idle)
    bench.ring(5)
    bench.wait("slot 4") { bench.status() == ModelBench.slot(4) | State.idle }
    #expect(bench.model.statistics.channels[0].undefinedWrites == 2)
  }

  @Test("CHAINADDR in two halves arms once, from the whole address")
  func splitChain() throws {
    let bench = try ModelBench()
    bench.smallCopy(0)
    bench.write(0x00, 2, 0x0c)
    bench.write(0x18, 4, ModelBench.completion & 0xffff_ffff)
    bench.write(0x1c, 4, ModelBench.completion >> 32)
    bench.write(0x10, 4, ModelBench.base & 0xffff_ffff)
    bench.write(0x14, 4, ModelBench.base >> 32)
    #expect(bench.status() == State.armed)
    bench.ring(1)
    bench.waitForState(State.idle)
    #expect(bench.word == ModelBench.slot(0) | State.idle)
  }

  // MARK: RESET and ABORT

  @Test("RESET from every state gives HALTED with counters, address and errors zero")
  func resetAnywhere() throws {
    func check(_ bench: ModelBench) {
      bench.command(Command.reset)
      #expect(bench.status() == State.halted)
      #expect(bench.read(0x06, 2) == 0)
      #expect(bench.error() == 0)
      bench.wait("the end of the reset") { bench.read(0x04, 1) == 0 }
    }
    let halted = try ModelBench()
    check(halted)
    let armed = try ModelBench()
    armed.start()
    check(armed)
    check(try idle())
    let suspended = try idle()
    suspended.command(Command.suspend)
    check(suspended)
    let failed = try ModelBench()
    failed.smallCopy(0, source: 0)
    failed.start()
    failed.ring(1)
    failed.waitForState(State.halted)
    #expect(failed.error() != 0)
    check(failed)
  }

  @Test("RESET keeps CHANCTRL, CHANCMP and CHANERRMASK, which Linux does not program again")
  func resetKeeps() throws {
    let bench = try idle()
    bench.write(0x2c, 4, 0x3_0000)
    bench.command(Command.reset)
    #expect(bench.read(0x00, 2) & 0xff == 0x1c)
    #expect(bench.read(0x18, 8) == ModelBench.completion)
    #expect(bench.read(0x2c, 4) == 0x3_0000)
  }

  @Test(
    "RESET of an active channel reads back until the descriptor in flight has ended, which counts for nothing"
  )
  func resetActive() throws {
    let bench = try active()
    let word = bench.word
    bench.command(Command.reset)
    #expect(bench.status() == State.halted)
    #expect(bench.read(0x04, 1) == Command.reset)
    bench.bus.open()
    bench.wait("the end of the reset") { bench.read(0x04, 1) == 0 }
    let accesses = bench.bus.accessCount
    #expect(bench.status() == State.halted)
    #expect(bench.word == word, "no completion word after RESET")
    #expect(bench.bus.accessCount == accesses)
    #expect(bench.line.total == 0)
  }

  @Test("after RESET a new chain arms at once, while the old descriptor is still in flight")
  func resetThenChain() throws {
    let bench = try active()
    bench.command(Command.reset)
    bench.write(0x10, 8, ModelBench.slot(4))
    #expect(bench.status() == 4)
    bench.ring(2)
    #expect(bench.status() == State.active)
    bench.bus.open()
    bench.waitForState(State.idle)
    #expect(bench.status() == ModelBench.slot(5) | State.idle)
    #expect(bench.word == ModelBench.slot(5) | State.idle)
  }

  @Test("ABORT stops at once; the word says HALTED at the last one done")
  func abort() throws {
    let bench = try active()
    bench.command(Command.abort)
    #expect(bench.status() == ModelBench.slot(0) | State.halted)
    #expect(bench.word == ModelBench.slot(0) | State.halted)
    #expect(bench.error() == 0)
    bench.bus.open()
    bench.write(0x10, 8, ModelBench.slot(4))
    #expect(bench.status() == 4)
    bench.ring(1)
    bench.waitForState(State.idle)
    #expect(bench.status() == ModelBench.slot(4) | State.idle)
  }

  @Test("a function reset makes everything as after power-on and stops the engine first")
  func functionReset() async throws {
    let bench = try active()
    bench.enableInterrupts()
    bench.model.writeRegister(0x0c, width: 2, value: 100)
    let opener = Task.detached {
      bench.wait("the reset") { bench.status() == State.halted }
      bench.bus.open()
    }
    bench.model.reset()
    let accesses = bench.bus.accessCount
    #expect(bench.status() == State.halted)
    #expect(bench.read(0x04, 1) == 0)
    for offset in [0x10, 0x18] { #expect(bench.read(offset, 8) == 0) }
    #expect(bench.read(0x00, 2) == 0)
    #expect(bench.model.readRegister(0x03, width: 1) == 0)
    #expect(bench.model.readRegister(0x0c, width: 2) == 0x8000)
    #expect(bench.bus.accessCount == accesses)
    await opener.value
  }

  @Test("after stop registers can be read and nothing is carried out")
  func stop() throws {
    let bench = try idle()
    bench.model.stop()
    bench.model.stop()
    let accesses = bench.bus.accessCount
    bench.ring(2)
    #expect(bench.state() == State.active)
    #expect(bench.bus.accessCount == accesses)
  }

  // MARK: Commands that no version 3 driver gives

  @Test("START and APPEND of version 1 have no effect")
  func startAppend() throws {
    let bench = try ModelBench()
    bench.start()
    bench.command(0x01)
    bench.command(0x02)
    #expect(bench.status() == State.armed)
    #expect(bench.error() == 0)
  }

  @Test(
    "two commands at once set CHANERR bit 5; only ANY_ERR_ABORT_EN makes that stop the channel",
    arguments: [0x04, 0x0c])
  func twoCommands(control: UInt64) throws {
    let bench = try ModelBench()
    bench.smallCopy(0)
    bench.start(control: control)
    bench.ring(1)
    bench.waitForState(State.idle)
    bench.command(Command.suspend | Command.resume)
    #expect(bench.error() == 0x20)
    #expect(bench.state() == (control & 8 != 0 ? State.halted : State.idle))
    #expect(bench.word == ModelBench.slot(0) | (control & 8 != 0 ? State.halted : State.idle))
    #expect(bench.model.channelErrorInt == 0x20)
  }
}

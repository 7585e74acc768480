// SPDX-License-Identifier: Apache-2.0

import NetDmaMock
import NetDmaVFIO
import Testing

/// What the field's drivers do, access by access, written from a description of them: each sequence
/// must work on the model as it does on silicon.
@Suite("Model: register sequences of Linux, SPDK and FreeBSD")
struct ModelDriverTests {
  // MARK: Linux ioatdma

  /// Channel reset as Linux does it: quiesce, clear both error registers, RESET, poll.
  private func linuxReset(_ bench: ModelBench) {
    let state = bench.state()
    if state == State.active || state == State.idle {
      bench.command(Command.suspend)
      bench.wait("the quiesce") {
        let state = bench.state()
        return state != State.active && state != State.idle
      }
    }
    bench.write(0x28, 4, bench.read(0x28, 4))
    bench.model.clearChannelErrorInt(bench.model.channelErrorInt)
    bench.command(Command.reset)
    bench.wait("the reset") { bench.read(0x04, 1) & Command.reset == 0 }
  }

  /// Allocates the channel: CHANCTRL, CHANCMP in halves, a null kick.
  ///
  /// Returns the slots used.
  private func linuxStart(_ bench: ModelBench) {
    bench.write(0x00, 2, 0x1d)
    bench.store(0, to: ModelBench.completion)
    bench.write(0x18, 4, ModelBench.completion & 0xffff_ffff)
    bench.write(0x1c, 4, ModelBench.completion >> 32)
    bench.descriptor(0, control: 0x29, size: 1)
    bench.write(0x10, 4, ModelBench.base & 0xffff_ffff)
    bench.write(0x14, 4, ModelBench.base >> 32)
    bench.ring(1)
    let state = bench.state()
    #expect(state == State.active || state == State.idle, "ACTIVE inside the doorbell write")
  }

  /// Interrupt → clean-up from the completion word → re-arm, until the word names `slot`.
  private func linuxComplete(_ bench: ModelBench, through slot: Int, interrupts: inout Int) {
    bench.wait("completion of slot \(slot)") {
      guard bench.line.total > interrupts else { return false }
      interrupts = bench.line.total
      let word = bench.word
      bench.write(0x00, 2, 0x1d)
      return word & ~0x3f == ModelBench.slot(slot) && word & 7 != State.halted
    }
  }

  private func linuxFree(_ bench: ModelBench) { linuxReset(bench) }

  @Test("Linux: probe, self tests of copy and XOR, twice in a row", arguments: [0x32, 0x33, 0x34])
  func linuxProbe(version: Int) throws {
    let bench = try ModelBench(
      ModelConfiguration(
        deviceID: 0x0c50, cbVersion: UInt8(version), capabilities: 0x341, timing: .skylake))
    for _ in 0..<2 {
      var interrupts = bench.line.total
      #expect(bench.model.readRegister(0x08, width: 1) >= 0x30)
      #expect(bench.model.readRegister(0x00, width: 1) & 0x1f == 1)
      #expect(bench.model.readRegister(0x01, width: 1) & 0x1f >= 12)
      linuxReset(bench)
      bench.model.writeRegister(0x03, width: 1, value: 0x09)
      linuxSelfTest(bench, &interrupts)
      linuxXORTest(bench, &interrupts)
      bench.write(0x30, 4, 0xffff_ffff)
      // Remove: quiesce, reset, interrupts off.
      linuxReset(bench)
      bench.model.writeRegister(0x03, width: 1, value: 0)
      #expect(bench.status() == State.halted)
    }
  }

  /// 2000 bytes with an interrupt.
  private func linuxSelfTest(_ bench: ModelBench, _ interrupts: inout Int) {
    linuxStart(bench)
    bench.put(ModelBench.pattern(2000), at: ModelBench.page(2))
    bench.put([UInt8](repeating: 0, count: 2000), at: ModelBench.page(3))
    bench.descriptor(
      1, control: 0x9, size: 2000, source: ModelBench.page(2), destination: ModelBench.page(3))
    bench.ring(2)
    linuxComplete(bench, through: 1, interrupts: &interrupts)
    #expect(bench.bytes(ModelBench.page(3), 2000) == ModelBench.pattern(2000))
    linuxFree(bench)
  }

  /// XOR of six pages, then validate it, then validate after clearing the parity: the last must fail
  /// and the chain go on behind it without RESET.
  private func linuxXORTest(_ bench: ModelBench, _ interrupts: inout Int) {
    linuxStart(bench)
    let sources = (0..<6).map { ModelBench.page(10 + $0) }
    for (index, source) in sources.enumerated() {
      bench.put([UInt8](repeating: 1 << UInt8(index), count: 4096), at: source)
    }
    let parity = ModelBench.page(20)
    func xor(at slot: Int, operation: UInt32, destination: UInt64, _ sources: [UInt64]) {
      bench.slot(
        slot,
        [
          4096 | UInt64(operation << 24 | UInt32(sources.count - 2) << 5) << 32, sources[0],
          destination, ModelBench.slot(slot + 1), sources[1], sources[2], sources[3], sources[4],
        ])
      var rest = Array(sources[5...])
      while rest.count < 3 { rest.append(0) }
      bench.slot(slot + 1, [rest[0], rest[1], rest[2], ModelBench.slot(slot + 2), 0, 0, 0, 0])
      // The null behind it carries completion and interrupt.
      bench.descriptor(slot + 2, control: 0x39, size: 1)
    }
    xor(at: 1, operation: 0x87, destination: parity, sources)
    bench.ring(4)
    linuxComplete(bench, through: 3, interrupts: &interrupts)
    #expect(bench.bytes(parity, 4096).allSatisfy { $0 == 0x3f })
    // Validation: the first page is checked against the XOR of the other five and the parity.
    let checked = Array(sources[1...]) + [parity]
    xor(at: 4, operation: 0x88, destination: sources[0], checked)
    bench.ring(7)
    linuxComplete(bench, through: 6, interrupts: &interrupts)
    #expect(bench.error() == 0)

    bench.put([UInt8](repeating: 0, count: 4096), at: parity)
    xor(at: 7, operation: 0x88, destination: sources[0], checked)
    bench.ring(10)
    // An earlier interrupt may be counted only now: its signal follows its word without the lock.
    bench.wait("the error's interrupt") {
      bench.line.total > interrupts && bench.word & 7 == State.halted
    }
    interrupts = bench.line.total
    #expect(bench.word == ModelBench.slot(6) | State.halted)
    #expect(bench.state() == State.halted)
    #expect(bench.error() == 0x1_0000, "exactly one bit")
    bench.write(0x28, 4, 0x1_0000)
    bench.model.clearChannelErrorInt(bench.model.channelErrorInt)
    // Linux writes the failed descriptor's address itself and starts behind it, without RESET.
    bench.store(ModelBench.slot(7), to: ModelBench.completion)
    bench.write(0x18, 4, ModelBench.completion & 0xffff_ffff)
    bench.write(0x1c, 4, ModelBench.completion >> 32)
    bench.write(0x10, 4, ModelBench.slot(9) & 0xffff_ffff)
    bench.write(0x14, 4, ModelBench.slot(9) >> 32)
    bench.ring(1)
    bench.write(0x00, 2, 0x1d)
    linuxComplete(bench, through: 9, interrupts: &interrupts)
    linuxFree(bench)
  }

  @Test(
    "Linux: a read error is followed by a full reset and a null kick, without programming CHANCTRL or CHANCMP again"
  )
  func linuxReadError() throws {
    let bench = try ModelBench(ModelConfiguration(cbVersion: 0x32, timing: .skylake))
    var interrupts = 0
    bench.enableInterrupts()
    linuxReset(bench)
    linuxStart(bench)
    bench.smallCopy(1, control: 0x9, source: 0)
    bench.smallCopy(2, control: 0x9)
    bench.ring(3)
    bench.wait("the error") { bench.line.total > interrupts && bench.word & 7 == State.halted }
    interrupts = bench.line.total
    #expect(bench.error() == 0x100)
    linuxReset(bench)
    bench.descriptor(3, control: 0x29, size: 1)
    bench.write(0x10, 4, ModelBench.slot(3) & 0xffff_ffff)
    bench.write(0x14, 4, ModelBench.slot(3) >> 32)
    bench.ring(1)
    bench.write(0x00, 2, 0x1d)
    linuxComplete(bench, through: 3, interrupts: &interrupts)
  }

  @Test("Linux on 3.4 writes DRSCTL and LTR one window too far, which does no harm")
  func linux34() throws {
    let bench = try ModelBench(
      ModelConfiguration(cbVersion: 0x34, capabilities: 0x80_0041, timing: .fast))
    bench.model.writeRegister(0x4c, width: 1, value: 5)
    linuxReset(bench)
    for (offset, width, value) in [
      (0x136, 2, 0x109), (0x13c, 1, 0), (0x140, 4, 0x8800), (0x144, 4, 0x8a58),
    ] {
      bench.model.writeRegister(offset, width: width, value: UInt64(value))
    }
    linuxStart(bench)
    bench.waitForState(State.idle)
    bench.model.writeRegister(0x13c, width: 1, value: 1)
    #expect(bench.error() == 0)
  }

  // MARK: SPDK

  @Test(
    "SPDK: reset, null kick, batches with one completion bit, attach again after a kill in any state"
  )
  func spdk() throws {
    let bench = try ModelBench(ModelConfiguration(cbVersion: 0x32, timing: .fast))
    func attach() {
      let state = bench.state()
      if state == State.active || state == State.idle {
        bench.command(Command.suspend)
        bench.wait("the quiesce") {
          let state = bench.state()
          return state != State.active && state != State.idle
        }
      }
      bench.write(0x28, 4, bench.error())
      bench.model.clearChannelErrorInt(bench.model.channelErrorInt)
      bench.command(Command.reset)
      bench.wait("the reset") { bench.read(0x04, 1) & Command.reset == 0 }
      bench.write(0x00, 2, 0x08)
      bench.store(0, to: ModelBench.completion)
      bench.write(0x18, 8, ModelBench.completion)
      bench.write(0x10, 8, ModelBench.base)
      bench.descriptor(0, control: 0x28, size: 8)
      bench.ring(1)
      bench.waitForState(State.idle)
      #expect(bench.word == ModelBench.slot(0) | State.idle)
    }
    var head = 1
    func batch(_ count: Int) {
      for index in 0..<count {
        let last = index == count - 1
        if index % 5 == 4 {
          bench.descriptor(head, control: last ? 0x28 : 0x20, size: 8)
        } else {
          bench.smallCopy(head, control: last ? 0x8 : 0)
        }
        head += 1
      }
      bench.ring(head)
    }
    attach()
    for count in [1, 2, 128, 1000, 64] {
      batch(count)
      bench.wait("the batch") { bench.word == ModelBench.slot(head - 1) | State.idle }
      // A flush with nothing new is no doorbell.
      bench.ring(head)
    }
    // Killed while active: the next process finds the channel as it is.
    bench.bus.close(at: ModelBench.page(2) + UInt64(head % 64 * 64))
    bench.smallCopy(head)
    bench.ring(head + 1)
    bench.waitForGate()
    bench.bus.open()
    attach()
    bench.command(Command.suspend)
    attach()
    bench.smallCopy(1, source: 0)
    bench.ring(2)
    bench.waitForState(State.halted)
    #expect(bench.word == ModelBench.slot(0) | State.idle, "0x08 does not ask for the word")
    attach()
  }

  // MARK: FreeBSD

  @Test("FreeBSD: one MSI-X vector with INTRCTRL 0x01, completion primed, re-arm with 0x1d")
  func freebsd() throws {
    let bench = try ModelBench(ModelConfiguration(cbVersion: 0x33, timing: .skylake))
    bench.model.clearChannelErrorInt(bench.model.channelErrorInt)
    bench.command(Command.reset)
    bench.wait("the reset") { bench.read(0x04, 1) & Command.reset == 0 }
    #expect(bench.state() == State.halted)
    #expect(bench.error() == 0)
    bench.model.writeRegister(0x03, width: 1, value: 0x01)
    bench.store(ModelBench.slot(1023), to: ModelBench.completion)
    bench.write(0x00, 2, 0x1d)
    bench.write(0x18, 8, ModelBench.completion)
    bench.write(0x10, 8, ModelBench.base)
    bench.descriptor(0, control: 0x28, size: 8)
    bench.ring(1)
    bench.waitForState(State.idle)
    var interrupts = 0
    for index in 1..<200 {
      bench.smallCopy(index, control: 0x9)
      bench.ring(index + 1)
      bench.wait("copy \(index)") { bench.line.total > interrupts }
      interrupts = bench.line.total
      #expect(bench.word & ~0x3f == ModelBench.slot(index))
      bench.write(0x00, 2, 0x1d)
    }
    #expect(bench.line.total == 199)
  }
}

// SPDX-License-Identifier: Apache-2.0

import NetDmaMock
import Testing

@Suite("Model: registers")
struct ModelRegisterTests {
  @Test("general registers read what the part is, and writes to read-only ones change nothing")
  func generalRegisters() throws {
    let bench = try ModelBench(
      ModelConfiguration(
        cbVersion: 0x32, channelCount: 4, transferCapability: 15, capabilities: 0x3c7,
        timing: .fast))
    func check() {
      #expect(bench.model.readRegister(0x00, width: 1) == 4)
      #expect(bench.model.readRegister(0x01, width: 1) == 15)
      #expect(bench.model.readRegister(0x08, width: 1) == 0x32)
      #expect(bench.model.readRegister(0x0a, width: 2) == 0)
      #expect(bench.model.readRegister(0x0c, width: 2) == 0x8000)
      #expect(bench.model.readRegister(0x0e, width: 2) == 0)
      // Bit 2 (marker skipping) is not implemented, so it must not be advertised.
      #expect(bench.model.readRegister(0x10, width: 4) == 0x3c3)
      #expect(bench.model.readRegister(0x14, width: 2) == 0)
      #expect(bench.model.readRegister(0x40, width: 1) == 0)
      #expect(bench.read(0x02, 2) == 2)
    }
    check()
    for offset in [0x00, 0x01, 0x08, 0x0a, 0x0b, 0x0e, 0x10, 0x11, 0x14, 0x40, 0x82, 0x83] {
      bench.model.writeRegister(offset, width: 1, value: 0xff)
    }
    bench.write(0x08, 8, .max)
    bench.write(0x20, 8, .max)
    check()
    #expect(bench.status() == State.halted)
    #expect(bench.read(0x20, 8) == 0)
    #expect(bench.model.statistics.unimplementedWrites == 0)
  }

  @Test("a locked function has CHANCNT 0 and keeps CHANCTRL at zero")
  func locked() throws {
    let bench = try ModelBench(ModelConfiguration(quirks: .lockedByFirmware, timing: .fast))
    #expect(bench.model.readRegister(0x00, width: 1) == 0)
    bench.write(0x00, 2, 0x033d)
    #expect(bench.read(0x00, 2) == 0)
    #expect(bench.read(0x00, 2) == 0)
  }

  @Test(
    "64-bit registers take any split of a write, each half keeping the other",
    arguments: [0x10, 0x18])
  func splitWrites(offset: Int) throws {
    let bench = try ModelBench()
    let value: UInt64 = 0x0000_1234_5678_9ac0
    bench.write(offset, 8, value)
    #expect(bench.read(offset, 8) == value)
    bench.write(offset, 4, 0xdead_be00)
    #expect(bench.read(offset, 8) == 0x0000_1234_dead_be00)
    bench.write(offset + 4, 4, 0x7fff)
    #expect(bench.read(offset, 8) == 0x0000_7fff_dead_be00)
    #expect(bench.read(offset + 4, 4) == 0x7fff)
    for byte in 0..<8 { bench.write(offset + byte, 1, UInt64(byte + 1)) }
    #expect(bench.read(offset, 8) == 0x0807_0605_0403_0201)
    bench.write(offset + 2, 2, 0xaabb)
    #expect(bench.read(offset, 8) == 0x0807_0605_aabb_0201)
    #expect(bench.read(offset + 2, 2) == 0xaabb)
    #expect(bench.read(offset + 3, 1) == 0xaa)
  }

  @Test("CHANNEL_IN_USE is set by reading its byte and cleared by writing 0 to it")
  func inUse() throws {
    let bench = try ModelBench()
    #expect(bench.read(0x00, 2) == 0)
    #expect(bench.read(0x00, 2) == 0x100)
    bench.write(0x00, 2, 0x10c)
    #expect(bench.read(0x00, 2) == 0x10c)
    bench.write(0x00, 1, 0x08)
    #expect(bench.read(0x00, 2) == 0x108, "a write of the low byte leaves bit 8")
    bench.write(0x00, 2, 0x0c)
    #expect(bench.read(0x00, 1) == 0x0c, "the low byte does not take the channel")
    #expect(bench.read(0x00, 2) == 0x0c)
    #expect(bench.read(0x01, 1) == 0x01, "the read before took it")
    bench.write(0x00, 2, 0)
    #expect(bench.read(0x00, 8) & 0x100 == 0)
    #expect(bench.read(0x00, 4) & 0x100 == 0x100)
  }

  @Test("CHANCTRL keeps its defined bits and no others; writing 0 to bit 0 does not set it")
  func controlBits() throws {
    let bench = try ModelBench()
    bench.write(0x00, 2, 0xffff)
    #expect(bench.read(0x00, 2) == 0xf23c)
    bench.write(0x00, 2, 0)
    #expect(bench.read(0x00, 2) & ~0x100 == 0)
  }

  @Test("a wide read at a channel's start holds its four registers")
  func wideRead() throws {
    let bench = try ModelBench()
    bench.write(0x00, 2, 0x1c)
    bench.start(control: 0x1c)
    bench.ring(0)
    let value = bench.read(0x00, 8)
    #expect(value == 0x0000_0000_0002_001c)
    bench.write(0x10, 8, ModelBench.base)
    bench.bus.close(at: ModelBench.page(2))
    bench.smallCopy(0)
    bench.ring(1)
    #expect(bench.read(0x06, 2) == 1)
    #expect(bench.read(0x07, 1) == 0)
    #expect(bench.read(0x04, 4) == 0x0001_0000)
    bench.bus.open()
    bench.waitForState(State.idle)
  }

  @Test("reading the low half of CHANSTS keeps the high half for the next read")
  func statusLatch() throws {
    let bench = try ModelBench()
    bench.smallCopy(0)
    bench.smallCopy(1)
    bench.start()
    bench.ring(1)
    bench.waitForState(State.idle)
    #expect(bench.read(0x08, 4) == 1)
    #expect(bench.read(0x0c, 4) == 1, "the base lies at 4 GiB")
    #expect(bench.read(0x08, 4) == 1)
    bench.command(Command.suspend)
    bench.write(0x10, 8, ModelBench.base)
    #expect(bench.status() == State.armed)
    // The whole read above released the latch.
    #expect(bench.read(0x0c, 4) == 0)
    bench.ring(1)
    bench.waitForState(State.idle)
    #expect(bench.read(0x08, 4) == 1)
    bench.command(Command.suspend)
    bench.write(0x10, 8, ModelBench.base)
    #expect(bench.read(0x0c, 4) == 1, "latched with the low half")
    #expect(bench.read(0x0c, 4) == 0, "live again")
  }

  @Test("INTRDELAY keeps 14 bits; without support it reads 0")
  func interruptDelay() throws {
    let bench = try ModelBench()
    bench.model.writeRegister(0x0c, width: 2, value: 0xffff)
    #expect(bench.model.readRegister(0x0c, width: 2) == 0xbfff)
    bench.model.writeRegister(0x0d, width: 1, value: 0)
    #expect(bench.model.readRegister(0x0c, width: 2) == 0x80ff)
    let plain = try ModelBench(ModelConfiguration(supportsInterruptDelay: false, timing: .fast))
    plain.model.writeRegister(0x0c, width: 2, value: 0x0123)
    #expect(plain.model.readRegister(0x0c, width: 2) == 0)
  }

  @Test("INTRCTRL keeps bits 0 and 3; reading clears the master enable")
  func interruptControl() throws {
    let bench = try ModelBench()
    bench.enableInterrupts(0xff)
    #expect(bench.model.readRegister(0x03, width: 1) == 0x09)
    #expect(bench.model.readRegister(0x03, width: 1) == 0x08)
    bench.enableInterrupts()
    #expect(bench.model.readRegister(0x00, width: 1) == 1)
    #expect(bench.model.readRegister(0x02, width: 2) == 0x0900, "any access to the byte reads it")
    #expect(bench.model.readRegister(0x00, width: 4) >> 24 == 0x08)
  }

  @Test("plain registers keep their defined bits")
  func plainRegisters() throws {
    let bench = try ModelBench()
    bench.model.writeRegister(0x02, width: 1, value: 0xff)
    #expect(bench.model.readRegister(0x02, width: 1) == 1)
    bench.write(0x2c, 4, .max)
    #expect(bench.read(0x2c, 4) == 0x0fff_ffff)
    bench.write(0x30, 4, 0xffff_ffff)
    #expect(bench.read(0x30, 4) == 0x1_ffff)
    bench.write(0x28, 4, .max)
    #expect(bench.error() == 0)
  }

  @Test("version 3.4 adds DRSCTL, LTR and CHWPREFLMT; before they read 0 and are counted")
  func version34() throws {
    let new = try ModelBench(ModelConfiguration(cbVersion: 0x34, timing: .fast))
    new.write(0x36, 2, 0x0309)
    new.write(0x3c, 1, 1)
    new.write(0x40, 4, 0x8800)
    new.write(0x44, 4, 0x8a58)
    new.model.writeRegister(0x4c, width: 1, value: 5)
    #expect(new.read(0x36, 2) == 0x0309)
    #expect(new.read(0x3c, 1) == 1)
    #expect(new.read(0x40, 4) == 0x8800)
    #expect(new.read(0x44, 4) == 0x8a58)
    #expect(new.model.readRegister(0x4c, width: 1) == 5)
    #expect(new.model.statistics.unimplementedReads == 0)
    #expect(new.model.statistics.unimplementedWrites == 0)

    let old = try ModelBench(ModelConfiguration(cbVersion: 0x33, timing: .fast))
    old.write(0x36, 2, 0x0309)
    old.model.writeRegister(0x4c, width: 1, value: 5)
    #expect(old.read(0x36, 2) == 0)
    #expect(old.model.readRegister(0x4c, width: 1) == 0)
    #expect(old.model.statistics.unimplementedReads == 2)
    #expect(old.model.statistics.unimplementedWrites == 2)
  }

  @Test("offsets without a register read 0, ignore writes and are counted")
  func unimplemented() throws {
    let bench = try ModelBench(ModelConfiguration(cbVersion: 0x34, timing: .fast))
    // Where Linux puts DRSCTL and LTR of channel 0 on 3.4, one window too far; where it saves the
    // MSI-X table of a Broadwell-DE; a hole; beyond the window; the last byte; outside; odd widths.
    let places = [
      (0x136, 2), (0x13c, 1), (0x140, 4), (0x144, 4), (0x1000, 8), (0x1800, 8), (0x18, 8),
      (0x85, 1), (0x3fff, 1), (0x4000, 4), (0x3ffc, 8), (-8, 8), (0, 9), (0, 0), (.max, 8),
    ]
    for (offset, width) in places {
      bench.model.writeRegister(offset, width: width, value: .max)
      #expect(bench.model.readRegister(offset, width: width) == 0, "offset \(offset)")
    }
    #expect(bench.model.statistics.unimplementedReads == UInt64(places.count))
    #expect(bench.model.statistics.unimplementedWrites == UInt64(places.count))
    #expect(bench.status() == State.halted)
  }

  @Test("an access across two words is the sum of its parts")
  func unaligned() throws {
    let bench = try ModelBench()
    bench.write(0x10, 8, 0x0011_2233_4455_66c0)
    bench.write(0x18, 8, 0x8899_aabb_ccdd_eef8)
    #expect(bench.read(0x14, 8) == 0xccdd_eef8_0011_2233)
    bench.write(0x15, 7, 0x77_6655_4433_2211)
    #expect(bench.read(0x10, 8) == 0x3322_1133_4455_66c0)
    #expect(bench.read(0x18, 8) == 0x8899_aabb_7766_5544)
  }

  @Test("every one of 31 channels has its own window, and there is no 32nd")
  func windows() throws {
    let bench = try ModelBench(ModelConfiguration(channelCount: 40, timing: .fast))
    #expect(bench.model.readRegister(0x00, width: 1) == 31)
    for channel in 0..<31 { bench.write(0x18, 8, UInt64(channel + 1) << 12, channel: channel) }
    for channel in 0..<31 {
      #expect(bench.read(0x18, 8, channel: channel) == UInt64(channel + 1) << 12)
    }
    #expect(bench.read(0x08, 8, channel: 31) == 0)
    #expect(bench.model.statistics.unimplementedReads == 1)
  }
}

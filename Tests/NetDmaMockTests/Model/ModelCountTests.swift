// SPDX-License-Identifier: Apache-2.0

import NetDmaMock
import NetDmaVFIO
import Testing

@Suite("Model: DMACOUNT")
struct ModelCountTests {
  @Test("the count is absolute and wraps at 65536: 200000 descriptors on a ring of 1024")
  func wrap() throws {
    let bench = try ModelBench()
    for index in 0..<ModelBench.slots { bench.smallCopy(index) }
    bench.put(ModelBench.pattern(4096), at: ModelBench.page(2))
    bench.start(control: 0x0c)
    var head = 0
    let total = 200_000
    while head < total {
      head = min(total, head + 1000)
      bench.ring(head)
      bench.wait("descriptor \(head)") {
        bench.word == ModelBench.slot(head - 1) | State.idle
      }
    }
    #expect(bench.read(0x06, 2) == UInt64(total & 0xffff))
    #expect(bench.model.statistics.channels[0].descriptors == UInt64(total))
    #expect(bench.model.statistics.channels[0].bytes == UInt64(total * 64))
    #expect(bench.bytes(ModelBench.page(3), 4096) == ModelBench.pattern(4096))
  }

  @Test("65535 descriptors can be outstanding")
  func most() throws {
    let bench = try ModelBench()
    for index in 0..<ModelBench.slots { bench.smallCopy(index, control: 0) }
    bench.start(control: 0x0c)
    bench.ring(65535)
    bench.waitForState(State.idle)
    #expect(bench.model.statistics.channels[0].descriptors == 65535)
    bench.ring(65536)
    bench.wait("one more") { bench.model.statistics.channels[0].descriptors == 65536 }
    bench.waitForState(State.idle)
    #expect(bench.status() == ModelBench.slot(65535) | State.idle)
  }

  @Test("counting starts from zero with each CHAINADDR and each RESET")
  func restart() throws {
    let bench = try ModelBench()
    for index in 0..<16 { bench.smallCopy(index) }
    bench.start()
    bench.ring(5)
    bench.waitForState(State.idle)
    bench.command(Command.reset)
    bench.write(0x10, 8, ModelBench.slot(8))
    bench.ring(3)
    bench.waitForState(State.idle)
    #expect(bench.status() == ModelBench.slot(10) | State.idle)
    bench.command(Command.suspend)
    bench.write(0x10, 8, ModelBench.slot(2))
    bench.ring(1)
    bench.waitForState(State.idle)
    #expect(bench.status() == ModelBench.slot(2) | State.idle)
  }

  @Test("a count written byte by byte rings with each byte")
  func bytes() throws {
    let bench = try ModelBench()
    for index in 0..<ModelBench.slots { bench.smallCopy(index, control: 0) }
    bench.start(control: 0x0c)
    bench.write(0x06, 1, 0x02)
    bench.waitForState(State.idle)
    #expect(bench.status() == ModelBench.slot(1) | State.idle)
    bench.write(0x07, 1, 0x01)
    bench.wait("258 descriptors") { bench.model.statistics.channels[0].descriptors == 258 }
    #expect(bench.read(0x06, 2) == 0x0102)
  }

  @Test("the chain need not lie side by side: each next leads, across pages and backwards")
  func scattered() throws {
    let bench = try ModelBench()
    // Slots 0, 7, 14 ... modulo 1024 visit all slots, since 7 and 1024 have no common factor.
    for index in 0..<ModelBench.slots {
      bench.smallCopy(index, control: 0)
      bench.store(ModelBench.slot((index + 7) % 1024), to: ModelBench.slot(index) + 24)
    }
    bench.start(control: 0x0c)
    bench.ring(3000)
    bench.waitForState(State.idle)
    #expect(bench.status() == ModelBench.slot(2999 * 7 % 1024) | State.idle)
  }

  @Test("nothing behind the count is read, not even ahead of time")
  func noReadBeyond() throws {
    let bench = try ModelBench()
    // The last slot of mapped memory is the last valid one; its neighbour is not mapped.
    let last = ModelBench.base + UInt64(bench.size) - 64
    let words: [UInt64] = [
      64 | 8 << 32, ModelBench.page(2), ModelBench.page(3), last + 64, 0, 0, 0, 0,
    ]
    for (position, word) in words.enumerated() {
      bench.store(word, to: last + UInt64(position * 8))
    }
    bench.start(chain: last)
    bench.ring(1)
    bench.waitForState(State.idle)
    #expect(bench.word == last | State.idle)
  }

  @Test("completion is asynchronous: no doorbell write returns with its work done")
  func asynchronous() throws {
    let bench = try ModelBench()
    for index in 0..<64 { bench.smallCopy(index) }
    bench.start()
    for count in 1...50 {
      // The gate keeps the engine's thread from finishing; the doorbell must return nevertheless.
      bench.bus.close(at: ModelBench.page(2) + UInt64((count - 1) * 64))
      bench.ring(count)
      #expect(bench.state() == State.active)
      bench.bus.open()
      bench.waitForState(State.idle)
    }
  }

  @Test("nothing happens without a doorbell")
  func noDoorbell() throws {
    let bench = try ModelBench()
    for index in 0..<4 { bench.smallCopy(index) }
    let before = bench.bus.accessCount
    bench.start()
    // A second channel's work passes meanwhile, so that engine threads had their chance.
    let other = try ModelBench()
    other.smallCopy(0)
    other.start()
    other.ring(1)
    other.waitForState(State.idle)
    #expect(bench.bus.accessCount == before)
    #expect(bench.status() == State.armed)
    #expect(bench.word == 0)
  }
}

// SPDX-License-Identifier: Apache-2.0

import NetDmaMock
import NetDmaVFIO
import Testing

/// What DPDK's driver does, access by access, written from a description of it.
@Suite("Model: register sequences of DPDK")
struct ModelDPDKTests {
  private struct DPDK {
    let bench: ModelBench
    var offset = 0
    var nextWrite = 0
    var nextRead = 0
    var failures: [Int] = []
    var successes: [Int] = []

    init(_ bench: ModelBench) { self.bench = bench }

    /// Ring slots of the driver; a power of two below the bench's.
    static let slots = 512

    func address(_ index: Int) -> UInt64 { ModelBench.base + UInt64(index % Self.slots * 64) }

    func probe() {
      if bench.read(0x00, 2) & 0x100 != 0 { bench.write(0x00, 2, 0) }
      bench.command(Command.suspend)
      bench.write(0x28, 4, bench.error())
      bench.command(Command.reset)
      bench.wait("the reset") {
        if bench.read(0x04, 1) & Command.reset == 0 { return true }
        bench.write(0x10, 8, 0)
        return false
      }
      #expect(bench.error() == 0)
    }

    mutating func start() {
      bench.write(0x10, 8, address(nextWrite))
      bench.write(0x18, 8, ModelBench.completion)
      bench.write(0x00, 2, 0x0c)
      offset = nextWrite
      nextRead = nextWrite
      bench.store(address(nextWrite + Self.slots - 1), to: ModelBench.completion)
      #expect(bench.state() != State.halted)
    }

    mutating func enqueue(
      source: UInt64, destination: UInt64, size: UInt32 = 64, fence: Bool = false
    ) {
      // The fence belongs to the operation before.
      if fence {
        let previous = address(nextWrite + Self.slots - 1)
        bench.store(bench.load(previous) | 0x10 << 32, to: previous)
      }
      let slot = bench.pointer(address(nextWrite)).assumingMemoryBound(to: UInt64.self)
      slot[0] = UInt64(size) | 8 << 32
      slot[1] = source
      slot[2] = destination
      slot[3] = address(nextWrite + 1)
      nextWrite += 1
    }

    func submit() { bench.ring(nextWrite - offset) }

    /// One look at the completion word; recovers when it says HALTED.
    mutating func poll() {
      let word = bench.word
      let last: Int
      if word & ~0x3f == 0 {
        last = offset - 1
      } else {
        let slot = Int((word & ~0x3f) - ModelBench.base) / 64
        last = nextRead + (slot - nextRead % Self.slots + Self.slots) % Self.slots
      }
      if last < nextRead + Self.slots - 1, last >= nextRead, last < nextWrite {
        successes += Array(nextRead...last)
        nextRead = last + 1
      }
      if word & 7 == State.halted { recover() }
    }

    mutating func recover() {
      let error = bench.error()
      #expect(error.nonzeroBitCount == 1)
      failures.append(nextRead)
      nextRead += 1
      bench.write(0x28, 4, error)
      bench.command(Command.reset)
      bench.write(0x10, 8, address(nextRead))
      bench.write(0x00, 2, 0x0c)
      bench.write(0x18, 8, ModelBench.completion)
      #expect(bench.status() == 4, "exactly ARMED, at once")
      offset = nextRead
      bench.store(address(nextRead - 1), to: ModelBench.completion)
      bench.ring(nextWrite - offset)
    }

    mutating func drain() {
      bench.wait("every operation") {
        poll()
        return nextRead == nextWrite
      }
    }

    /// Waits until the word names the last slot: what the driver calls idle.
    func waitIdle() {
      bench.wait("an idle word") { bench.word & ~0x3f == address(nextWrite + Self.slots - 1) }
    }

    mutating func stop() {
      let state = bench.state()
      bench.command(
        state == State.active || state == State.idle ? Command.suspend : Command.reset)
      bench.wait("the stop") {
        let state = bench.state()
        return state == State.suspended || state == State.halted
      }
    }
  }

  @Test("DPDK: probe, start and stop in every order; job ids go on without RESET")
  func dpdkStartStop() throws {
    let bench = try ModelBench(ModelConfiguration(cbVersion: 0x34, timing: .skylake))
    bench.model.install(FaultPlan(inUseAtStart: true))
    var driver = DPDK(bench)
    driver.probe()
    driver.start()
    driver.stop()
    driver.start()
    #expect(bench.status() == 4)
    for _ in 0..<3 {
      driver.enqueue(source: ModelBench.page(40), destination: ModelBench.page(41))
      driver.submit()
      driver.drain()
      driver.stop()
      #expect(bench.state() == State.suspended)
      driver.start()
      #expect(bench.status() == 4, "started from SUSPENDED without RESET")
    }
    driver.stop()
    #expect(bench.state() == State.halted, "nothing submitted: ARMED, so RESET")
    #expect(driver.successes == [0, 1, 2])
  }

  @Test("DPDK: bursts of 1, 4 and 32 copies, past 65536 descriptors on a ring of 512")
  func dpdkBursts() throws {
    let bench = try ModelBench(ModelConfiguration(cbVersion: 0x34, timing: .fast))
    bench.put(ModelBench.pattern(2048), at: ModelBench.page(40))
    var driver = DPDK(bench)
    driver.probe()
    driver.start()
    for round in 0..<5400 {
      for _ in 0..<[1, 4, 32][round % 3] {
        driver.enqueue(
          source: ModelBench.page(40), destination: ModelBench.page(41 + driver.nextWrite % 32),
          size: 2048)
      }
      driver.submit()
      driver.drain()
      driver.waitIdle()
    }
    #expect(driver.successes.count == 5400 / 3 * 37)
    #expect(driver.nextWrite > 65536)
    #expect(bench.bytes(ModelBench.page(50), 2048) == ModelBench.pattern(2048))
    #expect(driver.failures.isEmpty)
  }

  @Test(
    "DPDK: single and multiple failures in a burst of 16, with and without a fence",
    arguments: [[0], [7], [14], [15], [0, 7], [0, 1], [14, 15], [0, 7, 14, 15], Array(0..<16)],
    [false, true])
  func dpdkErrors(failing: [Int], fence: Bool) throws {
    let bench = try ModelBench(ModelConfiguration(cbVersion: 0x34, timing: .skylake))
    var driver = DPDK(bench)
    driver.probe()
    driver.start()
    for round in 0..<4 {
      let first = driver.nextWrite
      driver.failures = []
      driver.successes = []
      for index in 0..<16 {
        driver.enqueue(
          source: failing.contains(index) ? 0 : ModelBench.page(40),
          destination: ModelBench.page(41 + index), fence: fence && index == 8)
      }
      driver.submit()
      driver.drain()
      driver.waitIdle()
      #expect(driver.failures.map { $0 - first } == failing, "round \(round)")
      #expect(
        driver.successes.map { $0 - first } == (0..<16).filter { !failing.contains($0) })
    }
  }

  @Test("DPDK: nothing is done between enqueue and submit")
  func dpdkNoDoorbell() throws {
    let bench = try ModelBench(ModelConfiguration(cbVersion: 0x34, timing: .fast))
    var driver = DPDK(bench)
    driver.probe()
    driver.start()
    driver.enqueue(source: ModelBench.page(40), destination: ModelBench.page(41))
    let accesses = bench.bus.accessCount
    driver.poll()
    #expect(driver.successes.isEmpty)
    #expect(bench.bus.accessCount == accesses)
    driver.submit()
    driver.drain()
  }

  @Test("DPDK: with the default timing the first completion comes no sooner than the start delay")
  func dpdkStartDelay() throws {
    let bench = try ModelBench(ModelConfiguration(cbVersion: 0x34, timing: .skylake))
    var driver = DPDK(bench)
    driver.probe()
    driver.start()
    for _ in 0..<20 {
      driver.enqueue(source: ModelBench.page(40), destination: ModelBench.page(41))
      let before = Deadline.now()
      driver.submit()
      bench.wait("the completion") {
        bench.word & 7 == State.idle && bench.word & ~0x3f == driver.address(driver.nextWrite - 1)
      }
      // A lower bound only: it cannot fail for lack of time.
      #expect(Deadline.now() - before >= 40_000)
      driver.drain()
    }
  }
}

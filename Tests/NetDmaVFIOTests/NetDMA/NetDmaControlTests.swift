// SPDX-License-Identifier: Apache-2.0

import NetDmaMock
import NetDmaVFIO
import TestSupport
import Testing

/// Suspend, resume, abort, reset, stop and power on the model, by what memory holds afterwards.
struct NetDmaControlTests {
  typealias Stop = NetDmaStopTests.Stop
  private static let modes = [NetDmaCompletionMode.polled, .interrupt]

  /// Each descriptor takes 3 ms, so that what comes in between comes in between.
  private static func slow(_ bench: IOATBench) {
    let target = bench.memory.targetIOVA
    bench.model.install(
      FaultPlan(
        rules: [.init(.slow(nanoseconds: 3_000_000), on: .destination(target...target + 0xf_ffff))]
      ))
  }

  /// The copy of piece `index` never ends.
  private static func hang(_ bench: IOATBench, _ index: Int, limit: Int? = nil) {
    let address = bench.memory.targetIOVA + UInt64(IOATBench.piece(index).lowerBound)
    bench.model.install(
      FaultPlan(rules: [.init(.hang, on: .destination(address...address), limit: limit)]))
  }

  /// Waits for `count` ends of operations, by polling or by the log.
  private func ends(
    _ channel: inout NetDmaChannel, _ bench: IOATBench, _ mode: NetDmaCompletionMode, _ count: Int,
    after before: Int = 0
  ) throws -> [DMACompletion] {
    mode == .polled
      ? try pollAll(&channel, count)
      : Array(bench.log.wait(for: before + count).dropFirst(before))
  }

  // MARK: - SuspendDma and ResumeDma

  @Test(
    "suspended in a burst, memory holds exactly what was reported as finished; resumed, all of it",
    arguments: modes)
  func suspendInABurst(mode: NetDmaCompletionMode) throws {
    let bench = try IOATBench()
    var channel = try bench.open(mode)
    // The only descriptor so far, the proof of life, is the last one finished: slot 0.
    let base = try bench.interface.suspendDma(channel.handle)
    try bench.interface.resumeDma(channel.handle)
    Self.slow(bench)
    try channel.submitCopies(0..<30, bench.memory)
    eventually("the burst's beginning") { bench.model.statistics.channels[0].descriptors > 3 }
    let last = try bench.interface.suspendDma(channel.handle)
    let finished = last == 0 ? 0 : Int(last - base) / 64
    #expect((1..<30).contains(finished))
    func copied() -> [Bool] { (0..<30).map { bench.memory.matches(IOATBench.piece($0)) } }
    let expected = (0..<30).map { $0 < finished }
    #expect(copied() == expected)
    // It stands still, and what is submitted meanwhile waits.
    try channel.submitCopies(30..<31, bench.memory)
    _ = Signal().wait(for: .milliseconds(30))
    #expect(copied() == expected && bench.memory.isZero(IOATBench.piece(30)))
    try bench.interface.resumeDma(channel.handle)
    let ended = try ends(&channel, bench, mode, 31)
    #expect(ended.map(\.token) == (0..<31).map(UInt64.init))
    #expect(ended.allSatisfy { $0.error == nil })
    #expect((0..<31).allSatisfy { bench.memory.matches(IOATBench.piece($0)) })
    #expect(channel.statistics.resets == 0)
  }

  @Test("suspend and resume over and over lose nothing and end nothing twice", arguments: modes)
  func suspendOften(mode: NetDmaCompletionMode) throws {
    let bench = try IOATBench()
    var channel = try bench.open(mode)
    var ended: [DMACompletion] = []
    for round in 0..<50 {
      try channel.submitCopies(round * 4..<round * 4 + 4, bench.memory)
      try bench.interface.suspendDma(channel.handle)
      try bench.interface.resumeDma(channel.handle)
      if round % 10 == 9 {
        ended += try ends(&channel, bench, mode, 40, after: ended.count)
      }
    }
    #expect(ended.map(\.token) == (0..<200).map(UInt64.init))
    #expect(ended.allSatisfy { $0.error == nil })
    #expect((0..<200).allSatisfy { bench.memory.matches(IOATBench.piece($0)) })
  }

  @Test("a suspended channel is no stall for the watchdog", arguments: modes)
  func watchdogLeavesSuspended(mode: NetDmaCompletionMode) throws {
    let bench = try IOATBench(watchdog: .milliseconds(20))
    var channel = try bench.open(mode)
    try bench.interface.suspendDma(channel.handle)
    try channel.submitCopies(0..<3, bench.memory)
    // Several of its times.
    let until = Deadline(after: .milliseconds(800))
    while !until.hasPassed {
      if mode == .polled { _ = try channel.poll() }
    }
    #expect(channel.statistics.resets == 0)
    #expect((0..<3).allSatisfy { bench.memory.isZero(IOATBench.piece($0)) })
    try bench.interface.resumeDma(channel.handle)
    let ended = try ends(&channel, bench, mode, 3)
    #expect(ended.map(\.token) == [0, 1, 2] && ended.allSatisfy { $0.error == nil })
  }

  // MARK: - AbortDma and ResetChannel

  @Test(
    "after an abort or reset the old chain touches nothing, and the channel starts anew",
    arguments: modes, Stop.allCases)
  func stopAtOnce(mode: NetDmaCompletionMode, stop: Stop) throws {
    let bench = try IOATBench(watchdog: .seconds(3600))
    var channel = try bench.open(mode)
    Self.hang(bench, 5)
    for index in 0..<10 { try channel.submitCopies(index..<index + 1, bench.memory) }
    eventually("the sixth copy") {
      bench.model.statistics.channels[0].injectedFaults == 1
    }
    try stop.call(bench.interface, channel.handle)
    let ended = try ends(&channel, bench, mode, 10)
    #expect(Set(ended.map(\.token)) == Set(0..<10))
    #expect(ended.filter { $0.error != nil }.map(\.token) == [5, 6, 7, 8, 9])
    for completion in ended.filter({ $0.error != nil }) {
      guard case .aborted = completion.error else {
        Issue.record("\(completion)")
        continue
      }
    }
    #expect((0..<5).allSatisfy { bench.memory.matches(IOATBench.piece($0)) })
    // The memory of the aborted copies belongs to the client again.
    bench.model.install(.none)
    let mark = [UInt8](repeating: 0xa5, count: 64)
    for index in 5..<10 {
      bench.memory.setTarget(mark, at: IOATBench.piece(index).lowerBound)
    }
    // Ready for a start: new work runs, old work does not come back.
    for index in 20..<40 { try channel.submitCopies(index..<index + 1, bench.memory) }
    let next = try ends(&channel, bench, mode, 20, after: 10)
    #expect(next.map(\.token) == (20..<40).map(UInt64.init))
    #expect(next.allSatisfy { $0.error == nil })
    #expect((20..<40).allSatisfy { bench.memory.matches(IOATBench.piece($0)) })
    for index in 5..<10 { #expect(bench.memory.targetBytes(IOATBench.piece(index)) == mark) }
    #expect(channel.statistics.completed == 25 && channel.statistics.failed == 5)
  }

  @Test("what was only enqueued survives an abort or reset", arguments: modes, Stop.allCases)
  func enqueuedSurvives(mode: NetDmaCompletionMode, stop: Stop) throws {
    let bench = try IOATBench()
    var channel = try bench.open(mode)
    let range = IOATBench.piece(0)
    let sent = channel.enqueueCopy(
      from: bench.memory.source(range), to: bench.memory.target(range), token: 0)
    #expect(sent)
    try stop.call(bench.interface, channel.handle)
    try channel.submitCopies(1..<2, bench.memory)
    let ended = try ends(&channel, bench, mode, 2)
    #expect(ended.map(\.token) == [0, 1] && ended.allSatisfy { $0.error == nil })
    #expect((0..<2).allSatisfy { bench.memory.matches(IOATBench.piece($0)) })
  }

  // MARK: - NetDmaProviderStop

  @Test("a stop waits for what is outstanding, to the last byte", arguments: modes)
  func stopDrains(mode: NetDmaCompletionMode) throws {
    let bench = try IOATBench()
    var channel = try bench.open(mode)
    Self.slow(bench)
    try channel.submitCopies(0..<30, bench.memory)
    try bench.interface.stopProvider(bench.handle)
    #expect((0..<30).allSatisfy { bench.memory.matches(IOATBench.piece($0)) })
    let ended = try ends(&channel, bench, mode, 30)
    #expect(ended.map(\.token) == (0..<30).map(UInt64.init))
    #expect(ended.allSatisfy { $0.error == nil })
  }

  @Test(
    "after its deadline a stop aborts what is left, tells it, and the memory is not touched again",
    arguments: modes)
  func stopAborts(mode: NetDmaCompletionMode) throws {
    let bench = try IOATBench(watchdog: .seconds(3600), drain: .milliseconds(50))
    var channel = try bench.open(mode)
    Self.hang(bench, 2)
    for index in 0..<5 { try channel.submitCopies(index..<index + 1, bench.memory) }
    eventually("the third copy") { bench.model.statistics.channels[0].injectedFaults == 1 }
    #expect(
      throws: NetDmaError.drainTimedOut(provider: "mock", aborted: 3, milliseconds: 50)
    ) { try bench.interface.stopProvider(bench.handle) }
    let ended = try ends(&channel, bench, mode, 5)
    #expect(ended.map(\.token).sorted() == [0, 1, 2, 3, 4])
    #expect(ended.filter { $0.error != nil }.map(\.token) == [2, 3, 4])
    bench.model.install(.none)
    #expect((0..<2).allSatisfy { bench.memory.matches(IOATBench.piece($0)) })
    // It is stopped all the same, and starts again with the memory as it was left.
    try bench.interface.startProvider(bench.handle, attributes: bench.provider.attributes)
    var next = try bench.open(mode)
    try next.submitCopies(10..<12, bench.memory)
    let last = try ends(&next, bench, mode, 2, after: 5)
    #expect(last.map(\.token) == [10, 11] && last.allSatisfy { $0.error == nil })
    #expect((2..<5).allSatisfy { bench.memory.isZero(IOATBench.piece($0)) })
  }

  @Test("what waits on a suspended channel is aborted by a stop, and never begun", arguments: modes)
  func stopOfSuspended(mode: NetDmaCompletionMode) throws {
    let bench = try IOATBench(drain: .seconds(30))
    var channel = try bench.open(mode)
    try bench.interface.suspendDma(channel.handle)
    try channel.submitCopies(0..<3, bench.memory)
    #expect(
      throws: NetDmaError.drainTimedOut(provider: "mock", aborted: 3, milliseconds: 30_000)
    ) { try bench.interface.stopProvider(bench.handle) }
    let ended = try ends(&channel, bench, mode, 3)
    #expect(ended.map(\.token) == [0, 1, 2] && ended.allSatisfy { $0.error != nil })
    #expect((0..<3).allSatisfy { bench.memory.isZero(IOATBench.piece($0)) })
  }

  @Test("freeing a channel waits for its copies too", arguments: modes)
  func freeDrains(mode: NetDmaCompletionMode) throws {
    let bench = try IOATBench()
    var channel = try bench.open(mode)
    Self.slow(bench)
    try channel.submitCopies(0..<20, bench.memory)
    end(channel)
    #expect((0..<20).allSatisfy { bench.memory.matches(IOATBench.piece($0)) })
    if mode == .interrupt { #expect(bench.log.tokens == (0..<20).map(UInt64.init)) }
    #expect(bench.log.failures.isEmpty)
  }

  // MARK: - Power

  @Test(
    "without power operations wait and no register is touched; with it everything goes on",
    arguments: modes)
  func power(mode: NetDmaCompletionMode) throws {
    let bench = try IOATBench(watchdog: .milliseconds(20))
    var channel = try bench.open(mode)
    Self.slow(bench)
    try channel.submitCopies(0..<20, bench.memory)
    eventually("the burst's beginning") { bench.model.statistics.channels[0].descriptors > 3 }
    try bench.provider.powerDown()
    let before = (0..<20).map { bench.memory.matches(IOATBench.piece($0)) }
    try channel.submitCopies(20..<25, bench.memory)
    // Late interrupts, and the watchdog's time several times over.
    try bench.transport.triggerInterrupt(.msix, vector: 0)
    let until = Deadline(after: .milliseconds(800))
    while !until.hasPassed {
      // Polled, the first calls tell what had ended.
      if mode == .polled, channel.statistics.failed > 0 { _ = try channel.poll() }
    }
    #expect((0..<20).map { bench.memory.matches(IOATBench.piece($0)) } == before)
    #expect((20..<25).allSatisfy { bench.memory.isZero(IOATBench.piece($0)) })
    #expect(bench.transport.accessesWithoutPower == 0)
    bench.model.install(.none)
    try bench.provider.powerUp()
    let ended = try ends(&channel, bench, mode, 25)
    #expect(ended.map(\.token) == (0..<25).map(UInt64.init))
    #expect(ended.allSatisfy { $0.error == nil })
    #expect((0..<25).allSatisfy { bench.memory.matches(IOATBench.piece($0)) })
    let interrupts = channel.statistics.interrupts
    try channel.submitCopies(30..<31, bench.memory)
    let last = try ends(&channel, bench, mode, 1, after: 25)
    #expect(last.map(\.token) == [30])
    if mode == .interrupt {
      eventually("an interrupt after the power-up") { channel.statistics.interrupts > interrupts }
    }
    #expect(bench.transport.accessesWithoutPower == 0)
  }

  @Test("a poller without power finds nothing, and touches no register")
  func pollWithoutPower() throws {
    let bench = try IOATBench(watchdog: .milliseconds(20))
    var channel = try bench.open(.polled)
    try bench.provider.powerDown()
    try channel.submitCopies(0..<3, bench.memory)
    let until = Deadline(after: .milliseconds(800))
    while !until.hasPassed {
      let result = try channel.poll()
      #expect(result.completed == 0 && result.failed == 0)
    }
    #expect(bench.transport.accessesWithoutPower == 0)
    try bench.provider.powerUp()
    #expect(try pollAll(&channel, 3).map(\.token) == [0, 1, 2])
  }

  @Test("freeing a channel and stopping the provider without power touch no register")
  func stopWithoutPower() throws {
    let bench = try IOATBench(ModelConfiguration(channelCount: 2, timing: .fast))
    var first = try bench.open()
    let second = try bench.open(.polled)
    try bench.provider.powerDown()
    try first.submitCopies(0..<2, bench.memory)
    end(second)
    // The engine cannot finish what waits, so it is aborted at once.
    #expect(throws: NetDmaError.self) { try bench.interface.stopProvider(bench.handle) }
    #expect(bench.log.wait(for: 2).allSatisfy { $0.error != nil })
    bench.provider.stop()
    #expect(bench.transport.accessesWithoutPower == 0)
    // All of it can be had again.
    try bench.provider.start(as: bench.handle)
    try bench.interface.startProvider(bench.handle, attributes: bench.provider.attributes)
    var again = try bench.open(.polled)
    try again.submitCopies(5..<6, bench.memory)
    #expect(try pollAll(&again, 1).map(\.token) == [5])
    #expect(bench.memory.matches(IOATBench.piece(5)))
  }

  @Test("power-up without a power-down is refused and changes nothing")
  func powerUpUnasked() throws {
    let bench = try IOATBench()
    var channel = try bench.open()
    #expect(throws: NetDmaError.wrongState(call: "NetDmaPnPEventNotify", state: "started")) {
      try bench.provider.powerUp()
    }
    try bench.provider.powerDown()
    #expect(throws: NetDmaError.self) { try bench.provider.powerDown() }
    try bench.provider.powerUp()
    try channel.submitCopies(0..<1, bench.memory)
    #expect(bench.log.wait(for: 1).map(\.token) == [0])
  }
}

// SPDX-License-Identifier: Apache-2.0

import NetDmaMock
import NetDmaVFIO
import Testing

/// The watchdog's stages, each logged once, with the channel's registers.
struct NetDmaWatchdogTests {
  private static func hang(_ bench: IOATBench, limit: Int?) {
    let address = bench.memory.targetIOVA + UInt64(IOATBench.piece(1).lowerBound)
    bench.model.install(
      FaultPlan(rules: [.init(.hang, on: .destination(address...address), limit: limit)]))
  }

  private func recoveries(_ lines: LogLines) -> [String] {
    lines.all.filter { $0.hasPrefix("channel recovery") }
  }

  @Test("first stage: the channel is reset, and the operation gets its second chance")
  func channelReset() throws {
    let lines = LogLines()
    let bench = try IOATBench(watchdog: .milliseconds(100), logger: lines.logger)
    var channel = try bench.open()
    Self.hang(bench, limit: 1)
    try channel.submitCopies(0..<4, bench.memory)
    #expect(bench.log.wait(for: 4).map(\.token) == [0, 1, 2, 3])
    #expect(bench.log.failures.isEmpty)
    #expect((0..<4).allSatisfy { bench.memory.matches(IOATBench.piece($0)) })
    #expect(channel.statistics.resets == 1)
    let logged = recoveries(lines)
    #expect(logged.count == 1)
    #expect(logged.first?.contains("action=channel reset") == true)
    #expect(logged.first?.contains("registers=") == true)
  }

  @Test("what was slow may end while the device reset is prepared; none fails that had no chance")
  func slow() throws {
    let bench = try EngineBench(options: EngineBench.options(watchdog: .milliseconds(60)))
    var channel = try bench.open(.polled)
    let source = bench.memory.source(IOATBench.piece(0)).iova
    bench.model.install(
      FaultPlan(
        rules: [.init(.slow(nanoseconds: 120_000_000), on: .source(source...source + 63))]))
    try channel.submitCopies(0..<3, bench.memory)
    var done: [UInt64] = []
    var failed: [UInt64] = []
    while done.count + failed.count < 3 {
      let result = try channel.poll { done.append($0) }
      if result.failed > 0 { failed += channel.takeFailures().map(\.token) }
    }
    #expect(failed.allSatisfy { $0 == 0 })
    #expect(done.suffix(2) == [1, 2])
    #expect((1..<3).allSatisfy { bench.memory.matches(IOATBench.piece($0)) })
  }

  @Test("second stage: the device is reset, the operation fails as timed out, the others go on")
  func deviceReset() throws {
    let lines = LogLines()
    let bench = try IOATBench(
      ModelConfiguration(channelCount: 2, timing: .fast), watchdog: .milliseconds(100),
      logger: lines.logger)
    var channel = try bench.open()
    var neighbour = try bench.open()
    Self.hang(bench, limit: 2)
    try channel.submitCopies(0..<4, bench.memory)
    try neighbour.submitCopies(100..<104, bench.memory)
    let ended = bench.log.wait(for: 8)
    #expect(Set(ended.map(\.token)) == [0, 1, 2, 3, 100, 101, 102, 103])
    #expect(bench.log.failures.map(\.token) == [1])
    guard case .timedOut(_, milliseconds: 100) = bench.log.failures.first?.error else {
      Issue.record("\(bench.log.failures)")
      return
    }
    for index in [0, 2, 3, 100, 101, 102, 103] {
      #expect(bench.memory.matches(IOATBench.piece(index)))
    }
    let actions = recoveries(lines)
    #expect(actions.count == 2)
    #expect(actions.first?.contains("action=channel reset") == true)
    #expect(actions.last?.contains("action=device reset") == true)
    #expect(lines.all.filter { $0.hasPrefix("device reset") }.count == 1)
    // Both channels work, and so do their interrupts.
    let interrupts = channel.statistics.interrupts
    try channel.submitCopies(10..<11, bench.memory)
    try neighbour.submitCopies(110..<111, bench.memory)
    #expect(Set(bench.log.wait(for: 10).suffix(2).map(\.token)) == [10, 110])
    eventually("an interrupt after the device's reset") {
      channel.statistics.interrupts > interrupts
    }
  }

  @Test(
    "third stage: what a device reset does not help fails the provider, with every operation",
    .timeLimit(.minutes(5)))
  func providerFails() async throws {
    let lines = LogLines()
    let bench = try IOATBench(watchdog: .milliseconds(100), logger: lines.logger)
    let stream = bench.interface.pnpNotifications()
    var channel = try bench.open()
    bench.model.install(FaultPlan(rules: [.init(.hang, on: .probability(1))]))
    for index in 0..<4 { try channel.submitCopies(index..<index + 1, bench.memory) }
    var codes: [NetDmaPnPNotificationCode] = []
    for await notification in stream {
      codes.append(notification.code)
      if notification.code == .providerRemoval {
        guard case .hardware(.deviceDead) = notification.failure else {
          Issue.record("\(notification)")
          return
        }
        break
      }
    }
    #expect(
      codes == [.providerRegistered, .providerArrival, .channelArrival, .providerRemoval])
    #expect(bench.log.wait(for: 4).map(\.token) == [0, 1, 2, 3])
    #expect(bench.log.failures.count == 4)
    let actions = recoveries(lines)
    #expect(actions.count == 3)
    #expect(actions.last?.contains("action=provider failed") == true)
    #expect(lines.all.filter { $0.hasPrefix("provider failed") }.count == 1)
  }

  @Test("where the device cannot be reset the provider fails at that stage")
  func deviceResetFails() throws {
    let bench = try IOATBench(watchdog: .milliseconds(100))
    var channel = try bench.open()
    Self.hang(bench, limit: nil)
    bench.transport.failNextResets(100)
    try channel.submitCopies(0..<4, bench.memory)
    let ended = bench.log.wait(for: 4)
    #expect(Set(ended.map(\.token)) == [0, 1, 2, 3])
    #expect(bench.log.failures.map(\.token) == [1, 2, 3])
    let refusal = channel.submitRefusal()
    guard case .hardware(.transport(.system)) = refusal else {
      Issue.record("\(String(describing: refusal))")
      return
    }
  }

  @Test(
    "a watchdog of no time or less counts as the shortest",
    arguments: [Duration.zero, .seconds(-1)])
  func shortest(watchdog: Duration) throws {
    let bench = try IOATBench(watchdog: watchdog)
    var channel = try bench.open(.polled)
    Self.hang(bench, limit: nil)
    try channel.submitCopies(1..<2, bench.memory)
    let ended = try pollAll(&channel, 1)
    guard case .timedOut(_, milliseconds: 1) = ended.first?.error else {
      Issue.record("\(ended)")
      return
    }
  }
}

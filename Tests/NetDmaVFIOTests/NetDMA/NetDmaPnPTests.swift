// SPDX-License-Identifier: Apache-2.0

import Glibc
import NetDmaMock
import NetDmaVFIO
import Synchronization
import TestSupport
import Testing

/// NetDmaPnPEventNotify and what clients hear.
@Suite(.timeLimit(.minutes(5)))
struct NetDmaPnPTests {
  typealias Code = NetDmaPnPNotificationCode

  /// The next `count` notifications.
  private func take(
    _ count: Int, _ stream: AsyncStream<NetDmaPnPNotification>
  ) async -> [NetDmaPnPNotification] {
    var result: [NetDmaPnPNotification] = []
    for await notification in stream {
      result.append(notification)
      if result.count == count { break }
    }
    return result
  }

  @Test("the notification codes have the numbers of netdma.h")
  func codes() {
    let inOrder: [Code] = [
      .providerRegistered, .providerArrival, .providerRemoval, .channelArrival,
      .providerPowerDown, .providerPowerUp,
    ]
    #expect(inOrder.map(\.rawValue) == [0, 1, 2, 3, 4, 5])
    #expect(Code.allCases == inOrder)
    #expect(NetDmaPnPNotification.structureRevision == 1)
  }

  @Test("clients hear of a provider's life in the order in which it happens")
  func order() async throws {
    let bench = try ProviderBench(channels: 3)
    let stream = bench.interface.pnpNotifications()
    let handle = try bench.register()
    try bench.interface.startProvider(handle, attributes: bench.attributes(channels: 2))
    try bench.interface.notifyPnPEvent(handle, .providerPowerDown)
    try bench.interface.notifyPnPEvent(handle, .providerPowerUp)
    try bench.interface.stopProvider(handle)
    try bench.interface.startProvider(handle, attributes: bench.attributes(channels: 3))
    let heard = await take(8, stream)
    #expect(
      heard.map(\.code) == [
        .providerRegistered, .providerArrival, .channelArrival, .providerPowerDown,
        .providerPowerUp, .providerRemoval, .providerArrival, .channelArrival,
      ])
    #expect(heard.map(\.channelCount) == [0, 0, 2, 0, 0, 0, 0, 3])
    #expect(
      heard.allSatisfy {
        $0.provider == handle && $0.providerName == "recording" && $0.failure == nil
      })
  }

  @Test("every client hears everything, and one that comes late what it missed and must know")
  func lateSubscriber() async throws {
    let bench = try ProviderBench(channels: 2)
    let early = bench.interface.pnpNotifications()
    let first = try bench.start()
    let second = try bench.register()
    let late = bench.interface.pnpNotifications()
    try bench.interface.notifyPnPEvent(first, .providerPowerDown)
    let later = bench.interface.pnpNotifications()
    try bench.interface.stopProvider(first)
    let last = bench.interface.pnpNotifications()
    try bench.interface.deregisterProvider(first)
    let afterwards = bench.interface.pnpNotifications()
    try bench.interface.startProvider(second, attributes: bench.attributes(channels: 1))

    let arrival: [Code] = [.providerRegistered, .providerArrival, .channelArrival]
    let life: [Code] =
      arrival + [.providerRegistered, .providerPowerDown, .providerRemoval]
      + [.providerArrival, .channelArrival]
    #expect(await take(8, early).map(\.code) == life)
    #expect(await take(8, late).map(\.code) == life)
    // History is by provider, events are by time.
    #expect(
      await take(8, later).map(\.code)
        == arrival + [.providerPowerDown, .providerRegistered, .providerRemoval]
        + [.providerArrival, .channelArrival])
    let rest = await take(4, last)
    #expect(
      rest.map(\.code)
        == [.providerRegistered, .providerRegistered, .providerArrival, .channelArrival])
    #expect(rest.map(\.provider) == [first, second, second, second])
    #expect(await take(3, afterwards).map(\.code) == arrival)
  }

  @Test("the streams end with the interface")
  func streamsEnd() async throws {
    let stream = try {
      let bench = try ProviderBench()
      _ = try bench.register()
      return bench.interface.pnpNotifications()
    }()
    var codes: [Code] = []
    for await notification in stream { codes.append(notification.code) }
    #expect(codes == [.providerRegistered])
  }

  @Test(
    "codes that the interface itself sends are refused from a provider",
    arguments: [Code.providerRegistered, .providerArrival, .providerRemoval, .channelArrival])
  func foreignCodes(code: Code) async throws {
    let bench = try ProviderBench()
    let handle = try bench.start()
    let stream = bench.interface.pnpNotifications()
    #expect(throws: NetDmaError.self) { try bench.interface.notifyPnPEvent(handle, code) }
    // The next thing that clients hear is the stop.
    try bench.interface.stopProvider(handle)
    #expect(await take(4, stream).last?.code == .providerRemoval)
  }

  @Test("power events in the wrong state are refused and change nothing")
  func wrongPowerStates() throws {
    let bench = try ProviderBench()
    let handle = try bench.register()
    let interface = bench.interface
    #expect(throws: NetDmaError.self) { try interface.notifyPnPEvent(handle, .providerPowerDown) }
    #expect(throws: NetDmaError.self) { try interface.notifyPnPEvent(handle, .providerPowerUp) }
    try interface.startProvider(handle, attributes: bench.attributes())
    #expect(throws: NetDmaError.wrongState(call: "NetDmaPnPEventNotify", state: "started")) {
      try interface.notifyPnPEvent(handle, .providerPowerUp)
    }
    let channel = try bench.open(handle)
    try interface.notifyPnPEvent(handle, .providerPowerDown)
    bench.provider.forgetCalls()
    let state = "powered down"
    #expect(throws: NetDmaError.wrongState(call: "NetDmaPnPEventNotify", state: state)) {
      try interface.notifyPnPEvent(handle, .providerPowerDown)
    }
    #expect(throws: NetDmaError.wrongState(call: "AllocateDmaChannel", state: state)) {
      try bench.openAndEnd(handle)
    }
    #expect(throws: NetDmaError.wrongState(call: "NetDmaProviderStart", state: state)) {
      try interface.startProvider(handle, attributes: bench.attributes())
    }
    #expect(throws: NetDmaError.wrongState(call: "NetDmaDeregisterProvider", state: state)) {
      try interface.deregisterProvider(handle)
    }
    let channelHandle = channel.handle
    #expect(throws: NetDmaError.wrongState(call: "ResetChannel", state: state)) {
      try interface.resetChannel(channelHandle)
    }
    #expect(throws: NetDmaError.wrongState(call: "AbortDma", state: state)) {
      try interface.abortDma(channelHandle)
    }
    #expect(bench.provider.calls.isEmpty)
    try interface.notifyPnPEvent(handle, .providerPowerUp)
  }

  @Test("power down suspends, power up programs anew and starts; operations wait in between")
  func powerCycle() throws {
    let bench = try ProviderBench()
    let handle = try bench.start()
    var channel = try bench.open(handle)
    bench.provider.setRuns(false)
    try channel.submitNulls(0..<4)
    bench.provider.run(0, count: 1)
    bench.provider.forgetCalls()
    try bench.interface.notifyPnPEvent(handle, .providerPowerDown)
    #expect(bench.provider.calls == [.suspend(channel: 0)])
    #expect(bench.log.wait(for: 1).map(\.token) == [0])
    try channel.submitNulls(4..<6)
    #expect(bench.provider.calls == [.suspend(channel: 0)])
    bench.provider.setRuns(true)
    try bench.interface.notifyPnPEvent(handle, .providerPowerUp)
    #expect(bench.provider.callNames == ["suspend", "reset", "start"])
    guard case .start(0, _, 5) = bench.provider.calls.last else {
      Issue.record("\(bench.provider.calls)")
      return
    }
    bench.interface.interruptDpc(channel: channel.handle)
    #expect(bench.log.wait(for: 6).map(\.token) == [0, 1, 2, 3, 4, 5])
    #expect(bench.log.failures.isEmpty)
  }

  @Test("a channel that its client suspended is still suspended after a power cycle")
  func powerCycleOfSuspended() throws {
    let bench = try ProviderBench()
    let handle = try bench.start()
    var channel = try bench.open(handle, mode: .polled)
    try bench.interface.suspendDma(channel.handle)
    try channel.submitNulls(0..<2)
    bench.provider.forgetCalls()
    try bench.interface.notifyPnPEvent(handle, .providerPowerDown)
    try bench.interface.notifyPnPEvent(handle, .providerPowerUp)
    #expect(bench.provider.callNames == ["reset"])
    try bench.interface.resumeDma(channel.handle)
    #expect(bench.provider.callNames == ["reset", "start"])
    #expect(try pollAll(&channel, 2).map(\.token) == [0, 1])
  }

  @Test("a client may suspend and resume without power; the engine goes on with the power")
  func suspendWithoutPower() throws {
    let bench = try ProviderBench()
    let handle = try bench.start()
    var channel = try bench.open(handle, mode: .polled)
    try bench.interface.notifyPnPEvent(handle, .providerPowerDown)
    try channel.submitNulls(0..<1)
    bench.provider.forgetCalls()
    try bench.interface.suspendDma(channel.handle)
    try bench.interface.resumeDma(channel.handle)
    #expect(bench.provider.calls.isEmpty)
    try bench.interface.notifyPnPEvent(handle, .providerPowerUp)
    #expect(try pollAll(&channel, 1).map(\.token) == [0])
  }

  @Test("a provider whose engine does not stop for the power-down has failed")
  func powerDownFails() async throws {
    let bench = try ProviderBench()
    let handle = try bench.start()
    let stream = bench.interface.pnpNotifications()
    var channel = try bench.open(handle)
    bench.provider.setRuns(false)
    try channel.submitNulls(0..<2)
    let failure = NetDmaError.hardware(.transport(.deviceGone(device: "recording")))
    bench.provider.fail("suspend", failure)
    #expect(throws: failure) {
      try bench.interface.notifyPnPEvent(handle, .providerPowerDown)
    }
    #expect(bench.log.wait(for: 2).allSatisfy { $0.error != nil })
    let heard = await take(5, stream)
    #expect(heard.last?.code == .providerRemoval && heard.last?.failure == failure)
  }

  @Test("a provider that failed: clients hear why, operations end, and only stop and start help")
  func failure() async throws {
    let bench = try ProviderBench()
    let handle = try bench.start()
    let stream = bench.interface.pnpNotifications()
    var channel = try bench.open(handle)
    bench.provider.setRuns(false)
    try channel.submitNulls(0..<3)
    let sent = channel.enqueueNull(token: 3)
    #expect(sent)
    let failure = NetDmaError.hardware(.errorReported(device: "recording"))
    bench.interface.providerFailed(handle, failure)
    // A second failure is not told again.
    bench.interface.providerFailed(handle, .channelGone(reason: "again"))
    #expect(bench.log.wait(for: 3).map(\.token) == [0, 1, 2])
    // What was not submitted ends with the call that finds out.
    let refusal = channel.submitRefusal(token: 4)
    #expect(refusal == failure)
    let ended = bench.log.wait(for: 5)
    #expect(ended.map(\.token) == [0, 1, 2, 3, 4] && ended.allSatisfy { $0.error != nil })
    #expect(throws: NetDmaError.wrongState(call: "AllocateDmaChannel", state: "failed")) {
      try bench.openAndEnd(handle)
    }
    #expect(throws: NetDmaError.wrongState(call: "NetDmaProviderStart", state: "failed")) {
      try bench.interface.startProvider(handle, attributes: bench.attributes())
    }
    #expect(throws: NetDmaError.wrongState(call: "NetDmaPnPEventNotify", state: "failed")) {
      try bench.interface.notifyPnPEvent(handle, .providerPowerDown)
    }
    try bench.interface.stopProvider(handle)
    bench.provider.setRuns(true)
    try bench.interface.startProvider(handle, attributes: bench.attributes())
    try bench.openAndEnd(handle)
    let heard = await take(6, stream)
    #expect(
      heard.map(\.code) == [
        .providerRegistered, .providerArrival, .channelArrival, .providerRemoval,
        .providerArrival, .channelArrival,
      ])
    #expect(heard[3].failure == failure)
  }

  // MARK: - What the host says of the device

  @Test("the host wants the device back: clients hear it, operations end well, channels are freed")
  func removalRequest() async throws {
    let bench = try IOATBench()
    let stream = bench.interface.pnpNotifications()
    var channel = try bench.open()
    let target = bench.memory.targetIOVA
    bench.model.install(
      FaultPlan(rules: [.init(.slow(nanoseconds: 20_000_000), on: .destination(target...target))]))
    try channel.submitCopies(0..<20, bench.memory)
    bench.transport.simulateRemovalRequest()
    bench.transport.simulateRemovalRequest()
    let heard = await take(4, stream)
    #expect(heard.last?.code == .providerRemoval && heard.last?.failure == nil)
    #expect(bench.log.wait(for: 20).map(\.token) == (0..<20).map(UInt64.init))
    #expect(bench.log.failures.isEmpty)
    #expect((0..<20).allSatisfy { bench.memory.matches(IOATBench.piece($0)) })
    let old = channel.handle
    eventually("the stale handle") { bench.interface.isr(channel: old, descriptor: 0) == nil }
    eventually("the end of the stop") {
      do throws(NetDmaError) {
        try bench.interface.deregisterProvider(bench.handle)
        return true
      } catch { return false }
    }
    let refusal = channel.submitRefusal()
    #expect(refusal == .channelGone(reason: "Its provider was stopped."))
  }

  @Test("the error notifier fails the provider: every operation ends, and memory stays untouched")
  func errorNotifier() async throws {
    let bench = try IOATBench()
    let stream = bench.interface.pnpNotifications()
    var channel = try bench.open()
    let address = bench.memory.targetIOVA + UInt64(IOATBench.piece(3).lowerBound)
    bench.model.install(FaultPlan(rules: [.init(.hang, on: .destination(address...address))]))
    for index in 0..<6 { try channel.submitCopies(index..<index + 1, bench.memory) }
    bench.log.wait(for: 3)
    bench.transport.simulateFatalError()
    let heard = await take(4, stream)
    let failure = NetDmaError.hardware(.errorReported(device: "mock"))
    #expect(heard.last?.code == .providerRemoval && heard.last?.failure == failure)
    #expect(bench.log.wait(for: 6).map(\.token) == [0, 1, 2, 3, 4, 5])
    #expect(bench.log.failures.map(\.token) == [3, 4, 5])
    let refusal = channel.submitRefusal()
    #expect(refusal == failure)
    bench.model.install(.none)
    #expect((0..<3).allSatisfy { bench.memory.matches(IOATBench.piece($0)) })
    #expect((3..<6).allSatisfy { bench.memory.isZero(IOATBench.piece($0)) })
  }

  @Test(
    "a channel that its owner ends while power goes or comes back takes nobody else along",
    arguments: [NetDmaPnPNotificationCode.providerPowerDown, .providerPowerUp])
  func endedDuringPowerEvent(code: NetDmaPnPNotificationCode) throws {
    let bench = try ProviderBench(channels: 2)
    let handle = try bench.start()
    var first = try bench.open(handle)
    let second = Mutex<NetDmaChannel?>(try bench.open(handle))
    if code == .providerPowerUp {
      try bench.interface.notifyPnPEvent(handle, .providerPowerDown)
    }
    let isEnding = Signal()
    let freeing = Mutex<Background<Bool>?>(nil)
    let trigger = code == .providerPowerUp ? "reset" : "suspend"
    bench.provider.onCall { call in
      if call.name == "free" {
        isEnding.set()
        usleep(50_000)
      }
      // Of the first channel: then the second one's turn comes while it is being ended.
      guard call.name == trigger, freeing.withLock({ $0 == nil }) else { return }
      freeing.withLock {
        $0 = try? Background { () -> Bool in
          let last = second.withLock { $0.take() }
          _ = consume last
          return true
        }
      }
      isEnding.wait()
    }
    try bench.interface.notifyPnPEvent(handle, code)
    _ = freeing.withLock { $0 }?.wait()
    bench.provider.onCall(nil)
    if code == .providerPowerDown {
      try bench.interface.notifyPnPEvent(handle, .providerPowerUp)
    }
    let refusal = first.submitRefusal(token: 7)
    #expect(refusal == nil)
  }

  @Test("a poll tells what ended with the channel before it says that the channel is gone")
  func goneIsToldLast() throws {
    for _ in 0..<400 {
      let bench = try ProviderBench(channels: 1)
      let handle = try bench.start()
      var channel = try bench.open(handle, mode: .polled)
      bench.provider.setRuns(false)
      try channel.submitNulls(0..<1)
      let interface = bench.interface
      let failing = try Background { () -> Bool in
        interface.providerFailed(handle, .channelGone(reason: "test"))
        return true
      }
      var told = 0
      do {
        while true { told += try channel.poll().failed }
      } catch {}
      #expect(told == 1)
      _ = failing.wait()
      if told != 1 { return }
    }
  }

  @Test("the engine can be closed after the host took the device back")
  func closeAfterRemoval() async throws {
    let bench = try EngineBench()
    let stream = bench.engine.interface.pnpNotifications()
    bench.transport.simulateRemovalRequest()
    let heard = await take(4, stream)
    #expect(heard.last?.code == .providerRemoval)
    try bench.engine.close()
  }
}

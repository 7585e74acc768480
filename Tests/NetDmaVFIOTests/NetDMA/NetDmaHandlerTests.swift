// SPDX-License-Identifier: Apache-2.0

import NetDmaMock
import NetDmaVFIO
import TestSupport
import Testing

/// What the interface calls on a provider, when, and with what.
struct NetDmaHandlerTests {
  private static let slot = UInt64(MemoryLayout<DmaDescriptor>.stride)

  // MARK: - AllocateDmaChannel and FreeDmaChannel

  @Test("the channel parameters say what the client asked for, and where the status goes")
  func channelParameters() throws {
    let bench = try ProviderBench()
    let handle = try bench.start()
    let channel = try bench.open(handle, mode: .polled, affinity: [1, 7], priority: 3)
    let own = try #require(bench.provider.channel(0))
    #expect(own.handle == channel.handle)
    #expect(own.parameters.processorAffinity == [1, 7])
    #expect(own.parameters.priority == 3)
    #expect(own.parameters.mode == .polled)
    // CompletionPhysicalAddress and CompletionVirtualAddress are the same eight bytes.
    let address = own.parameters.completionAddress
    #expect(address % 8 == 0)
    try bench.transport.memory.storeRelease(0x1234_5641, to: address)
    #expect(own.parameters.completionWord().rawValue == 0x1234_5641)
  }

  @Test("the CPU that the provider writes back is the channel's, whatever was asked for")
  func cpuNumber() throws {
    let bench = try ProviderBench()
    bench.provider.answerCPU { index, _ in 40 + index }
    let handle = try bench.start()
    let first = try bench.open(handle)
    let second = try bench.open(handle, affinity: [0])
    #expect(first.cpuNumber == 40)
    #expect(second.cpuNumber == 41)
    #expect(bench.interface.isr(channel: first.handle, descriptor: 0) == 40)
    #expect(bench.interface.isr(channel: second.handle, descriptor: 0) == 41)
  }

  @Test("a refused allocation leaves nothing behind and can be repeated")
  func allocationRefused() throws {
    let bench = try ProviderBench()
    let handle = try bench.start()
    let before = bench.transport.mappings
    let refusal = NetDmaError.resources(call: "AllocateDmaChannel", detail: "none today")
    bench.provider.fail("allocate", refusal)
    #expect(throws: refusal) { try bench.openAndEnd(handle) }
    // The ring goes with its last user, which the watchdog's look at it may be.
    #expect(
      Deadline(after: .seconds(20)).poll { () throws(Never) in bench.transport.mappings == before })
    bench.provider.fail("allocate", nil)
    bench.provider.forgetCalls()
    try bench.openAndEnd(handle)
    #expect(bench.provider.callNames == ["allocate", "start", "free"])
  }

  @Test("a channel whose engine does not run its first descriptor is freed again")
  func deadEngine() throws {
    var options = ProviderBench.options()
    options.firstDescriptor = .milliseconds(20)
    let bench = try ProviderBench(options: options)
    let handle = try bench.start()
    let before = bench.transport.mappings
    bench.provider.setRuns(false)
    do {
      try bench.openAndEnd(handle)
      Issue.record("a dead engine's channel was handed out")
    } catch NetDmaError.engineDead(let provider, milliseconds: 20, let registers) {
      #expect(provider == "recording" && registers == "recorded")
    }
    #expect(bench.provider.callNames == ["affinity", "allocate", "start", "free"])
    // The descriptor was nobody's operation.
    #expect(bench.log.tokens.isEmpty && bench.log.failures.isEmpty)
    #expect(bench.interface.statistics.failed == 0)
    // The ring goes with its last user, which the watchdog's look at it may be.
    #expect(
      Deadline(after: .seconds(20)).poll { () throws(Never) in bench.transport.mappings == before })
  }

  @Test("ending a channel frees it once; its ring is unmapped and nothing is called afterwards")
  func free() throws {
    let bench = try ProviderBench()
    let handle = try bench.start()
    let before = bench.transport.mappings
    let channel = try bench.open(handle)
    #expect(bench.transport.mappings.count == before.count + 1)
    let old = channel.handle
    end(channel)
    #expect(bench.provider.callNames == ["affinity", "allocate", "start", "free"])
    // The descriptor was nobody's operation.
    #expect(bench.log.tokens.isEmpty && bench.log.failures.isEmpty)
    #expect(bench.interface.statistics.failed == 0)
    // The ring goes with its last user, which the watchdog's look at it may be.
    #expect(
      Deadline(after: .seconds(20)).poll { () throws(Never) in bench.transport.mappings == before })
    try bench.interface.stopProvider(handle)
    #expect(bench.provider.callNames == ["affinity", "allocate", "start", "free"])
    #expect(throws: NetDmaError.staleHandle(call: "ResetChannel")) {
      try bench.interface.resetChannel(old)
    }
  }

  @Test("FreeDmaChannel comes to a channel with nothing outstanding")
  func freeAfterReset() throws {
    let bench = try ProviderBench()
    let handle = try bench.start()
    var channel = try bench.open(handle)
    bench.provider.setRuns(false)
    try channel.submitNulls(0..<3)
    bench.provider.forgetCalls()
    end(channel)
    #expect(bench.provider.calls.map(\.name) == ["reset", "free"])
    #expect(bench.log.failures.map(\.token) == [0, 1, 2])
  }

  @Test("a freed channel's place is used again, under a handle that is another")
  func handlesDiffer() throws {
    let bench = try ProviderBench(channels: 1)
    let handle = try bench.start()
    var seen = Set<NetDmaChannelHandle>()
    for _ in 0..<20 {
      let channel = try bench.open(handle)
      seen.insert(channel.handle)
      end(channel)
    }
    #expect(seen.count == 20)
    for old in seen { #expect(bench.interface.isr(channel: old, descriptor: 0) == nil) }
  }

  // MARK: - StartDma and AppendDma

  @Test("StartDma comes first and once, every submission after it is an AppendDma of its count")
  func startThenAppend() throws {
    let bench = try ProviderBench()
    let handle = try bench.start()
    var channel = try bench.open(handle, mode: .polled)
    guard case .start(0, let base, 1) = bench.provider.calls.last else {
      Issue.record("\(bench.provider.calls)")
      return
    }
    #expect(base % Self.slot == 0)
    bench.provider.forgetCalls()
    try channel.submitNulls(0..<3)
    try channel.submitNulls(3..<4)
    try channel.submitNulls(4..<14)
    #expect(
      bench.provider.calls == [
        .append(channel: 0, count: 3), .append(channel: 0, count: 1),
        .append(channel: 0, count: 10),
      ])
    #expect(try pollAll(&channel, 14).map(\.token) == (0..<14).map(UInt64.init))
  }

  @Test("what is enqueued is the engine's only after submit; a submit of nothing calls nothing")
  func enqueueIsNotSubmit() throws {
    let bench = try ProviderBench()
    let handle = try bench.start()
    var channel = try bench.open(handle, mode: .polled)
    bench.provider.forgetCalls()
    try channel.submit()
    #expect(bench.provider.calls.isEmpty)
    let sent = channel.enqueueNull(token: 5)
    #expect(sent)
    #expect(bench.provider.calls.isEmpty)
    try channel.submit()
    try channel.submit()
    #expect(bench.provider.calls == [.append(channel: 0, count: 1)])
  }

  @Test("a chain has no end: each batch begins where the last descriptor's next points")
  func chainIsARing() throws {
    let bench = try ProviderBench()
    let handle = try bench.start()
    var channel = try bench.open(handle, mode: .polled, ringCapacity: 8)
    bench.provider.setRuns(false)
    let ring = UInt64(8) * Self.slot
    guard case .start(_, let base, _) = bench.provider.calls.last else {
      Issue.record("\(bench.provider.calls)")
      return
    }
    var expected: UInt64 = 0
    // Five laps; the engine knows nothing but next pointers and counts.
    for batch in 0..<20 {
      try channel.submitNulls(expected..<expected + 2)
      let done = bench.provider.run(0)
      #expect(done.count == 2)
      for descriptor in done {
        #expect(descriptor.nextDescriptor != 0)
        #expect(descriptor.nextDescriptor >= base && descriptor.nextDescriptor < base + ring)
      }
      // The slot of operation n is n + 1: the first was the proof of life.
      let next = base + (UInt64(batch) * 2 + 3) % 8 * Self.slot
      #expect(done.last?.nextDescriptor == next)
      #expect(try pollAll(&channel, 2).map(\.token) == [expected, expected + 1])
      expected += 2
    }
  }

  @Test("a refused AppendDma shows at the submit, and its operation still ends exactly once")
  func appendFails() throws {
    let bench = try ProviderBench()
    let handle = try bench.start()
    var channel = try bench.open(handle)
    let failure = NetDmaError.hardware(.transport(.deviceGone(device: "recording")))
    bench.provider.fail("append", failure)
    let refusal = channel.submitRefusal(token: 7)
    #expect(refusal == failure)
    #expect(bench.log.all.isEmpty)
    #expect(throws: NetDmaError.self) { try bench.interface.stopProvider(handle) }
    #expect(bench.log.wait(for: 1).map(\.token) == [7])
    #expect(bench.log.failures.count == 1)
  }

  @Test("after a refused StartDma the next one begins with what that was to start")
  func startFails() throws {
    let bench = try ProviderBench()
    let handle = try bench.start()
    var channel = try bench.open(handle, mode: .polled)
    try bench.interface.resetChannel(channel.handle)
    let failure = NetDmaError.hardware(.transport(.deviceGone(device: "recording")))
    bench.provider.fail("start", failure)
    let refusal = channel.submitRefusal(token: 1)
    #expect(refusal == failure)
    bench.provider.fail("start", nil)
    bench.provider.forgetCalls()
    try channel.submitNulls(2..<4)
    #expect(bench.provider.callNames == ["start"])
    #expect(try pollAll(&channel, 3).map(\.token) == [1, 2, 3])
  }

  // MARK: - SuspendDma and ResumeDma

  @Test("suspend tells the last descriptor finished; resume goes on behind it with what is left")
  func suspendAndResume() throws {
    let bench = try ProviderBench()
    let handle = try bench.start()
    var channel = try bench.open(handle)
    guard case .start(_, let base, _) = bench.provider.calls.last else {
      Issue.record("\(bench.provider.calls)")
      return
    }
    bench.provider.setRuns(false)
    try channel.submitNulls(0..<8)
    bench.provider.run(0, count: 3)
    bench.provider.forgetCalls()
    // Slot 0 was the proof of life.
    #expect(try bench.interface.suspendDma(channel.handle) == base + 3 * Self.slot)
    #expect(bench.provider.calls == [.suspend(channel: 0)])
    // The three that were finished have ended, though no status was written for them.
    #expect(bench.log.wait(for: 3).map(\.token) == [0, 1, 2])
    // What is submitted meanwhile waits.
    try channel.submitNulls(8..<10)
    #expect(bench.provider.calls == [.suspend(channel: 0)])
    bench.provider.setRuns(true)
    try bench.interface.resumeDma(channel.handle)
    #expect(
      bench.provider.calls == [
        .suspend(channel: 0), .resume(channel: 0, descriptor: base + 4 * Self.slot, count: 7),
      ])
    bench.interface.interruptDpc(channel: channel.handle)
    #expect(bench.log.wait(for: 10).map(\.token) == (0..<10).map(UInt64.init))
    #expect(bench.log.failures.isEmpty)
    // The chain goes on by appending.
    try channel.submitNulls(10..<11)
    #expect(bench.provider.calls.last == .append(channel: 0, count: 1))
  }

  @Test("a suspended channel with nothing left is resumed too, and the next submit starts it")
  func resumeOfNothing() throws {
    let bench = try ProviderBench()
    let handle = try bench.start()
    var channel = try bench.open(handle, mode: .polled)
    guard case .start(_, let base, _) = bench.provider.calls.last else {
      Issue.record("\(bench.provider.calls)")
      return
    }
    bench.provider.forgetCalls()
    #expect(try bench.interface.suspendDma(channel.handle) == base)
    try bench.interface.resumeDma(channel.handle)
    #expect(
      bench.provider.calls == [
        .suspend(channel: 0), .resume(channel: 0, descriptor: base + Self.slot, count: 0),
      ])
    bench.provider.forgetCalls()
    try channel.submitNulls(0..<2)
    #expect(
      bench.provider.calls == [.start(channel: 0, descriptor: base + Self.slot, count: 2)])
    #expect(try pollAll(&channel, 2).map(\.token) == [0, 1])
  }

  @Test("an engine without a chain is not suspended, and what waited is started, not resumed")
  func suspendWithoutChain() throws {
    let bench = try ProviderBench()
    let handle = try bench.start()
    var channel = try bench.open(handle, mode: .polled)
    try bench.interface.resetChannel(channel.handle)
    bench.provider.forgetCalls()
    // Nothing was finished since the engine last started, for it did not.
    _ = try bench.interface.suspendDma(channel.handle)
    try channel.submitNulls(0..<2)
    #expect(bench.provider.calls.isEmpty)
    try bench.interface.resumeDma(channel.handle)
    #expect(bench.provider.callNames == ["start"])
    #expect(try pollAll(&channel, 2).map(\.token) == [0, 1])
  }

  @Test("suspend reports 0 when nothing was finished since the start")
  func suspendBeforeTheFirst() throws {
    let bench = try ProviderBench()
    let handle = try bench.start()
    var channel = try bench.open(handle, mode: .polled)
    try bench.interface.resetChannel(channel.handle)
    bench.provider.setRuns(false)
    try channel.submitNulls(0..<2)
    #expect(try bench.interface.suspendDma(channel.handle) == 0)
    bench.provider.setRuns(true)
    try bench.interface.resumeDma(channel.handle)
    #expect(try pollAll(&channel, 2).map(\.token) == [0, 1])
  }

  @Test("a refused SuspendDma or ResumeDma changes nothing")
  func suspendFails() throws {
    let bench = try ProviderBench()
    let handle = try bench.start()
    var channel = try bench.open(handle, mode: .polled)
    let channelHandle = channel.handle
    let failure = NetDmaError.hardware(.transport(.deviceGone(device: "recording")))
    bench.provider.fail("suspend", failure)
    #expect(throws: failure) { try bench.interface.suspendDma(channelHandle) }
    #expect(throws: NetDmaError.self) { try bench.interface.resumeDma(channelHandle) }
    try channel.submitNulls(0..<1)
    #expect(try pollAll(&channel, 1).map(\.token) == [0])
    bench.provider.fail("suspend", nil)
    try bench.interface.suspendDma(channelHandle)
    try channel.submitNulls(1..<2)
    bench.provider.fail("resume", failure)
    #expect(throws: failure) { try bench.interface.resumeDma(channelHandle) }
    bench.provider.fail("resume", nil)
    // Still suspended, so it can be resumed.
    try bench.interface.resumeDma(channelHandle)
    #expect(try pollAll(&channel, 1).map(\.token) == [1])
  }

  // MARK: - Optional handlers

  @Test("handlers that a provider lacks are refused, and never called")
  func optionalHandlers() throws {
    let bench = try ProviderBench(optional: [])
    let handle = try bench.start()
    var channel = try bench.open(handle, mode: .polled)
    let channelHandle = channel.handle
    let name = "recording has no handler for it."
    #expect(throws: NetDmaError.notSupported(call: "SuspendDma", detail: name)) {
      try bench.interface.suspendDma(channelHandle)
    }
    #expect(throws: NetDmaError.notSupported(call: "ResumeDma", detail: name)) {
      try bench.interface.resumeDma(channelHandle)
    }
    #expect(throws: NetDmaError.notSupported(call: "AbortDma", detail: name)) {
      try bench.interface.abortDma(channelHandle)
    }
    #expect(throws: NetDmaError.notSupported(call: "ResetChannel", detail: name)) {
      try bench.interface.resetChannel(channelHandle)
    }
    // Power down and up do without them, too.
    try bench.interface.notifyPnPEvent(handle, .providerPowerDown)
    try channel.submitNulls(0..<2)
    try bench.interface.notifyPnPEvent(handle, .providerPowerUp)
    #expect(try pollAll(&channel, 2).map(\.token) == [0, 1])
    bench.interface.providerFailed(handle, .channelGone(reason: "test"))
    end(channel)
    #expect(
      Set(bench.provider.callNames)
        .isDisjoint(with: ["suspend", "resume", "abort", "reset", "resetDevice"]))
  }

  // MARK: - Life cycle

  @Test("calls on a suspended, failed or freed channel are refused and change nothing")
  func wrongStates() throws {
    let bench = try ProviderBench()
    let handle = try bench.start()
    let channel = try bench.open(handle)
    let channelHandle = channel.handle
    let interface = bench.interface
    bench.provider.forgetCalls()
    #expect(throws: NetDmaError.wrongState(call: "ResumeDma", state: "not suspended")) {
      try interface.resumeDma(channelHandle)
    }
    #expect(bench.provider.calls.isEmpty)
    try interface.suspendDma(channelHandle)
    bench.provider.forgetCalls()
    #expect(throws: NetDmaError.wrongState(call: "SuspendDma", state: "suspended")) {
      try interface.suspendDma(channelHandle)
    }
    #expect(bench.provider.calls.isEmpty)
    let failure = NetDmaError.channelGone(reason: "test")
    interface.providerFailed(handle, failure)
    bench.provider.forgetCalls()
    #expect(throws: failure) { try interface.suspendDma(channelHandle) }
    #expect(throws: failure) { try interface.resumeDma(channelHandle) }
    #expect(throws: failure) { try interface.abortDma(channelHandle) }
    #expect(throws: failure) { try interface.resetChannel(channelHandle) }
    #expect(bench.provider.calls.isEmpty)
    end(channel)
    #expect(bench.provider.calls == [.free(channel: 0)])
    for call in ["SuspendDma", "ResumeDma", "AbortDma", "ResetChannel"] {
      #expect(throws: NetDmaError.staleHandle(call: call)) {
        switch call {
        case "SuspendDma": try interface.suspendDma(channelHandle)
        case "ResumeDma": try interface.resumeDma(channelHandle)
        case "AbortDma": try interface.abortDma(channelHandle)
        default: try interface.resetChannel(channelHandle)
        }
      }
    }
    #expect(bench.provider.calls == [.free(channel: 0)])
  }

  @Test("a polled channel is not for the DPC, an interrupt-driven one not for polling")
  func modes() throws {
    let bench = try ProviderBench()
    let handle = try bench.start()
    var channel = try bench.open(handle)
    #expect(channel.pollRefusal() == .wrongState(call: "poll", state: "interrupt-driven"))
  }
}

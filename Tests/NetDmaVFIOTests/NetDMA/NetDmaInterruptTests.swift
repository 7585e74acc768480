// SPDX-License-Identifier: Apache-2.0

import NetDmaMock
import NetDmaVFIO
import Synchronization
import TestSupport
import Testing

/// NetDmaIsr, NetDmaInterruptDpc, and every kind of interrupt that is not the plain one.
struct NetDmaInterruptTests {
  // MARK: - NetDmaIsr

  @Test("NetDmaIsr answers with the channel's CPU, whatever descriptor raised the interrupt")
  func isrAnswersCPU() throws {
    let bench = try ProviderBench()
    bench.provider.answerCPU { index, _ in 8 + index }
    let handle = try bench.start()
    var channel = try bench.open(handle)
    let base = try #require(bench.provider.channel(0)).lastDescriptor
    try channel.submitNulls(0..<5)
    // The engine is five descriptors further than the one that is named.
    #expect(bench.interface.isr(channel: channel.handle, descriptor: base) == 8)
    #expect(bench.interface.isr(channel: channel.handle, descriptor: base + 5 * 64) == 8)
    #expect(bench.interface.isr(channel: channel.handle, descriptor: 0) == 8)
    // An ISR completes nothing; that is the DPC's.
    #expect(bench.log.all.isEmpty)
  }

  @Test("NetDmaIsr answers while a control operation holds the channel")
  func isrWhileHeld() throws {
    let bench = try ProviderBench()
    bench.provider.answerCPU { _, _ in 9 }
    let handle = try bench.start()
    let channel = try bench.open(handle)
    let (interface, channelHandle) = (bench.interface, channel.handle)
    let answers = Mutex<[Int?]>([])
    // On the holder's own thread: a lock that it has would never be got.
    bench.provider.onCall { call in
      let answer = interface.isr(channel: channelHandle, descriptor: 0)
      answers.withLock { $0.append(answer) }
    }
    try interface.suspendDma(channelHandle)
    try interface.resetChannel(channelHandle)
    bench.provider.onCall(nil)
    #expect(answers.withLock { $0 } == [9, 9])
  }

  @Test("a stale handle gets no CPU, ends nothing, and is counted")
  func staleHandles() throws {
    let bench = try ProviderBench(channels: 1)
    let handle = try bench.start()
    let old = try bench.open(handle)
    let stale = old.handle
    end(old)
    // The slot has a new owner with work outstanding.
    var channel = try bench.open(handle)
    try channel.submitNulls(0..<1)
    #expect(bench.interface.staleCalls == 0)
    #expect(bench.interface.isr(channel: stale, descriptor: 0) == nil)
    #expect(bench.interface.interruptDpc(channel: stale) == 0)
    bench.interface.channelFailed(stale, .channelGone(reason: "test"))
    #expect(bench.interface.staleCalls == 2)
    #expect(bench.log.all.isEmpty)
    #expect(channel.statistics.dpcCalls == 0)
    bench.interface.interruptDpc(channel: channel.handle)
    #expect(bench.log.wait(for: 1).map(\.token) == [0])
    #expect(bench.log.failures.isEmpty)
  }

  @Test("after a stop every channel's handle is stale for the ISR")
  func staleAfterStop() throws {
    let bench = try ProviderBench()
    let handle = try bench.start()
    let channel = try bench.open(handle)
    try bench.interface.stopProvider(handle)
    #expect(bench.interface.isr(channel: channel.handle, descriptor: 0) == nil)
    #expect(bench.interface.staleCalls == 1)
  }

  // MARK: - NetDmaInterruptDpc

  @Test("NetDmaInterruptDpc ends everything that is done, in submission order, and nothing twice")
  func dpcOrder() throws {
    let bench = try ProviderBench()
    let handle = try bench.start()
    var channel = try bench.open(handle)
    bench.provider.setRuns(false)
    try channel.submitNulls(0..<3)
    try channel.submitNulls(3..<4)
    try channel.submitNulls(4..<9)
    bench.provider.run(0, count: 4)
    let last = try #require(bench.provider.channel(0)).lastDescriptor
    bench.interface.interruptDpc(channel: channel.handle, descriptor: last)
    #expect(bench.log.wait(for: 4).map(\.token) == [0, 1, 2, 3])
    // The same again, without and with the descriptor: there is nothing new.
    #expect(bench.interface.interruptDpc(channel: channel.handle) == 0)
    #expect(bench.interface.interruptDpc(channel: channel.handle, descriptor: last) == 0)
    bench.provider.run(0)
    // A descriptor that the engine has passed meanwhile holds nothing back.
    bench.interface.interruptDpc(channel: channel.handle, descriptor: last)
    #expect(bench.log.wait(for: 9).map(\.token) == (0..<9).map(UInt64.init))
    #expect(channel.statistics.completed == 9)
  }

  @Test("what the status does not cover yet is not ended")
  func dpcEndsOnlyWhatIsDone() throws {
    let bench = try ProviderBench()
    let handle = try bench.start()
    var channel = try bench.open(handle)
    bench.provider.setRuns(false)
    try channel.submitNulls(0..<2)
    #expect(bench.interface.interruptDpc(channel: channel.handle) == 0)
    #expect(bench.log.all.isEmpty)
    bench.provider.run(0)
    bench.interface.interruptDpc(channel: channel.handle)
    #expect(bench.log.wait(for: 2).map(\.token) == [0, 1])
  }

  @Test("a DPC that finds the channel held by a control operation is made up for")
  func dpcWhileHeld() throws {
    let bench = try ProviderBench()
    let handle = try bench.start()
    var channel = try bench.open(handle)
    let channelHandle = channel.handle
    try bench.interface.resetChannel(channelHandle)
    // The engine is done, and its interrupt served, before StartDma has returned.
    let interface = bench.interface
    bench.provider.onCall { call in
      if call.name == "start" || call.name == "resume" {
        // Whoever was asked to look after an earlier call has looked by now, and found it held.
        _ = Signal().wait(for: .milliseconds(50))
        interface.interruptDpc(channel: channelHandle)
      }
    }
    try channel.submitNulls(0..<2)
    #expect(bench.log.wait(for: 2).map(\.token) == [0, 1])
    try bench.interface.suspendDma(channelHandle)
    try channel.submitNulls(2..<3)
    try bench.interface.resumeDma(channelHandle)
    #expect(bench.log.wait(for: 3).map(\.token) == [0, 1, 2])
    // It did not take the watchdog.
    #expect(channel.statistics.lostInterrupts == 0)
  }

  // MARK: - The whole way, on the model

  @Test("only a descriptor with the interrupt flag raises one: once per batch, never when polled")
  func interruptOnlyWhereAsked() throws {
    let bench = try IOATBench()
    var channel = try bench.open()
    try channel.submitCopies(0..<20, bench.memory)
    bench.log.wait(for: 20)
    #expect(bench.model.statistics.channels[0].interruptsRaised == 1)
    end(channel)
    var polled = try bench.open(.polled)
    try polled.submitCopies(20..<40, bench.memory)
    #expect(try pollAll(&polled, 20).count == 20)
    #expect(bench.model.statistics.channels[0].interruptsRaised == 1)
    #expect((0..<40).allSatisfy { bench.memory.matches(IOATBench.piece($0)) })
  }

  @Test("ISR, CPU number, DPC on that CPU's thread, completions in order")
  func wholeWay() throws {
    let bench = try IOATBench(cpus: [6])
    let threads = Mutex(Set<String>())
    var channel = try bench.open { _ in
      threads.withLock { _ = $0.insert(currentThreadName()) }
    }
    #expect(channel.cpuNumber == 6)
    for index in 0..<30 { try channel.submitCopies(index..<index + 1, bench.memory) }
    #expect(bench.log.wait(for: 30).map(\.token) == (0..<30).map(UInt64.init))
    #expect(threads.withLock { $0 } == ["netdma-isr/6"])
    let statistics = channel.statistics
    #expect(statistics.interrupts > 0 && statistics.isrCalls > 0 && statistics.dpcCalls > 0)
    #expect(statistics.completed == 30)
  }

  @Test("a spurious interrupt is counted, also behind real ones, and ends nothing")
  func spurious() throws {
    let bench = try IOATBench()
    var channel = try bench.open()
    try bench.transport.triggerInterrupt(.msix, vector: 0)
    eventually("the spurious interrupt") { channel.statistics.spuriousInterrupts == 1 }
    try channel.submitCopies(0..<1, bench.memory)
    bench.log.wait(for: 1)
    eventually("the copy's DPC") { channel.statistics.dpcCalls == 2 }
    try bench.transport.triggerInterrupt(.msix, vector: 0)
    eventually("the second one") { channel.statistics.spuriousInterrupts == 2 }
    #expect(channel.statistics.lateInterrupts == 0)
    #expect(bench.log.tokens == [0])
  }

  @Test("signals that one wake-up finds together are one ISR call, and counted as merged")
  func merged() throws {
    let bench = try IOATBench(cpus: [0])
    let (inside, release) = (Signal(), Signal())
    var channel = try bench.open { completion in
      guard completion.token == 0 else { return }
      inside.set()
      release.wait(for: .seconds(20))
    }
    try channel.submitCopies(0..<1, bench.memory)
    inside.wait(for: .seconds(20))
    // The CPU is busy with the DPC: these three come together.
    for _ in 0..<3 { try bench.transport.triggerInterrupt(.msix, vector: 0) }
    release.set()
    eventually("the ISR's second call") { channel.statistics.interrupts == 4 }
    eventually("its DPC") { channel.statistics.dpcCalls == 2 }
    #expect(channel.statistics.isrCalls == 2)
    #expect(channel.statistics.mergedInterrupts == 2)
    #expect(bench.log.tokens == [0])
  }

  @Test("an interrupt whose work an earlier DPC did is late: counted, and ends nothing again")
  func late() throws {
    let bench = try ProviderBench()
    let handle = try bench.start()
    var channel = try bench.open(handle)
    try channel.submitNulls(0..<1)
    try channel.submitNulls(1..<2)
    // Both interrupts came, and the first DPC found both done.
    bench.interface.interruptDpc(channel: channel.handle)
    bench.log.wait(for: 2)
    let before = channel.statistics
    bench.interface.interruptDpc(channel: channel.handle)
    #expect(
      channel.statistics.lateInterrupts + channel.statistics.spuriousInterrupts
        == before.lateInterrupts + before.spuriousInterrupts + 1)
    #expect(channel.statistics.lateInterrupts == 1)
    bench.interface.interruptDpc(channel: channel.handle)
    #expect(channel.statistics.lateInterrupts == 1)
    #expect(channel.statistics.spuriousInterrupts >= 1)
    #expect(bench.log.tokens == [0, 1])
  }

  @Test("an interrupt for what a suspension or the watchdog ended is late, not spurious")
  func lateAfterControl() throws {
    let bench = try ProviderBench()
    let handle = try bench.start()
    var channel = try bench.open(handle)
    try channel.submitNulls(0..<1)
    try bench.interface.suspendDma(channel.handle)
    bench.log.wait(for: 1)
    bench.interface.interruptDpc(channel: channel.handle)
    #expect(channel.statistics.lateInterrupts == 1)
    #expect(channel.statistics.spuriousInterrupts == 0)
    #expect(bench.log.tokens == [0])
  }

  @Test("an interrupt after the channel was freed is unclaimed, and disturbs nobody")
  func lateAfterFree() throws {
    let bench = try IOATBench(ModelConfiguration(channelCount: 2, timing: .fast))
    let first = try bench.open()
    var second = try bench.open()
    end(first)
    try bench.transport.triggerInterrupt(.msix, vector: 0)
    eventually("the unclaimed interrupt") { bench.provider.unclaimedInterrupts == 1 }
    #expect(second.statistics.interrupts == 0)
    try second.submitCopies(0..<1, bench.memory)
    #expect(bench.log.wait(for: 1).map(\.token) == [0])
    #expect(bench.interface.staleCalls == 0)
  }

  @Test("a vector whose channel is polled is unclaimed")
  func interruptForPolled() throws {
    let bench = try IOATBench()
    var channel = try bench.open(.polled)
    try bench.transport.triggerInterrupt(.msix, vector: 0)
    eventually("the unclaimed interrupt") { bench.provider.unclaimedInterrupts == 1 }
    try channel.submitCopies(0..<3, bench.memory)
    #expect(try pollAll(&channel, 3).map(\.token) == [0, 1, 2])
  }

  @Test("an interrupt after a reset ends nothing of the new chain early")
  func lateAfterReset() throws {
    let bench = try ProviderBench()
    let handle = try bench.start()
    var channel = try bench.open(handle)
    bench.provider.setRuns(false)
    try channel.submitNulls(0..<3)
    bench.provider.run(0, count: 3)
    let old = try #require(bench.provider.channel(0)).lastDescriptor
    try bench.interface.resetChannel(channel.handle)
    bench.log.wait(for: 3)
    try channel.submitNulls(3..<5)
    // The old chain's interrupt comes only now.
    #expect(bench.interface.isr(channel: channel.handle, descriptor: old) == channel.cpuNumber)
    #expect(bench.interface.interruptDpc(channel: channel.handle, descriptor: old) == 0)
    #expect(bench.log.tokens == [0, 1, 2])
    bench.provider.run(0)
    bench.interface.interruptDpc(channel: channel.handle)
    #expect(bench.log.wait(for: 5).map(\.token) == [0, 1, 2, 3, 4])
    #expect(bench.log.failures.isEmpty)
  }

  @Test("channels that share a vector each get exactly their own completions")
  func shared() throws {
    let bench = try IOATBench(ModelConfiguration(channelCount: 3, vectorCount: 1, timing: .fast))
    let logs = (0..<3).map { _ in CompletionLog() }
    var first = try bench.open { logs[0].post($0) }
    var second = try bench.open { logs[1].post($0) }
    var third = try bench.open { logs[2].post($0) }
    for index in 0..<40 {
      try first.submitCopies(index..<index + 1, bench.memory)
      try second.submitCopies(100 + index..<101 + index, bench.memory)
      try third.submitCopies(200 + index..<201 + index, bench.memory)
    }
    for (number, log) in logs.enumerated() {
      let expected = (0..<40).map { UInt64(100 * number + $0) }
      #expect(log.wait(for: 40).map(\.token) == expected)
    }
    #expect(bench.log.failures.isEmpty)
    #expect(bench.provider.unclaimedInterrupts == 0)
  }

  @Test("a lost interrupt costs time, not the operation, and is counted")
  func lost() throws {
    let bench = try IOATBench()
    var channel = try bench.open()
    let target = bench.memory.targetIOVA
    bench.model.install(
      FaultPlan(rules: [.init(.lostInterrupt, on: .destination(target...target), limit: 1)]))
    try channel.submitCopies(0..<1, bench.memory)
    #expect(bench.log.wait(for: 1).map(\.token) == [0])
    eventually("the count") { channel.statistics.lostInterrupts == 1 }
    #expect(bench.memory.matches(IOATBench.piece(0)))
    try channel.submitCopies(1..<2, bench.memory)
    #expect(bench.log.wait(for: 2).map(\.token) == [0, 1])
  }

  @Test("interrupts of a device that lost its channel say so to its operations")
  func channelFailed() throws {
    let bench = try ProviderBench()
    let handle = try bench.start()
    var channel = try bench.open(handle)
    bench.provider.setRuns(false)
    try channel.submitNulls(0..<2)
    let failure = NetDmaError.hardware(.transport(.deviceGone(device: "recording")))
    bench.interface.channelFailed(channel.handle, failure)
    #expect(bench.log.wait(for: 2).allSatisfy { $0.error != nil })
    #expect(bench.log.tokens == [0, 1])
    let refusal = channel.submitRefusal()
    #expect(refusal == failure)
  }
}

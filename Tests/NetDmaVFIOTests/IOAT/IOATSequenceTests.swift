// SPDX-License-Identifier: Apache-2.0

import Glibc
import NetDmaMock
import NetDmaVFIO
import Synchronization
import Testing

/// What the driver writes to the registers in states that the model passes too fast to be met in.
@Suite struct IOATSequenceTests {
  @Test("another vendor's function, or another class, is told so before anything of it is touched")
  func identity() throws {
    for (offset, value) in [(0, 0x10ec), (0x0a, 0x0200)] as [(UInt64, UInt64)] {
      let transport = try InterposedTransport()
      transport.set { hooks in
        hooks.barSize = 256
        hooks.onRead = { $0 == .configuration && $1 == offset ? value : nil }
      }
      do throws(IOATError) {
        _ = try IOATDevice(transport, logger: EngineBench.silent)
        Issue.record("it was taken for an engine")
      } catch {
        guard case .notIOAT = error else {
          Issue.record("\(error)")
          continue
        }
      }
      #expect(transport.registerAccesses.isEmpty)
    }
  }

  @Test("an engine that has not begun with its chain yet is suspended all the same")
  func suspendWhileArmed() throws {
    let transport = try InterposedTransport(ModelConfiguration(timing: .skylake))
    let engine = try DMAEngine(
      transport: transport, options: EngineBench.options(watchdog: .seconds(60)),
      logger: EngineBench.silent)
    do {
      let memory = try BenchMemory(engine, bytes: 1 << 16)
      var channel = try engine.openChannel(mode: .polled)
      // The chain begins with the first of these copies, each of which takes a while.
      try engine.interface.abortDma(channel.handle)
      transport.inner.model.install(
        FaultPlan(rules: [.init(.slow(nanoseconds: 5_000_000), on: .probability(1))]))
      try channel.submitCopies(0..<10, memory)
      let answers = Atomic<Int>(3)
      // CHANSTS: ARMED, three times.
      transport.set { hooks in
        hooks.onRead = { region, offset in
          guard region == .bar0, offset == 0x88, answers.load(ordering: .relaxed) > 0 else {
            return nil
          }
          answers.subtract(1, ordering: .relaxed)
          return 4
        }
      }
      try engine.interface.suspendDma(channel.handle)
      let suspend = InterposedTransport.Access(region: .bar0, offset: 0x84, value: 0x04)
      #expect(transport.registerAccesses.contains(suspend))
      func copied() -> Int { (0..<10).filter { memory.matches(IOATBench.piece($0)) }.count }
      let before = copied()
      #expect(before < 10)
      usleep(60_000)
      #expect(copied() == before)
      transport.set { $0 = .init() }
      transport.inner.model.install(.none)
      try engine.interface.resumeDma(channel.handle)
      var ended = 0
      while ended < 10 { ended += try channel.poll().completed }
      #expect(copied() == 10)
    }
    try engine.close()
  }

  @Test("an error that a former owner of the channel masked is heard of")
  func errorMask() throws {
    let transport = try InterposedTransport(
      ModelConfiguration(
        deviceID: 0x0c50, cbVersion: 0x33, capabilities: 0x141, timing: .fast))
    // CHANERRMASK: XOR validation errors, and no function-level reset since.
    try transport.write(.bar0, at: 0xac, width: .dword, value: 0x3_0000)
    let engine = try DMAEngine(
      transport: transport, options: EngineBench.options(), logger: EngineBench.silent)
    do {
      let memory = try BenchMemory(engine, bytes: 1 << 16)
      var channel = try engine.openChannel(mode: .polled)
      let sent = try channel.enqueueXORValidation(
        of: [memory.source(0..<4096), memory.source(4096..<8192)],
        against: memory.target(0..<4096), token: 1)
      #expect(sent)
      try channel.submit()
      var (completed, failed) = (0, 0)
      while completed + failed == 0 {
        let result = try channel.poll()
        completed += result.completed
        failed += result.failed
      }
      #expect(completed == 0 && failed == 1)
    }
    try engine.close()
  }

  @Test("a function without power has no register touched, by words about it or by the end")
  func withoutPower() throws {
    let transport = try InterposedTransport()
    let engine = try DMAEngine(
      transport: transport, options: EngineBench.options(), logger: EngineBench.silent)
    let capability = try PCIConfiguration(transport)
      .offset(ofCapability: PCICapabilityID.powerManagement)
    let register = try #require(capability) + 4
    try engine.powerDown()
    #expect(engine.describeChannels() == "the function is powered down")
    // D0 is refused from now on.
    transport.set { hooks in
      hooks.onWrite = { !($0 == .configuration && $1 == register && $2 & 3 == 0) }
    }
    try? engine.close()
    #expect(transport.inner.accessesWithoutPower == 0)
  }

  @Test("a host that has not a vector for each channel lets them share one")
  func fewVectors() throws {
    let transport = try InterposedTransport(ModelConfiguration(channelCount: 2, timing: .fast))
    transport.set { hooks in
      hooks.onInterrupts = { index, count in
        index == .msix && count > 1
          ? .vectorsExhausted(device: "mock", kind: index, wanted: count, offered: 1) : nil
      }
    }
    let engine = try DMAEngine(
      transport: transport, options: EngineBench.options(), logger: EngineBench.silent)
    #expect(engine.device.interruptStyle == .shared(.msix))
    let log = CompletionLog()
    do {
      let memory = try BenchMemory(engine, bytes: 1 << 16)
      var channel = try engine.openChannel(mode: .interrupt) { log.post($0) }
      try channel.submitCopies(0..<4, memory)
      #expect(log.wait(for: 4).map(\.token) == [0, 1, 2, 3])
    }
    try engine.close()
  }

  @Test("a device that is gone when a chain is started is said to be gone")
  func goneAtStart() throws {
    let bench = try IOATBench()
    var channel = try bench.open(.polled)
    try bench.interface.abortDma(channel.handle)
    bench.model.install(FaultPlan(isRemoved: true))
    let refusal = channel.submitRefusal()
    #expect(refusal == .hardware(.transport(.deviceGone(device: "mock"))))
  }
}

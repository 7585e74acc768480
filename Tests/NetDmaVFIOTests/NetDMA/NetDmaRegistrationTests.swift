// SPDX-License-Identifier: Apache-2.0

import NetDmaMock
import NetDmaVFIO
import TestSupport
import Testing

/// netdma.h, section "functions for providers": register, start, stop, deregister, version.
struct NetDmaRegistrationTests {
  // MARK: - NetDmaGetVersion

  @Test("NetDmaGetVersion says 2.1, major in the high 16 bits")
  func version() {
    #expect(NetDmaInterface.getVersion().rawValue == 0x0002_0001)
    #expect(NetDmaVersion(major: 2, minor: 1) == NetDmaInterface.getVersion())
    #expect("\(NetDmaInterface.getVersion())" == "2.1")
  }

  // MARK: - NetDmaRegisterProvider

  @Test("the affinity handler is called inside the registration, once, for the maximum count")
  func affinityInsideRegistration() throws {
    let bench = try ProviderBench(channels: 5)
    _ = try bench.register()
    // The interface's CPUs are 0, 1 and 2.
    let expected = [0, 1, 2, 0, 1].enumerated().map {
      NetDmaChannelCpuAffinity(channel: $0.offset, cpu: $0.element)
    }
    #expect(bench.provider.calls == [.affinity(expected)])
  }

  @Test(
    "a provider written for a newer interface is refused, and none of its handlers called",
    arguments: [(2, 2), (3, 0), (2, 0xffff)] as [(UInt16, UInt16)])
  func newerVersion(major: UInt16, minor: UInt16) throws {
    let bench = try ProviderBench()
    var characteristics = bench.characteristics
    characteristics.version = NetDmaVersion(major: major, minor: minor)
    #expect(throws: NetDmaError.versionTooNew(characteristics.version)) {
      try bench.interface.registerProvider(bench.provider, characteristics: characteristics)
    }
    #expect(bench.provider.calls.isEmpty)
  }

  @Test(
    "providers of every version up to the interface's register",
    arguments: [(1, 0), (1, 1), (2, 0), (2, 1)] as [(UInt16, UInt16)])
  func olderVersion(major: UInt16, minor: UInt16) throws {
    let bench = try ProviderBench()
    var characteristics = bench.characteristics
    characteristics.version = NetDmaVersion(major: major, minor: minor)
    _ = try bench.interface.registerProvider(bench.provider, characteristics: characteristics)
    #expect(bench.provider.callNames == ["affinity"])
  }

  @Test("there is no version below 1.0")
  func versionZero() throws {
    let bench = try ProviderBench()
    var characteristics = bench.characteristics
    characteristics.version = NetDmaVersion(major: 0, minor: 9)
    #expect(throws: NetDmaError.self) {
      try bench.interface.registerProvider(bench.provider, characteristics: characteristics)
    }
    #expect(bench.provider.calls.isEmpty)
  }

  @Test("a provider without channels, or with absurdly many, is refused", arguments: [0, -1, 4097])
  func badChannelCount(count: Int) throws {
    let bench = try ProviderBench()
    var characteristics = bench.characteristics
    characteristics.maximumChannelCount = count
    #expect(throws: NetDmaError.self) {
      try bench.interface.registerProvider(bench.provider, characteristics: characteristics)
    }
    #expect(bench.provider.calls.isEmpty)
  }

  @Test("what the affinity handler throws ends the registration, and nobody hears of the provider")
  func affinityFails() async throws {
    let bench = try ProviderBench()
    let refusal = NetDmaError.resources(call: "SetDmaChannelCpuAffinity", detail: "no vectors")
    bench.provider.fail("affinity", refusal)
    let stream = bench.interface.pnpNotifications()
    #expect(throws: refusal) { try bench.register() }
    bench.provider.fail("affinity", nil)
    _ = try bench.register()
    // The first notification is that of the registration that worked.
    var notifications = stream.makeAsyncIterator()
    #expect(await notifications.next()?.code == .providerRegistered)
    #expect(bench.provider.callNames == ["affinity", "affinity"])
  }

  @Test("several providers live beside each other, each under its own handle")
  func severalProviders() throws {
    let bench = try ProviderBench()
    let first = try bench.start()
    let second = RecordingProvider(channels: 1, memory: bench.transport.memory)
    let handle = try bench.interface.registerProvider(
      second, characteristics: bench.characteristics)
    #expect(handle != first)
    try bench.interface.startProvider(handle, attributes: bench.attributes(channels: 1))
    try bench.interface.stopProvider(first)
    // The second goes on.
    let channel = try bench.open(handle)
    #expect(channel.handle == second.channel(0)?.handle)
    #expect(bench.provider.callNames == ["affinity"])
  }

  // MARK: - NetDmaProviderStart

  @Test("channels may be allocated as soon as the provider is started, and not before")
  func allocationNeedsStart() throws {
    let bench = try ProviderBench()
    let handle = try bench.register()
    #expect(throws: NetDmaError.self) { try bench.openAndEnd(handle) }
    #expect(bench.provider.callNames == ["affinity"])
    try bench.interface.startProvider(handle, attributes: bench.attributes())
    let channel = try bench.open(handle)
    #expect(bench.provider.callNames == ["affinity", "allocate", "start"])
    #expect(channel.cpuNumber == 0)
  }

  @Test("attributes may differ at each start, and are those of the last one")
  func attributesDiffer() throws {
    let bench = try ProviderBench(channels: 4)
    let handle = try bench.register()
    for (channels, size) in [(4, 4096), (1, 1 << 20), (2, 65536)] {
      try bench.interface.startProvider(
        handle, attributes: bench.attributes(channels: channels, transferSize: size))
      let channel = try bench.open(handle)
      #expect(channel.maximumDescriptorSize == size)
      end(channel)
      try bench.interface.stopProvider(handle)
    }
  }

  @Test("no more channels are allocated than the provider has at this start")
  func channelCountOfThisStart() throws {
    let bench = try ProviderBench(channels: 4)
    let handle = try bench.register()
    try bench.interface.startProvider(handle, attributes: bench.attributes(channels: 1))
    let channel = try bench.open(handle)
    #expect(throws: NetDmaError.self) { try bench.openAndEnd(handle) }
    #expect(bench.provider.callNames.filter { $0 == "allocate" }.count == 1)
    end(channel)
    // A free channel can be had again.
    try bench.openAndEnd(handle)
  }

  @Test(
    "attributes outside netdma.h's limits are refused, and the provider is not started",
    arguments: [(0, 4096), (3, 4096), (1, 4095), (1, 0)])
  func badAttributes(channels: Int, transferSize: Int) throws {
    let bench = try ProviderBench(channels: 2)
    let handle = try bench.register()
    #expect(throws: NetDmaError.self) {
      try bench.interface.startProvider(
        handle, attributes: bench.attributes(channels: channels, transferSize: transferSize))
    }
    #expect(throws: NetDmaError.self) { try bench.interface.stopProvider(handle) }
    // Nothing changed: it can be started properly.
    try bench.interface.startProvider(handle, attributes: bench.attributes())
  }

  @Test("a second start is refused, and the first one's attributes stay")
  func startTwice() throws {
    let bench = try ProviderBench()
    let handle = try bench.start()
    #expect(throws: NetDmaError.wrongState(call: "NetDmaProviderStart", state: "started")) {
      try bench.interface.startProvider(handle, attributes: bench.attributes(transferSize: 4096))
    }
    let channel = try bench.open(handle)
    #expect(channel.maximumDescriptorSize == 1 << 20)
  }

  // MARK: - NetDmaProviderStop

  @Test("start and stop repeat")
  func startStopRepeats() throws {
    let bench = try ProviderBench()
    let handle = try bench.register()
    for round in 0..<3 {
      try bench.interface.startProvider(handle, attributes: bench.attributes())
      bench.provider.forgetCalls()
      var channel = try bench.open(handle, mode: .polled)
      try channel.submitNulls(UInt64(round)..<UInt64(round + 1))
      #expect(try pollAll(&channel, 1).map(\.token) == [UInt64(round)])
      end(channel)
      try bench.interface.stopProvider(handle)
      #expect(bench.provider.callNames == ["allocate", "start", "append", "free"])
    }
    try bench.interface.deregisterProvider(handle)
  }

  @Test("stop frees every channel before it returns, and nothing is called on them afterwards")
  func stopFreesChannels() throws {
    let bench = try ProviderBench(channels: 3)
    let handle = try bench.start()
    var first = try bench.open(handle)
    let second = try bench.open(handle, mode: .polled)
    let secondHandle = second.handle
    try bench.interface.stopProvider(handle)
    #expect(bench.provider.callNames.suffix(2) == ["free", "free"])
    #expect((0..<3).allSatisfy { bench.provider.channel($0) == nil })
    bench.provider.forgetCalls()
    let refusal = first.submitRefusal()
    #expect(refusal == .channelGone(reason: "Its provider was stopped."))
    #expect(throws: NetDmaError.staleHandle(call: "SuspendDma")) {
      try bench.interface.suspendDma(secondHandle)
    }
    end(first)
    end(second)
    #expect(bench.provider.calls.isEmpty)
  }

  @Test("stop without a start is refused")
  func stopUnstarted() throws {
    let bench = try ProviderBench()
    let handle = try bench.register()
    #expect(throws: NetDmaError.self) { try bench.interface.stopProvider(handle) }
    try bench.interface.startProvider(handle, attributes: bench.attributes())
    try bench.interface.stopProvider(handle)
    #expect(throws: NetDmaError.self) { try bench.interface.stopProvider(handle) }
  }

  @Test("stop waits for an allocation under way, and that is refused")
  func stopDuringAllocation() throws {
    let bench = try ProviderBench()
    let handle = try bench.start()
    let (inside, release) = (Signal(), Signal())
    bench.provider.onCall { call in
      guard call == .allocate(channel: 0) else { return }
      inside.set()
      release.wait(for: .seconds(60))
    }
    let allocation = try Background { () -> Bool in
      do {
        try bench.openAndEnd(handle)
        return true
      } catch { return false }
    }
    inside.wait(for: .seconds(60))
    let stopped = Signal()
    let stop = try Background { () -> [String] in
      try? bench.interface.stopProvider(handle)
      stopped.set()
      return bench.provider.callNames
    }
    // The stop cannot finish while a handler runs for a channel that it would have to free; once it
    // has begun, no further channel is allocated.
    eventually("the stop's beginning") {
      do throws(NetDmaError) {
        end(try bench.interface.allocateChannel(handle))
        return false
      } catch {
        if case .wrongState = error { return true } else { return false }
      }
    }
    #expect(!stopped.wait(for: .milliseconds(50)))
    release.set()
    #expect(allocation.wait() == false)
    // When stop returned the channel was free again, and nothing came later.
    let calls = try #require(stop.wait())
    #expect(calls.last == "free")
    #expect(bench.provider.callNames == calls)
    #expect(bench.provider.channel(0) == nil)
  }

  // MARK: - NetDmaDeregisterProvider

  @Test("deregistration is refused before the stop, and makes the handle stale after it")
  func deregistration() throws {
    let bench = try ProviderBench()
    let handle = try bench.start()
    #expect(throws: NetDmaError.wrongState(call: "NetDmaDeregisterProvider", state: "started")) {
      try bench.interface.deregisterProvider(handle)
    }
    // Nothing changed.
    try bench.openAndEnd(handle)
    try bench.interface.stopProvider(handle)
    try bench.interface.deregisterProvider(handle)
    #expect(throws: NetDmaError.staleHandle(call: "NetDmaDeregisterProvider")) {
      try bench.interface.deregisterProvider(handle)
    }
    #expect(throws: NetDmaError.staleHandle(call: "NetDmaProviderStart")) {
      try bench.interface.startProvider(handle, attributes: bench.attributes())
    }
    #expect(throws: NetDmaError.staleHandle(call: "NetDmaProviderStop")) {
      try bench.interface.stopProvider(handle)
    }
    #expect(throws: NetDmaError.staleHandle(call: "NetDmaPnPEventNotify")) {
      try bench.interface.notifyPnPEvent(handle, .providerPowerDown)
    }
    #expect(throws: NetDmaError.staleHandle(call: "AllocateDmaChannel")) {
      try bench.openAndEnd(handle)
    }
    // A new registration is a new handle.
    #expect(try bench.register() != handle)
  }

  @Test("an interface keeps a provider alive exactly as long as it is registered")
  func providerLifetime() throws {
    let bench = try ProviderBench()
    weak var weakProvider: RecordingProvider?
    let handle = try {
      let provider = RecordingProvider(channels: 1, memory: bench.transport.memory)
      weakProvider = provider
      return try bench.interface.registerProvider(
        provider, characteristics: bench.characteristics)
    }()
    #expect(weakProvider != nil)
    try bench.interface.deregisterProvider(handle)
    #expect(weakProvider == nil)
  }
}

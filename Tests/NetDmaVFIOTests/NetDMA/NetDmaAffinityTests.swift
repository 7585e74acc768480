// SPDX-License-Identifier: Apache-2.0

import Logging
import NetDmaMock
import NetDmaVFIO
import Synchronization
import Testing

/// SetDmaChannelCpuAffinity and AllocateDmaChannel of the IOAT provider: which channel, which CPU.
struct NetDmaAffinityTests {
  /// Three channels whose interrupts target CPUs 10, 11 and 12.
  private func bench(usesInterrupts: Bool = true) throws -> IOATBench {
    try IOATBench(
      ModelConfiguration(channelCount: 3, timing: .fast), cpus: [10, 11, 12],
      usesInterrupts: usesInterrupts)
  }

  @Test(
    "a channel whose interrupt targets a CPU of the mask is chosen, and that CPU written back",
    arguments: [
      ([10], 0, 10), ([11], 1, 11), ([12], 2, 12), ([12, 11], 1, 11), ([99, 12], 2, 12),
    ]
      as [([Int], Int, Int)])
  func match(mask: [Int], index: Int, cpu: Int) throws {
    let bench = try bench()
    let channel = try bench.open(affinity: Set(mask))
    #expect(bench.hardwareChannels().map { $0 > 0 } == (0..<3).map { $0 == index })
    #expect(channel.cpuNumber == cpu)
  }

  @Test("without a match any free channel is taken, and its DPC runs on a CPU of the mask")
  func noMatch() throws {
    let bench = try bench()
    let threads = Mutex(Set<String>())
    var channel = try bench.open(affinity: [77]) { _ in
      threads.withLock { _ = $0.insert(currentThreadName()) }
    }
    #expect(channel.cpuNumber == 77)
    try channel.submitCopies(0..<5, bench.memory)
    bench.log.wait(for: 5)
    #expect(threads.withLock { $0 } == ["netdma-isr/77"])
  }

  @Test("a match that is taken is no match: another channel, and the DPC on a CPU of the mask")
  func matchTaken() throws {
    let bench = try bench()
    let first = try bench.open(affinity: [11])
    let second = try bench.open(affinity: [11])
    #expect(first.cpuNumber == 11 && second.cpuNumber == 11)
    #expect(bench.hardwareChannels().filter { $0 > 0 }.count == 2)
  }

  @Test("without a mask each channel keeps its own CPU; every channel can be had, and no more")
  func everyChannel() throws {
    let bench = try bench()
    let first = try bench.open()
    let second = try bench.open()
    let third = try bench.open()
    #expect(Set([first.cpuNumber, second.cpuNumber, third.cpuNumber]) == [10, 11, 12])
    #expect(bench.hardwareChannels().allSatisfy { $0 == 1 })
    #expect(throws: NetDmaError.self) { end(try bench.open()) }
    end(second)
    let again = try bench.open()
    #expect(bench.hardwareChannels().map { $0 > 1 } == [false, true, false])
    #expect(again.cpuNumber == 11)
  }

  @Test("vector n is channel n's, and its ISR runs for that channel alone", arguments: 0..<3)
  func vectors(vector: Int) throws {
    let bench = try bench()
    let first = try bench.open(affinity: [10])
    let second = try bench.open(affinity: [11])
    let third = try bench.open(affinity: [12])
    try bench.transport.triggerInterrupt(.msix, vector: vector)
    let expected = (0..<3).map { UInt64($0 == vector ? 1 : 0) }
    eventually("the interrupt of vector \(vector)") {
      first.statistics.isrCalls + second.statistics.isrCalls + third.statistics.isrCalls == 1
    }
    let found = [first.statistics, second.statistics, third.statistics].map(\.interrupts)
    #expect(found == expected)
    #expect(bench.provider.unclaimedInterrupts == 0)
  }

  @Test("without vectors channels are polled; the CPU number is written back all the same")
  func withoutVectors() throws {
    let bench = try bench(usesInterrupts: false)
    #expect(throws: NetDmaError.self) { end(try bench.open(.interrupt)) }
    #expect(bench.hardwareChannels().allSatisfy { $0 == 0 })
    let plain = try bench.open(.polled)
    let matched = try bench.open(.polled, affinity: [12])
    let unmatched = try bench.open(.polled, affinity: [77])
    #expect(plain.cpuNumber == 10)
    #expect(matched.cpuNumber == 12)
    #expect(unmatched.cpuNumber == 77)
  }

  @Test("an IOAT provider says of itself what its registers say")
  func characteristics() throws {
    let bench = try IOATBench(
      ModelConfiguration(
        deviceID: 0x2021, cbVersion: 0x32, channelCount: 4, transferCapability: 14,
        capabilities: 0x11, addressWidth: 46, timing: .fast))
    let characteristics = bench.provider.characteristics
    #expect(characteristics.version == .current)
    #expect(characteristics.flags == .dcaSupported)
    #expect(characteristics.maximumChannelCount == 4)
    #expect(characteristics.optionalHandlers == [.suspendResume, .abort, .reset])
    #expect(characteristics.friendlyName == "mock")
    let attributes = bench.provider.attributes
    #expect(attributes.majorHardwareVersion == 3 && attributes.minorHardwareVersion == 2)
    #expect(attributes.vendorID == 0x8086)
    #expect(attributes.channelCount == 4)
    #expect(attributes.maximumTransferSize == 16384)
    #expect(attributes.maximumAddress == (1 << 46) - 1)
    #expect(attributes.capabilities == [.pageBreak, .dca])
    // Whatever is shown to the engine lies where it reaches.
    #expect(bench.memory.targetIOVA < attributes.maximumAddress)
  }

  @Test("provider flags have the numbers of netdma.h")
  func flags() throws {
    #expect(NetDmaProviderFlags.dcaSupported.rawValue == 1)
    #expect(NetDmaProviderFlags.processorGroups.rawValue == 2)
    let plain = try IOATBench()
    #expect(plain.provider.characteristics.flags == [])
  }

  @Test("a channel of one provider is refused by another")
  func foreignChannel() throws {
    let bench = try bench()
    final class Foreign: NetDmaChannelContext {}
    let foreign = Foreign()
    let provider = bench.provider
    #expect(throws: NetDmaError.self) {
      try provider.startDma(foreign, descriptor: 0, count: 1)
    }
    #expect(throws: NetDmaError.self) { try provider.appendDma(foreign, count: 1) }
    #expect(throws: NetDmaError.self) { _ = try provider.suspendDma(foreign) }
    #expect(throws: NetDmaError.self) { try provider.abortDma(foreign) }
    #expect(throws: NetDmaError.self) { try provider.resetChannel(foreign) }
    #expect(bench.hardwareChannels().allSatisfy { $0 == 0 })
  }

  @Test("where pinning is refused it works all the same, and says so once per CPU")
  func pinningRefused() throws {
    let lines = LogLines()
    // There is no CPU 1000 on the machines that this runs on; where there is, nothing is refused.
    let bench = try IOATBench(cpus: [1000], pinsThreads: true, logger: lines.logger)
    var channel = try bench.open()
    for index in 0..<10 { try channel.submitCopies(index..<index + 1, bench.memory) }
    #expect(bench.log.wait(for: 10).map(\.token) == (0..<10).map(UInt64.init))
    let notices = lines.all.filter { $0.contains("interrupt thread is not pinned") }
    #expect(notices.count == (ProcessorSet.available().contains(1000) ? 0 : 1))
  }
}

/// Keeps what is logged: message and metadata in one line each.
final class LogLines: Sendable {
  private let lines = Mutex<[String]>([])
  var all: [String] { lines.withLock { $0 } }

  var logger: Logger { Logger(label: "test") { _ in Handler(lines: self) } }

  private struct Handler: LogHandler {
    let lines: LogLines
    var metadata: Logger.Metadata = [:]
    var logLevel: Logger.Level = .trace
    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
      get { metadata[key] }
      set { metadata[key] = newValue }
    }
    func log(event: LogEvent) {
      let pairs = (event.metadata ?? [:]).sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }
      lines.lines.withLock {
        $0.append(([event.message.description] + pairs).joined(separator: " "))
      }
    }
  }
}

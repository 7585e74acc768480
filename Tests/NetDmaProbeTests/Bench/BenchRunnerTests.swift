// SPDX-License-Identifier: Apache-2.0

import Logging
import NetDmaMock
import NetDmaVFIO
import Synchronization
import Testing

@testable import netdma_probe

/// Memory in which every copy of one length goes wrong in one byte.
private final class WrongMemory: BusMemory {
  private let memory: any BusMemory
  private let length: Int
  init(_ memory: any BusMemory, length: Int) {
    self.memory = memory
    self.length = length
  }
  func read(_ address: UInt64, into buffer: UnsafeMutableRawBufferPointer) throws(BusFault) {
    try memory.read(address, into: buffer)
  }
  func write(_ address: UInt64, from buffer: UnsafeRawBufferPointer) throws(BusFault) {
    try memory.write(address, from: buffer)
  }
  func copy(from source: UInt64, to destination: UInt64, count: Int) throws(BusFault) {
    try memory.copy(from: source, to: destination, count: count)
    guard count == length else { return }
    var byte: UInt8 = 0
    var fault: BusFault?
    withUnsafeMutableBytes(of: &byte) { bytes in
      do throws(BusFault) {
        try memory.read(destination + UInt64(count) - 1, into: bytes)
        bytes[0] ^= 0x01
        try memory.write(destination + UInt64(count) - 1, from: UnsafeRawBufferPointer(bytes))
      } catch { fault = error }
    }
    if let fault { throw fault }
  }
  func storeRelease(_ value: UInt64, to address: UInt64) throws(BusFault) {
    try memory.storeRelease(value, to: address)
  }
}

@Suite("How bench measures")
struct BenchRunnerTests {
  private static let logger = Logger(label: "bench", factory: { _ in SwiftLogNoOpLogHandler() })

  private func engine(
    _ mode: BenchPoint.Mode, channels: Int = 1, wrongLength: Int? = nil, faults: FaultPlan = .none
  ) throws -> DMAEngine {
    var configuration = ModelConfiguration(timing: .fast)
    configuration.channelCount = channels
    configuration.vectorCount = channels
    let transport = try MockTransport(
      profile: DeviceProfile(model: configuration), name: "mock",
      wrappingMemory: { memory in
        wrongLength.map { WrongMemory(memory, length: $0) } ?? memory
      })
    var options = DMAEngine.Options()
    options.usesInterrupts = mode != .poll
    let engine = try DMAEngine(transport: transport, options: options, logger: Self.logger)
    transport.model.install(faults)
    return engine
  }

  /// On a thread that may block: the ones that tests run on are those that async calls need.
  private func run(
    _ engine: DMAEngine, _ mode: BenchPoint.Mode, sizes: [Int] = [1, 4096], depths: [Int] = [4],
    batches: [Int]? = nil, channels: [Int]? = nil, verifies: Bool = false,
    isStopped: @escaping @Sendable () -> Bool = { false }
  ) async throws -> BenchRunner.Outcome {
    var request = BenchPlan.Request()
    request.mode = mode
    request.sizes = sizes
    request.depths = depths
    request.batches = batches
    request.channels = channels
    let plan = BenchPlan(request, deviceChannels: engine.device.channelCount)
    var options = BenchOptions()
    options.duration = .milliseconds(5)
    options.verifies = verifies
    return try await withCheckedThrowingContinuation { continuation in
      do {
        try PinnedThread(name: "bench-test") { [options] _ in
          continuation.resume(
            returning: BenchRunner(engine: engine, plan: plan, options: options)
              .run(isStopped: isStopped, progress: { _ in }))
        }.detach()
      } catch {
        continuation.resume(throwing: error)
      }
    }
  }

  @Test(
    "each way of completion is measured, every operation ended and was compared",
    arguments: BenchPoint.Mode.allCases)
  func modes(_ mode: BenchPoint.Mode) async throws {
    let engine = try engine(mode)
    // Longer than the engine's limit for one descriptor, too.
    let long = engine.device.maximumTransferSize * 2 + 1
    let outcome = try await run(engine, mode, sizes: [1, 4096, long], verifies: true)
    #expect(outcome.failure == nil)
    #expect(outcome.results.count == 3)
    for result in outcome.results {
      let measurement = result.measurement
      #expect(measurement.operations > 0)
      #expect(measurement.check.operations == measurement.operations)
      #expect(measurement.check.mismatches == 0)
      #expect(measurement.rate > 0 && measurement.seconds > 0)
      let latency = measurement.latency
      #expect(latency.p50 > 0 && latency.p50 <= latency.p99)
      #expect(latency.p99 <= latency.p999 && latency.p999 <= latency.max)
      #expect(measurement.cpuNanoseconds > 0)
      #expect(measurement.baseline.map { $0.operations > 0 && $0.rate > 0 } == true)
      #expect((measurement.interrupts > 0) == (mode != .poll))
      let pieces = result.point.size > 4096 ? 3 : 1
      #expect(measurement.descriptors == UInt64(measurement.operations * pieces))
      #expect(measurement.doorbells <= measurement.descriptors && measurement.doorbells > 0)
    }
    let statistics = engine.statistics.channels
    #expect(statistics.failed == 0)
    try engine.close()
  }

  @Test("a batch has one doorbell", arguments: [BenchPoint.Mode.poll, .interrupt])
  func batches(_ mode: BenchPoint.Mode) async throws {
    let engine = try engine(mode)
    let outcome = try await run(engine, mode, sizes: [64], depths: [32], batches: [8])
    let measurement = try #require(outcome.results.first).measurement
    #expect(measurement.doorbells * 8 == measurement.descriptors)
    try engine.close()
  }

  @Test("channels are measured together", arguments: [BenchPoint.Mode.poll, .interrupt])
  func channels(_ mode: BenchPoint.Mode) async throws {
    let engine = try engine(mode, channels: 3)
    let outcome = try await run(engine, mode, sizes: [64], channels: [1, 3], verifies: true)
    #expect(outcome.failure == nil)
    #expect(outcome.results.map(\.point.channels) == [1, 3])
    #expect(outcome.results.allSatisfy { $0.measurement.check.mismatches == 0 })
    try engine.close()
  }

  @Test("one wrong byte is found with --verify", arguments: BenchPoint.Mode.allCases)
  func wrongByte(_ mode: BenchPoint.Mode) async throws {
    let engine = try engine(mode, wrongLength: 4096)
    let outcome = try await run(engine, mode, sizes: [64, 4096], verifies: true)
    // What came before it is told.
    #expect(outcome.results.first?.measurement.check.mismatches == 0)
    guard case BenchError.mismatches(_, let count, let first) = try #require(outcome.failure)
    else {
      Issue.record("\(String(describing: outcome.failure))")
      return
    }
    #expect(count == outcome.results.last?.measurement.operations)
    #expect(first == "The first is a copy of 4 KiB at byte 4095.")
    try engine.close()
  }

  @Test(
    "an operation that fails ends the run with its error and what was measured before",
    arguments: BenchPoint.Mode.allCases)
  func failure(_ mode: BenchPoint.Mode) async throws {
    // The channel's first null, four operations around once, and then the measured ones, of which
    // there are at least as many as the depth.
    let rule = FaultPlan.Rule(.error(bit: 2), on: .descriptor(6), limit: 1)
    let engine = try engine(mode, faults: FaultPlan(rules: [rule]))
    let outcome = try await run(engine, mode)
    guard case BenchError.operationFailed(let point, _) = try #require(outcome.failure) else {
      Issue.record("\(String(describing: outcome.failure))")
      return
    }
    #expect(point.size == 1)
    #expect(outcome.results.isEmpty)
    // The channel was recovered, and the engine goes on.
    let next = try await run(engine, mode)
    #expect(next.failure == nil)
    #expect(next.results.count == 2)
    try engine.close()
  }

  @Test("a stop ends the run with what there is", arguments: BenchPoint.Mode.allCases)
  func stop(_ mode: BenchPoint.Mode) async throws {
    let engine = try engine(mode)
    let questions = Questions()
    // Asked at least once for each point, so that not all of a hundred are measured.
    let outcome = try await run(
      engine, mode, sizes: [64], depths: Array(1...100), isStopped: { questions.count() > 50 })
    #expect(outcome.wasStopped)
    #expect(outcome.failure == nil)
    #expect(outcome.results.count < 100)
    let statistics = engine.statistics.channels
    #expect(statistics.completed == statistics.submittedDescriptors)
    try engine.close()
  }

  /// How often something was asked.
  private final class Questions: Sendable {
    private let number = Atomic<Int>(0)
    func count() -> Int { number.add(1, ordering: .relaxed).newValue }
  }
}

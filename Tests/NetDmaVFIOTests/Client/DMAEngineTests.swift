// SPDX-License-Identifier: Apache-2.0

import NetDmaMock
import NetDmaVFIO
import Testing

/// Async copies, for people who know nothing of NetDMA.
struct DMAEngineTests {
  @Test("a copy between parts of two buffers has happened when the call returns")
  func parts() async throws {
    let bench = try EngineBench()
    var source = try bench.engine.allocate(byteCount: 8192)
    let target = try bench.engine.allocate(byteCount: 8192)
    source.withMutableBytes { span in
      for index in 0..<8192 {
        span.storeBytes(of: UInt8(truncatingIfNeeded: index), toByteOffset: index, as: UInt8.self)
      }
    }
    try await bench.engine.copy(from: source, 100..<1100, to: target, at: 5000)
    let bytes = target.withBytes { span in
      (0..<8192).map { span.unsafeLoad(fromByteOffset: $0, as: UInt8.self) }
    }
    #expect(bytes[5000..<6000].elementsEqual((100..<1100).map { UInt8(truncatingIfNeeded: $0) }))
    #expect(bytes[..<5000].allSatisfy { $0 == 0 } && bytes[6000...].allSatisfy { $0 == 0 })
  }

  @Test("lengths that differ and ranges outside their buffers are refused with an error")
  func badRanges() async throws {
    let bench = try EngineBench()
    let engine = bench.engine
    let source = try engine.allocate(byteCount: 4096)
    let target = try engine.allocate(byteCount: 4096)
    func refusal(_ copy: () async throws -> Void) async -> NetDmaError? {
      do { try await copy() } catch { return error as? NetDmaError }
      return nil
    }
    var refusals: [NetDmaError?] = []
    refusals.append(
      await refusal {
        try await engine.copy(from: source.slice(0..<8), to: target.slice(0..<9))
      })
    refusals.append(await refusal { try await engine.copy(from: source, 0..<4097, to: target) })
    refusals.append(await refusal { try await engine.copy(from: source, -1..<4, to: target) })
    refusals.append(
      await refusal { try await engine.copy(from: source, 0..<8, to: target, at: 4089) })
    refusals.append(
      await refusal { try await engine.copy(from: source, 0..<8, to: target, at: .max) })
    refusals.append(
      await refusal { try await engine.copy(from: source, 0..<8, to: target, at: -1) })
    for refusal in refusals {
      guard case .invalidParameter(call: "copy", _) = refusal else {
        Issue.record("not refused: \(String(describing: refusal))")
        continue
      }
    }
    #expect(engine.statistics.channels.submittedDescriptors == 0)
  }

  @Test("many tasks share an engine, and its channels share the work", arguments: [1, 4])
  func manyTasks(channels: Int) async throws {
    let bench = try EngineBench(ModelConfiguration(channelCount: channels, timing: .fast))
    let memory = bench.memory
    try await withThrowingTaskGroup(of: Void.self) { group in
      for task in 0..<16 {
        group.addTask {
          for turn in 0..<32 {
            let start = (task * 32 + turn) * 2048
            try await bench.engine.copy(
              from: memory.source(start..<start + 2000), to: memory.target(start..<start + 2000))
          }
        }
      }
      try await group.waitForAll()
    }
    for index in 0..<512 {
      #expect(memory.matches(index * 2048..<index * 2048 + 2000))
      #expect(memory.isZero(index * 2048 + 2000..<index * 2048 + 2048))
    }
    #expect(bench.engine.statistics.channels.completed == 512)
    let used = bench.model.statistics.channels.filter { $0.descriptors > 100 }.count
    #expect(used == channels)
  }

  @Test("more copies at a time than the ring has slots all come back")
  func overfull() async throws {
    let bench = try EngineBench()
    let memory = bench.memory
    try await withThrowingTaskGroup(of: Void.self) { group in
      for index in 0..<400 {
        group.addTask {
          try await bench.engine.copy(
            from: memory.source(index * 64..<index * 64 + 64),
            to: memory.target(index * 64..<index * 64 + 64))
        }
      }
      try await group.waitForAll()
    }
    #expect(memory.matches(0..<400 * 64))
  }

  @Test("a copy longer than the ring takes goes piece by piece, and so does a fill, in phase")
  func long() async throws {
    let bench = try EngineBench(ModelConfiguration(transferCapability: 12, timing: .fast))
    try await bench.engine.copy(
      from: bench.memory.source(0..<1 << 20), to: bench.memory.target(0..<1 << 20))
    #expect(bench.memory.matches(0..<1 << 20))
    try await bench.engine.fill(bench.memory.target(0..<1 << 20), pattern: 0x0706_0504_0302_0100)
    let bytes = bench.memory.targetBytes(0..<1 << 20)
    #expect(bytes.indices.allSatisfy { bytes[$0] == UInt8($0 & 7) })
  }

  @Test(
    "rings and pieces have the size of the nearest ring that there is",
    arguments: [(Int.max, 16 << 20), (1 << 20, 16 << 20), (0, 4096), (.min, 4096)])
  func ringCapacity(capacity: Int, longest: Int) async throws {
    var options = EngineBench.options()
    options.ringCapacity = capacity
    let bench = try EngineBench(
      ModelConfiguration(transferCapability: 12, timing: .fast), bytes: 4096, options: options)
    // A piece takes an eighth of a ring, of 32,768 descriptors or of 8.
    let buffer = try bench.engine.allocate(byteCount: 2 * longest + 1)
    try await bench.engine.fill(buffer.slice, pattern: .max)
    #expect(bench.engine.statistics.channels.completed == 3)
  }

  @Test("a cancelled task still waits until the engine is done with the memory")
  func cancelled() async throws {
    let bench = try EngineBench()
    bench.model.install(
      FaultPlan(rules: [.init(.slow(nanoseconds: 50_000_000), on: .probability(1))]))
    let memory = bench.memory
    let task = Task {
      try await bench.engine.copy(from: memory.source(0..<4096), to: memory.target(0..<4096))
    }
    task.cancel()
    try await task.value
    #expect(memory.matches(0..<4096))
  }

  @Test("a fill repeats its pattern; an engine without fill says so")
  func fill() async throws {
    let bench = try EngineBench()
    try await bench.engine.fill(bench.memory.target(0..<1000), pattern: 0x0101_0101_0101_0101)
    #expect(bench.memory.targetBytes(0..<1000).allSatisfy { $0 == 1 })
    let plain = try EngineBench(ModelConfiguration(capabilities: 0, timing: .fast))
    await #expect(throws: NetDmaError.self) {
      try await plain.engine.fill(plain.memory.target(0..<8), pattern: 0)
    }
  }

  @Test("a copy that fails throws the engine's reason, and the next one works")
  func failure() async throws {
    let bench = try EngineBench()
    let gone = try bench.engine.allocate(byteCount: 4096).slice
    await #expect(throws: DMAOperationError.self) {
      try await bench.engine.copy(from: gone, to: bench.memory.target(0..<4096))
    }
    try await bench.engine.copy(
      from: bench.memory.source(0..<64), to: bench.memory.target(0..<64))
    #expect(bench.memory.matches(0..<64))
  }

  @Test("closing ends copies that are in flight, and later ones are refused")
  func close() async throws {
    // The watchdog is not to end them before the test does.
    var options = EngineBench.options(watchdog: .seconds(600))
    options.interface.drain = .milliseconds(50)
    let bench = try EngineBench(options: options)
    let memory = bench.memory
    // Opens the channels, which prove that the engine lives.
    try await bench.engine.copy(
      from: memory.source(4096..<4160), to: memory.target(4096..<4160))
    bench.model.install(FaultPlan(rules: [.init(.hang, on: .probability(1))]))
    let ended = CompletionLog()
    try await withThrowingTaskGroup(of: Void.self) { group in
      for index in 0..<8 {
        group.addTask {
          let range = index * 64..<index * 64 + 64
          do {
            try await bench.engine.copy(from: memory.source(range), to: memory.target(range))
            Issue.record("a copy that hangs was done")
          } catch { ended.post(DMACompletion(token: UInt64(index), error: nil)) }
        }
      }
      // Sleeping lets go of the thread, which the copies may need on a busy machine.
      let deadline = Deadline(after: .seconds(120))
      while bench.engine.statistics.channels.submittedDescriptors < 9 {
        try #require(!deadline.hasPassed)
        try await Task.sleep(for: .milliseconds(1))
      }
      #expect(throws: NetDmaError.self) { try bench.engine.close() }
      try await group.waitForAll()
    }
    #expect(ended.all.count == 8)
    await #expect(throws: NetDmaError.self) {
      try await bench.engine.copy(from: memory.source(0..<64), to: memory.target(0..<64))
    }
  }

  @Test("copies below the threshold are the CPU's, the others the engine's; both are right")
  func policy() async throws {
    var options = EngineBench.options()
    options.copyPolicy = .cpuBelow(1000)
    let bench = try EngineBench(options: options)
    let memory = bench.memory
    try await bench.engine.copy(from: memory.source(0..<999), to: memory.target(0..<999))
    try await bench.engine.copy(from: memory.source(2000..<3000), to: memory.target(2000..<3000))
    #expect(memory.matches(0..<999) && memory.matches(2000..<3000))
    let statistics = bench.engine.statistics
    #expect(statistics.cpuCopies == 1 && statistics.cpuBytes == 999)
    #expect(statistics.channels.completed == 1)
    #expect(statistics.cpuThreshold == 1000)
  }

  @Test("a slice of a buffer that is gone goes to the engine, which refuses it")
  func policyOfGoneBuffer() async throws {
    var options = EngineBench.options()
    options.copyPolicy = .cpuBelow(10_000)
    let bench = try EngineBench(options: options)
    let gone = try bench.engine.allocate(byteCount: 4096).slice
    await #expect(throws: DMAOperationError.self) {
      try await bench.engine.copy(from: gone, to: bench.memory.target(0..<4096))
    }
  }

  @Test("a measured threshold is found with the first copy")
  func measured() async throws {
    var options = EngineBench.options()
    options.copyPolicy = .measured
    let bench = try EngineBench(options: options)
    try await bench.engine.copy(
      from: bench.memory.source(0..<64), to: bench.memory.target(0..<64))
    #expect(bench.memory.matches(0..<64))
    #expect(bench.engine.statistics.cpuThreshold >= 256)
  }

  @Test("where the measurement fails the engine makes the copy, and one warning says so")
  func measuringFails() async throws {
    var options = EngineBench.options()
    options.copyPolicy = .measured
    let lines = LogLines()
    let transport = try MockTransport(configuration: ModelConfiguration(timing: .fast))
    let engine = try DMAEngine(transport: transport, options: options, logger: lines.logger)
    let memory = try BenchMemory(engine, bytes: 4096)
    // Opens the channel, whose first descriptor must not be the one that fails.
    try await engine.fill(memory.target(0..<64), pattern: 0)
    transport.model.install(
      FaultPlan(rules: [.init(.error(bit: 0), on: .probability(1), limit: 1)]))
    for index in 0..<2 {
      let range = index * 64..<index * 64 + 64
      try await engine.copy(from: memory.source(range), to: memory.target(range))
    }
    #expect(memory.matches(0..<128))
    #expect(engine.statistics.cpuCopies == 0)
    #expect(lines.all.filter { $0.hasPrefix("the CPU's share is not measured") }.count == 1)
    try engine.close()
  }
}

// SPDX-License-Identifier: Apache-2.0

import NetDmaMock
import NetDmaVFIO
import Synchronization
import Testing

/// Async copies on a thread that polls.
struct PollingExecutorTests {
  private static func copy(
    _ executor: PollingExecutor, _ memory: BenchMemory, _ count: Int, size: Int = 64
  ) async throws {
    try await withThrowingTaskGroup(of: Void.self) { group in
      for index in 0..<count {
        group.addTask {
          let range = index * size..<(index + 1) * size
          try await executor.copy(from: memory.source(range), to: memory.target(range))
        }
      }
      try await group.waitForAll()
    }
  }

  @Test("the body and its child tasks run on the executor's thread, from one end to the other")
  func thread() async throws {
    let bench = try EngineBench()
    let memory = bench.memory
    try await bench.engine.withPollingExecutor { executor in
      #expect(executor.isCurrent)
      try await withThrowingTaskGroup(of: Void.self) { group in
        for index in 0..<4 {
          group.addTask {
            #expect(executor.isCurrent)
            let range = index * 64..<index * 64 + 64
            try await executor.copy(from: memory.source(range), to: memory.target(range))
            #expect(executor.isCurrent)
            try await Task.sleep(for: .milliseconds(1))
            #expect(executor.isCurrent)
          }
        }
        try await group.waitForAll()
      }
    }
  }

  @Test("copies have happened when the calls return, and tasks that wait together share a doorbell")
  func manyTasks() async throws {
    let bench = try EngineBench()
    let memory = bench.memory
    try await bench.engine.withPollingExecutor { executor in
      try await Self.copy(executor, memory, 60)
    }
    #expect(memory.matches(0..<60 * 64))
    let statistics = bench.engine.statistics.channels
    #expect(statistics.completed == 60)
    #expect(statistics.doorbells < 60)
    #expect(statistics.interrupts == 0)
  }

  @Test("more copies at a time than the ring has slots all come back")
  func overfull() async throws {
    let bench = try EngineBench()
    let memory = bench.memory
    try await bench.engine.withPollingExecutor(ringCapacity: 8) { executor in
      try await Self.copy(executor, memory, 400)
    }
    #expect(memory.matches(0..<400 * 64))
  }

  @Test("a copy longer than the ring takes goes piece by piece, and so does a fill")
  func long() async throws {
    let bench = try EngineBench(ModelConfiguration(transferCapability: 12, timing: .fast))
    let memory = bench.memory
    try await bench.engine.withPollingExecutor(ringCapacity: 8) { executor in
      try await executor.copy(
        from: memory.source(0..<300_000), to: memory.target(0..<300_000))
      #expect(memory.matches(0..<300_000))
      try await executor.fill(memory.target(0..<300_000), pattern: 0x0202_0202_0202_0202)
      #expect(memory.targetBytes(0..<300_000).allSatisfy { $0 == 2 })
    }
  }

  @Test("a task that runs elsewhere may copy, and goes on elsewhere")
  func fromElsewhere() async throws {
    let bench = try EngineBench()
    let memory = bench.memory
    try await bench.engine.withPollingExecutor { executor in
      let task = Task.detached {
        #expect(!executor.isCurrent)
        try await executor.copy(from: memory.source(0..<4096), to: memory.target(0..<4096))
        #expect(!executor.isCurrent)
      }
      try await task.value
    }
    #expect(memory.matches(0..<4096))
  }

  @Test("tasks of many threads copy at once, and each byte is right")
  func fromEverywhere() async throws {
    let bench = try EngineBench()
    let memory = bench.memory
    try await bench.engine.withPollingExecutor { executor in
      let tasks = (0..<16).map { task in
        Task.detached {
          for turn in 0..<32 {
            let start = (task * 32 + turn) * 2048
            try await executor.copy(
              from: memory.source(start..<start + 2000), to: memory.target(start..<start + 2000))
          }
        }
      }
      for task in tasks { try await task.value }
    }
    for index in 0..<512 { #expect(memory.matches(index * 2048..<index * 2048 + 2000)) }
  }

  @Test(
    "a copy that fails throws the engine's reason, those beside it are done, and so is the next")
  func failure() async throws {
    let bench = try EngineBench()
    let memory = bench.memory
    let gone = try bench.engine.allocate(byteCount: 4096).slice
    try await bench.engine.withPollingExecutor { executor in
      try await withThrowingTaskGroup(of: Bool.self) { group in
        for index in 0..<9 {
          group.addTask {
            let range = index * 64..<index * 64 + 64
            do {
              try await executor.copy(
                from: index == 4 ? gone.slice(0..<64) : memory.source(range),
                to: memory.target(range))
              return true
            } catch is DMAOperationError { return false }
          }
        }
        var done = 0
        for try await isDone in group where isDone { done += 1 }
        #expect(done == 8)
      }
      try await executor.copy(from: memory.source(1024..<2048), to: memory.target(1024..<2048))
    }
    #expect(memory.matches(0..<256) && memory.isZero(256..<320) && memory.matches(320..<576))
    #expect(memory.matches(1024..<2048))
  }

  @Test("a fill on an engine that lacks it throws, and harms nobody")
  func noFill() async throws {
    let bench = try EngineBench(ModelConfiguration(capabilities: 0, timing: .fast))
    let memory = bench.memory
    try await bench.engine.withPollingExecutor { executor in
      await #expect(throws: NetDmaError.self) {
        try await executor.fill(memory.target(0..<8), pattern: 0)
      }
      try await executor.copy(from: memory.source(0..<64), to: memory.target(0..<64))
    }
    #expect(memory.matches(0..<64))
  }

  @Test("after the scope the channel is free, and the executor takes no copies")
  func afterScope() async throws {
    let bench = try EngineBench()
    let memory = bench.memory
    // The engine has one channel.
    let kept = try await bench.engine.withPollingExecutor { executor in
      try await executor.copy(from: memory.source(0..<64), to: memory.target(0..<64))
      return executor
    }
    await #expect(throws: NetDmaError.self) {
      try await kept.copy(from: memory.source(0..<64), to: memory.target(0..<64))
    }
    try await bench.engine.withPollingExecutor { executor in
      try await executor.copy(from: memory.source(64..<128), to: memory.target(64..<128))
    }
    #expect(memory.matches(0..<128))
  }

  @Test("a task that prefers the executor and outlives its scope goes on elsewhere")
  func outlives() async throws {
    let bench = try EngineBench()
    let task = try await bench.engine.withPollingExecutor { executor in
      Task(executorPreference: executor) {
        while executor.isCurrent { await Task.yield() }
        return true
      }
    }
    #expect(await task.value)
  }

  @Test("without a free channel there is no executor, and the body does not run")
  func noChannel() async throws {
    let bench = try EngineBench()
    let channel = try bench.open(.polled)
    await #expect(throws: NetDmaError.self) {
      try await bench.engine.withPollingExecutor { _ in Issue.record("the body ran") }
    }
    _ = consume channel
  }

  @Test("closing the engine ends the copies that are in flight, and later ones are refused")
  func close() async throws {
    var options = EngineBench.options(watchdog: .seconds(600))
    options.interface.drain = .milliseconds(50)
    let bench = try EngineBench(options: options)
    let memory = bench.memory
    try await bench.engine.withPollingExecutor { executor in
      bench.model.install(FaultPlan(rules: [.init(.hang, on: .probability(1))]))
      let ended = EndedCount()
      try await withThrowingTaskGroup(of: Void.self) { group in
        for index in 0..<8 {
          group.addTask {
            let range = index * 64..<index * 64 + 64
            do {
              try await executor.copy(from: memory.source(range), to: memory.target(range))
              Issue.record("a copy that hangs was done")
            } catch { ended.add() }
          }
        }
        group.addTask {
          while bench.engine.statistics.channels.submittedDescriptors < 8 { await Task.yield() }
          #expect(throws: NetDmaError.self) { try bench.engine.close() }
        }
        try await group.waitForAll()
      }
      #expect(ended.count == 8)
      await #expect(throws: (any Error).self) {
        try await executor.copy(from: memory.source(0..<64), to: memory.target(0..<64))
      }
    }
  }
}

/// How many copies ended, counted from many tasks.
private final class EndedCount: Sendable {
  private let value = Atomic<Int>(0)
  func add() { value.add(1, ordering: .relaxed) }
  var count: Int { value.load(ordering: .relaxed) }
}

// SPDX-License-Identifier: Apache-2.0

import BenchSupport
import CFloor
import Logging
import NetDmaVFIO
import Synchronization

/// An async copy on a polling executor against enqueue, submit and poll by hand, on an engine that takes no
/// time.
enum AsyncRows {
  private static let rounds = 9
  private static let copies = 64 * 3000

  static func rows(_ bench: Bench) async throws -> [Row] {
    var rows: [Row] = []
    for depth in [1, 64] {
      var ours: [Double] = []
      var polled: [Double] = []
      var waits: UInt64 = 0
      for _ in 0..<rounds {
        let result = try await tasks(depth: depth, cpu: bench.otherCPU)
        ours.append(result.nanoseconds)
        waits += result.waits
        polled.append(try onThread(bench.otherCPU) { try byHand(depth: depth) })
      }
      rows.append(
        Row(
          name: "async copy, queue depth \(depth), time", ours: median(ours),
          baseline: median(polled), target: 500, unit: "ns/operation", rule: .differenceAtMost))
      rows.append(
        Row(
          name: "async copy, queue depth \(depth), contended locks",
          ours: Double(waits) / Double(rounds * copies), baseline: 0, target: 0,
          unit: "waits/operation", rule: .oursAtMost))
    }
    return rows
  }

  private static func engine(_ transport: InstantTransport) throws -> DMAEngine {
    var options = DMAEngine.Options()
    options.usesInterrupts = false
    return try DMAEngine(transport: transport, options: options, logger: quietLogger())
  }

  private static func tasks(
    depth: Int, cpu: Int
  ) async throws -> (nanoseconds: Double, waits: UInt64) {
    let transport = try InstantTransport(doorbells: .byMessage)
    let engine = try engine(transport)
    let memory = try engine.allocate(byteCount: 8192)
    let (source, target) = (memory.slice(0..<4096), memory.slice(4096..<8192))
    let result = try await engine.withPollingExecutor(cpu: cpu) { executor in
      transport.stopResponding()
      defer { transport.startResponding() }
      func run(_ copies: Int) async throws {
        try await withThrowingTaskGroup(of: Void.self) { group in
          for _ in 0..<depth {
            group.addTask {
              for _ in 0..<copies / depth { try await executor.copy(from: source, to: target) }
            }
          }
          try await group.waitForAll()
        }
      }
      try await run(copies / 16)
      let waits = bench_waits()
      let start = bench_now()
      try await run(copies)
      return (Double(bench_now() - start) / Double(copies), bench_waits() - waits)
    }
    try engine.close()
    transport.stopResponding()
    return result
  }

  private static func byHand(depth: Int) throws -> Double {
    let transport = try InstantTransport(doorbells: .byMessage)
    let engine = try engine(transport)
    let memory = try engine.allocate(byteCount: 8192)
    let (source, target) = (memory.slice(0..<4096), memory.slice(4096..<8192))
    var elapsed = 0.0
    do {
      var channel = try engine.openChannel(mode: .polled)
      transport.stopResponding()
      defer { transport.startResponding() }
      for count in [copies / 16, copies] {
        let start = bench_now()
        for _ in 0..<count / depth {
          for _ in 0..<depth {
            guard channel.enqueueCopy(from: source, to: target, token: 0) else {
              throw BenchError("the ring is full")
            }
          }
          try channel.submit()
          guard try channel.poll().completed == depth else { throw BenchError("copies were lost") }
        }
        elapsed = Double(bench_now() - start) / Double(count)
      }
    }
    try engine.close()
    transport.stopResponding()
    return elapsed
  }
}

/// Runs `body` on a thread of its own on `cpu`.
func onThread<Result: Sendable>(
  _ cpu: Int, _ body: @escaping @Sendable () throws -> Result
) throws -> Result {
  let answer = Answer<Result>()
  let thread = try PinnedThread(name: "bench", cpu: cpu) { _ in
    answer.value.withLock { $0 = Swift.Result { try body() } }
  }
  thread.join()
  guard let result = answer.value.withLock({ $0 }) else { throw BenchError("no result") }
  return try result.get()
}

private final class Answer<Value: Sendable>: Sendable {
  let value = Mutex<Result<Value, any Error>?>(nil)
}

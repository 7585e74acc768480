// SPDX-License-Identifier: Apache-2.0

import BenchSupport
import CFloor
import Logging
import NetDmaVFIO

/// An async copy on a polling executor against enqueue, submit and poll by hand, on an engine that takes no
/// time.
enum AsyncRows {
  private static let rounds = 5
  /// Copies in a sample: it takes less time than a scheduler gives a thread, so that most are undisturbed.
  private static let sampleSize = 64 * 20
  private static let samples = 150
  private static let copies = sampleSize * samples

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
      // The first of the tasks looks at the clock now and then; the others do as much as it.
      return try await withThrowingTaskGroup(of: [UInt64].self) { group in
        let waits = bench_waits()
        for task in 0..<depth {
          group.addTask {
            var times: [UInt64] = []
            times.reserveCapacity(samples + 1)
            for _ in 0...samples {
              if task == 0 { times.append(bench_now()) }
              for _ in 0..<sampleSize / depth {
                try await executor.copy(from: source, to: target)
              }
            }
            return times
          }
        }
        var times: [UInt64] = []
        for try await some in group { times += some }
        return (perCopy(times), bench_waits() - waits)
      }
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
      var times: [UInt64] = []
      times.reserveCapacity(samples + 1)
      for _ in 0...samples {
        times.append(bench_now())
        for _ in 0..<sampleSize / depth {
          for _ in 0..<depth {
            guard channel.enqueueCopy(from: source, to: target, token: 0) else {
              throw BenchError("the ring is full")
            }
          }
          try channel.submit()
          guard try channel.poll().completed == depth else { throw BenchError("copies were lost") }
        }
      }
      elapsed = perCopy(times)
    }
    try engine.close()
    transport.stopResponding()
    return elapsed
  }
}

extension AsyncRows {
  /// The median of the samples between `times`, per copy.
  fileprivate static func perCopy(_ times: [UInt64]) -> Double {
    median(zip(times.dropFirst(), times).map { Double($0 - $1) }) / Double(sampleSize)
  }
}

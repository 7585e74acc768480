// SPDX-License-Identifier: Apache-2.0

import NetDmaVFIO

/// Measures a point through `DMAEngine`'s async calls, as many tasks at a time as the depth says.
struct AsyncBench: Sendable {
  let engine: DMAEngine
  let point: BenchPoint
  let options: BenchOptions
  let meter: CPUMeter

  func run(isStopped: @escaping @Sendable () -> Bool, tick: () -> Void) throws -> Measurement {
    let outcome = TaskOutcome<Measurement>()
    // Not a child of anything: this thread waits for it.
    Task {
      do {
        outcome.post(.success(try await measure(isStopped)))
      } catch {
        outcome.post(.failure(error))
      }
    }
    while true {
      if let result = outcome.wait(for: .milliseconds(100)) { return try result.get() }
      tick()
    }
  }

  private struct Tally: Sendable {
    var operations = 0
    var latencies = LatencyHistogram()
  }

  private func measure(_ isStopped: @escaping @Sendable () -> Bool) async throws -> Measurement {
    let places = BenchMemory.placeCount(point, verifies: options.verifies)
    var memory = try BenchMemory(engine, point.operation, size: point.size, count: places)
    _ = try await round(
      memory, limit: point.depth, window: BenchWindow(end: .max, isStopped: isStopped))

    var result = Measurement()
    var latencies = LatencyHistogram()
    var nanoseconds: UInt64 = 0
    repeat {
      if options.verifies { memory.prepare() }
      let before = engine.statistics.channels
      let cpu = meter.total
      let begin = Deadline.now()
      // Tasks that ended a round early would leave gaps between the places that are compared.
      let tally = try await round(
        memory, limit: options.verifies ? places : .max,
        window: options.verifies
          ? BenchWindow(end: .max) { false }
          : BenchWindow(end: begin &+ options.nanoseconds, isStopped: isStopped))
      nanoseconds &+= Deadline.now() &- begin
      result.cpuNanoseconds &+= meter.total &- cpu
      let after = engine.statistics.channels
      result.interrupts &+= after.interrupts &- before.interrupts
      result.descriptors &+= after.submittedDescriptors &- before.submittedDescriptors
      result.doorbells &+= after.doorbells &- before.doorbells
      result.operations += tally.operations
      latencies.add(tally.latencies)
      if options.verifies { result.check.compare(memory, tally.operations, point) }
    } while options.verifies && nanoseconds < options.nanoseconds && !isStopped()
    result.seconds = Double(nanoseconds) / 1e9
    result.rate = nanoseconds == 0 ? 0 : Double(result.operations) * 1e9 / Double(nanoseconds)
    result.latency = latencies.summary
    return result
  }

  /// Task `t` makes the operations t, t + depth, and so on below `limit`.
  private func round(
    _ memory: borrowing BenchMemory, limit: Int, window: BenchWindow
  ) async throws -> Tally {
    let (sources, targets) = (memory.sources, memory.targets)
    let (engine, point) = (engine, point)
    return try await withThrowingTaskGroup(of: Tally.self) { group in
      for first in 0..<min(point.depth, limit) {
        group.addTask {
          var tally = Tally()
          var number = first
          var now = Deadline.now()
          // The first one is always made, so that all tasks together fill the first places.
          repeat {
            let place = number % targets.count
            do {
              switch point.operation {
              case .copy: try await engine.copy(from: sources[place], to: targets[place])
              case .fill:
                try await engine.fill(targets[place], pattern: BenchMemory.fillPattern)
              }
            } catch let error as DMAOperationError {
              throw BenchError.operationFailed(point: point, error: error)
            }
            let end = Deadline.now()
            tally.latencies.record(end &- now)
            tally.operations += 1
            now = end
            number += point.depth
          } while number < limit && !window.isOver(at: now)
          return tally
        }
      }
      var total = Tally()
      for try await tally in group {
        total.operations += tally.operations
        total.latencies.add(tally.latencies)
      }
      return total
    }
  }
}

/// What a task found, for a thread that waits for it.
private final class TaskOutcome<Value: Sendable>: Sendable {
  private let result = Mutex<Result<Value, any Error>?>(nil)
  private let isThere = Signal()

  func post(_ value: sending Result<Value, any Error>) {
    result.withLock { $0 = value }
    isThere.set()
  }

  /// nil when it has not come within `duration`.
  func wait(for duration: Duration) -> Result<Value, any Error>? {
    guard isThere.wait(for: duration) else { return nil }
    return result.withLock { $0 }
  }
}

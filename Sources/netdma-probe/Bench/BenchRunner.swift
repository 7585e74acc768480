// SPDX-License-Identifier: Apache-2.0

import NetDmaVFIO

/// Measures the points of a plan, one after the other.
struct BenchRunner {
  let engine: DMAEngine
  let plan: BenchPlan
  let options: BenchOptions

  /// What there is when a run ends, however it does.
  struct Outcome: Sendable {
    var results: [BenchResult] = []
    /// What ended it before its time.
    var failure: (any Error)?
    var wasStopped = false
  }

  /// Measures until all is done, something fails or `isStopped` says so; `progress` hears how many
  /// points are done, now and then.
  func run(
    isStopped: @escaping @Sendable () -> Bool, progress: (_ done: Int) -> Void
  ) -> Outcome {
    var outcome = Outcome()
    let meter = CPUMeter()
    // What the CPU does depends on less than what the engine does.
    var baselines: [BaselineKey: CPUBaseline] = [:]
    for (number, point) in plan.points.enumerated() {
      if isStopped() { break }
      do {
        var measurement = try measure(point, meter, isStopped: isStopped) { progress(number) }
        guard measurement.operations > 0 else {
          if isStopped() { break }
          throw BenchError.nothingDone(point: point)
        }
        let key = BaselineKey(point, verifies: options.verifies)
        if options.comparesCPU, !isStopped() {
          if baselines[key] == nil {
            baselines[key] = try CPUBench(engine: engine, options: options)
              .run(point, isStopped: isStopped)
          }
        }
        measurement.baseline = baselines[key]
        outcome.results.append(BenchResult(point: point, measurement: measurement))
        progress(number + 1)
        if measurement.check.mismatches > 0 {
          throw BenchError.mismatches(
            device: engine.device.name, count: measurement.check.mismatches,
            first: measurement.check.first ?? "")
        }
      } catch {
        outcome.failure = error
        break
      }
    }
    outcome.wasStopped = isStopped()
    return outcome
  }

  private struct BaselineKey: Hashable {
    let operation: BenchPoint.Operation
    let size: Int
    let places: Int

    init(_ point: BenchPoint, verifies: Bool) {
      operation = point.operation
      size = point.size
      places = BenchMemory.placeCount(point, verifies: verifies)
    }
  }

  private func measure(
    _ point: BenchPoint, _ meter: CPUMeter, isStopped: @escaping @Sendable () -> Bool,
    tick: () -> Void
  ) throws -> Measurement {
    if point.mode == .async {
      return try AsyncBench(engine: engine, point: point, options: options, meter: meter)
        .run(isStopped: isStopped, tick: tick)
    }
    return try ChannelBench(
      engine: engine, point: point, ringCapacity: BenchRing.capacity(point, engine.device),
      options: options, meter: meter
    ).run(isStopped: isStopped, tick: tick)
  }
}

/// The ring that a point takes.
enum BenchRing {
  /// Slots of the largest ring.
  private static let largest = 32768

  /// Slots for all that is in flight at `point`; the library's usual number where that is enough.
  static func capacity(_ point: BenchPoint, _ device: IOATDevice) -> Int {
    var capacity = DMAEngine.Options().ringCapacity
    while capacity <= descriptors(point, device), capacity < largest { capacity *= 2 }
    return capacity
  }

  /// - Throws: `BenchError.depthBeyondRing` where no ring is large enough.
  static func check(_ point: BenchPoint, _ device: IOATDevice) throws(BenchError) {
    let count = descriptors(point, device)
    // One slot stays empty.
    guard count < largest else {
      throw .depthBeyondRing(point: point, descriptors: count, limit: largest - 1)
    }
  }

  /// Longer operations than the engine takes become several descriptors.
  private static func descriptors(_ point: BenchPoint, _ device: IOATDevice) -> Int {
    let limit = device.maximumTransferSize
    return point.depth * ((point.size + limit - 1) / limit)
  }
}

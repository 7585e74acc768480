// SPDX-License-Identifier: Apache-2.0

import NetDmaVFIO

/// Measures the calling thread doing what the engine would do, with the same memory.
struct CPUBench {
  let engine: DMAEngine
  let options: BenchOptions

  func run(_ point: BenchPoint, isStopped: () -> Bool) throws -> CPUBaseline {
    let places = BenchMemory.placeCount(point, verifies: options.verifies)
    var memory = try BenchMemory(engine, point.operation, size: point.size, count: places)
    memory.operateByCPU(0..<places)
    // So many between two looks at the clock that the clock does not count.
    let step = max(1, (64 << 10) / point.size)
    var result = CPUBaseline()
    var place = 0
    let cpu = CPUMeter.thread
    let begin = Deadline.now()
    var now = begin
    repeat {
      memory.operateByCPU(place..<place + step)
      place = (place + step) % places
      result.operations += step
      now = Deadline.now()
    } while now &- begin < options.nanoseconds && !isStopped()
    result.seconds = Double(now &- begin) / 1e9
    result.cpuNanoseconds = CPUMeter.thread &- cpu
    return result
  }
}

// SPDX-License-Identifier: Apache-2.0

import NetDmaVFIO

/// What `bench --json` prints.
struct BenchReport: Encodable {
  let schema = JSONOutput.schema
  let command = "bench"
  let time: String
  let transport: String
  let device: String
  let platform: String
  let cbVersion: String
  let deviceChannels: Int
  let numaNode: Int?
  let machine: MachineFacts
  let mode: BenchPoint.Mode
  let interruptKind: String?
  let duration: Double
  let points: [Point]
  let breakEvens: [BreakEvenEntry]
  let verified: Bool
  let failure: String?
  let interrupted: Bool
  let ok: Bool

  enum CodingKeys: String, CodingKey {
    case schema, command, time, transport, device, platform, cbVersion, deviceChannels, numaNode,
      machine, mode, interruptKind, duration, points, breakEvens, verified, failure, interrupted, ok
  }

  init(_ summary: BenchSummary) {
    time = summary.time
    transport = summary.device.transport.rawValue
    device = summary.device.name
    platform = summary.device.platform
    cbVersion = summary.device.cbVersion
    deviceChannels = summary.device.channels
    numaNode = summary.device.numaNode
    machine = summary.machine
    mode = summary.mode
    interruptKind = summary.device.interruptKind
    duration = Double(summary.options.nanoseconds) / 1e9
    points = summary.results.map { Point($0) }
    breakEvens = summary.comparisons.map { BreakEvenEntry($0) }
    verified = summary.options.verifies
    failure = summary.failure
    interrupted = summary.wasStopped
    ok = summary.failure == nil
  }

  /// One point.
  struct Point: Encodable {
    let operation: BenchPoint.Operation
    let size: Int
    let depth: Int
    let batch: Int
    let channels: Int
    let operations: Int
    let seconds: Double
    let gigabytesPerSecond: Double
    let megaoperationsPerSecond: Double
    let latency: LatencySummary
    let cpuNanosecondsPerOperation: Double
    let cpuSecondsPerGigabyte: Double
    let interrupts: UInt64
    let interruptsPerOperation: Double
    let descriptors: UInt64
    let doorbells: UInt64
    let verified: Int
    let mismatches: Int
    let baseline: Baseline?

    init(_ result: BenchResult) {
      let (point, measurement) = (result.point, result.measurement)
      operation = point.operation
      size = point.size
      depth = point.depth
      batch = point.batch
      channels = point.channels
      operations = measurement.operations
      seconds = measurement.seconds
      gigabytesPerSecond = result.gigabytesPerSecond
      megaoperationsPerSecond = measurement.rate / 1e6
      latency = measurement.latency
      cpuNanosecondsPerOperation = measurement.cpuPerOperation
      cpuSecondsPerGigabyte = result.cpuPerGigabyte
      interrupts = measurement.interrupts
      interruptsPerOperation = measurement.interruptsPerOperation
      descriptors = measurement.descriptors
      doorbells = measurement.doorbells
      verified = measurement.check.operations
      mismatches = measurement.check.mismatches
      baseline = measurement.baseline.map { Baseline($0, result) }
    }
  }

  /// What the CPU does instead.
  struct Baseline: Encodable {
    let name: String
    let gigabytesPerSecond: Double
    let megaoperationsPerSecond: Double
    let cpuNanosecondsPerOperation: Double
    let cpuSecondsPerGigabyte: Double

    init(_ baseline: CPUBaseline, _ result: BenchResult) {
      name = result.point.operation.cpuName
      gigabytesPerSecond = result.baselineGigabytesPerSecond ?? 0
      megaoperationsPerSecond = baseline.rate / 1e6
      cpuNanosecondsPerOperation = baseline.cpuPerOperation
      cpuSecondsPerGigabyte = result.baselineCPUPerGigabyte ?? 0
    }
  }

  /// Where the engine becomes better than the CPU.
  struct BreakEvenEntry: Encodable {
    let operation: BenchPoint.Operation
    let depth: Int
    let batch: Int
    let channels: Int
    let measure: BreakEven.Measure
    let size: Double?
    let crossings: Int
    let stretches: [BreakEven.Stretch]
    let sentence: String

    init(_ comparison: BenchSummary.Comparison) {
      let point = comparison.point
      operation = point.operation
      depth = point.depth
      batch = point.batch
      channels = point.channels
      measure = comparison.measure
      size = comparison.breakEven.size
      crossings = comparison.breakEven.crossings
      stretches = comparison.breakEven.stretches
      sentence = comparison.sentence
    }
  }
}

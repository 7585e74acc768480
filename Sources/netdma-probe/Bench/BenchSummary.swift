// SPDX-License-Identifier: Apache-2.0

import NetDmaVFIO

/// Everything that a run found out, for whatever form it is told in.
struct BenchSummary: Sendable {
  /// The device.
  struct Device: Hashable, Sendable {
    var name: String
    var transport: TransportKind
    /// Platform and version by its device id.
    var platform: String
    var cbVersion: String
    var channels: Int
    var maximumTransferSize: Int
    var numaNode: Int?
    /// How interrupts came, nil when none were taken.
    var interruptKind: String?
  }

  /// Where engine and CPU break even, for points that differ in size only.
  struct Comparison: Sendable {
    /// Any of them.
    let point: BenchPoint
    let measure: BreakEven.Measure
    let breakEven: BreakEven

    /// Where it lies, in words.
    var sentence: String { breakEven.sentence(measure, cpuName: point.operation.cpuName) }
  }

  /// When it began.
  let time: String
  let device: Device
  let machine: MachineFacts
  let mode: BenchPoint.Mode
  let options: BenchOptions
  let series: [BenchPlan.Series]
  let results: [BenchResult]
  /// What ended it before its time, nil when nothing did.
  let failure: String?
  let wasStopped: Bool
  let comparisons: [Comparison]
  private let byPoint: [BenchPoint: BenchResult]

  init(
    time: String, device: Device, machine: MachineFacts, mode: BenchPoint.Mode,
    options: BenchOptions, plan: BenchPlan, outcome: BenchRunner.Outcome
  ) {
    self.time = time
    self.device = device
    self.machine = machine
    self.mode = mode
    self.options = options
    results = outcome.results
    failure = outcome.failure.map { "\($0)" }
    wasStopped = outcome.wasStopped
    byPoint = Dictionary(
      outcome.results.map { ($0.point, $0) }, uniquingKeysWith: { first, _ in first })
    let measured = byPoint
    series = plan.series.map { row in
      BenchPlan.Series(axis: row.axis, points: row.points.filter { measured[$0] != nil })
    }.filter { !$0.points.isEmpty }
    comparisons = Self.compare(outcome.results)
  }

  /// What was measured at a point, nil when nothing was.
  subscript(point: BenchPoint) -> BenchResult? { byPoint[point] }

  /// Whether it is the model in this process, whose engine is this machine's CPU.
  var isMock: Bool { device.transport == .mock }

  /// Results that differ on `axis` only, at least two in each group.
  func groups(over axis: BenchPoint.Axis) -> [[BenchResult]] {
    let rows = series.filter { $0.axis == axis }.map { $0.points.compactMap { self[$0] } }
    let groups = rows.isEmpty ? Self.groups(results, over: axis) : rows
    return groups.filter { $0.count > 1 }
  }

  private static func groups(
    _ results: [BenchResult], over axis: BenchPoint.Axis
  ) -> [[BenchResult]] {
    // In the order in which they were measured.
    var order: [BenchPoint] = []
    var groups: [BenchPoint: [BenchResult]] = [:]
    for result in results {
      var key = result.point
      key[axis] = 0
      if groups[key] == nil { order.append(key) }
      groups[key, default: []].append(result)
    }
    return order.compactMap { groups[$0] }
  }

  private static func compare(_ results: [BenchResult]) -> [Comparison] {
    groups(results.filter { $0.measurement.baseline != nil }, over: .size).flatMap { group in
      BreakEven.Measure.allCases.compactMap { measure -> Comparison? in
        let samples = group.map { result in
          switch measure {
          case .throughput:
            BreakEven.Sample(
              size: result.point.size, engine: result.gigabytesPerSecond,
              cpu: result.baselineGigabytesPerSecond ?? 0)
          case .cpuTime:
            BreakEven.Sample(
              size: result.point.size, engine: result.cpuPerGigabyte,
              cpu: result.baselineCPUPerGigabyte ?? 0)
          }
        }
        guard let breakEven = BreakEven(samples, prefersMore: measure == .throughput),
          let point = group.first?.point
        else { return nil }
        return Comparison(point: point, measure: measure, breakEven: breakEven)
      }
    }
  }

  /// Sets of points with both answers, where there are so many that sentences would repeat
  /// themselves; empty where there are few.
  var manyAnswers: [(point: BenchPoint, throughput: String, cpuTime: String)] {
    let answers = comparisons.filter { $0.measure == .throughput }.map { comparison in
      let other = self.comparison(.cpuTime, at: comparison.point)
      return (
        point: comparison.point, throughput: comparison.breakEven.brief,
        cpuTime: other?.breakEven.brief ?? "-"
      )
    }
    return answers.count > 2 ? answers : []
  }

  /// The break-even of the points that `point` belongs to, nil when it was not measured.
  func comparison(_ measure: BreakEven.Measure, at point: BenchPoint) -> Comparison? {
    comparisons.first { comparison in
      var other = comparison.point
      other.size = point.size
      return comparison.measure == measure && other == point
    }
  }
}

extension BenchSummary.Device {
  /// The function that an engine was opened on.
  init(_ device: IOATDevice) {
    name = device.name
    transport = device.transport.kind
    platform =
      IOATDeviceID(vendor: device.vendorID, device: device.deviceID)?.description
      ?? IOATDeviceID.platformName(device.deviceID)
    cbVersion = device.version.description
    channels = device.channelCount
    maximumTransferSize = device.maximumTransferSize
    numaNode = device.transport.numaNode
    interruptKind = device.interruptStyle?.name
  }
}

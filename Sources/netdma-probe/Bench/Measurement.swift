// SPDX-License-Identifier: Apache-2.0

/// What was measured at one point.
struct Measurement: Sendable {
  /// Operations that ended.
  var operations = 0
  /// Operations in a second, all channels together.
  var rate = 0.0
  /// How long the channel that took longest was measured.
  var seconds = 0.0
  var latency = LatencySummary()
  /// CPU time of this process for all of them, without the device model's.
  var cpuNanoseconds: UInt64 = 0
  var interrupts: UInt64 = 0
  var descriptors: UInt64 = 0
  var doorbells: UInt64 = 0
  /// How the bytes compared, where they were.
  var check = BenchCheck()
  /// What the CPU does in place of the engine, on one core with the same memory.
  var baseline: CPUBaseline?

  /// CPU nanoseconds for each operation.
  var cpuPerOperation: Double {
    operations == 0 ? 0 : Double(cpuNanoseconds) / Double(operations)
  }
  /// Interrupts for each operation.
  var interruptsPerOperation: Double {
    operations == 0 ? 0 : Double(interrupts) / Double(operations)
  }
}

/// The CPU doing what the engine does.
struct CPUBaseline: Hashable, Sendable {
  var operations = 0
  var seconds = 0.0
  var cpuNanoseconds: UInt64 = 0

  /// Operations in a second.
  var rate: Double { seconds == 0 ? 0 : Double(operations) / seconds }
  /// CPU nanoseconds for each operation.
  var cpuPerOperation: Double {
    operations == 0 ? 0 : Double(cpuNanoseconds) / Double(operations)
  }
}

/// A point and what was measured there.
struct BenchResult: Sendable {
  let point: BenchPoint
  let measurement: Measurement

  /// 10^9 bytes in a second.
  var gigabytesPerSecond: Double { measurement.rate * Double(point.size) / 1e9 }
  /// CPU seconds for 10^9 bytes.
  var cpuPerGigabyte: Double { measurement.cpuPerOperation / Double(point.size) }
  /// The CPU's 10^9 bytes in a second.
  var baselineGigabytesPerSecond: Double? {
    measurement.baseline.map { $0.rate * Double(point.size) / 1e9 }
  }
  /// The CPU's own seconds for 10^9 bytes.
  var baselineCPUPerGigabyte: Double? {
    measurement.baseline.map { $0.cpuPerOperation / Double(point.size) }
  }
}

// SPDX-License-Identifier: Apache-2.0

import NetDmaVFIO

@testable import netdma_probe

/// A run with made-up figures.
enum BenchSamples {
  /// An engine that is faster than the CPU from 16 KiB on and cheaper from 4 KiB on.
  static func summary(
    device: String = "0000:00:04.0", transport: TransportKind = .vfio,
    mode: BenchPoint.Mode = .poll, comparesCPU: Bool = true, processor: String = "Made-up CPU",
    failure: (any Error)? = nil, wasStopped: Bool = false, request: BenchPlan.Request? = nil,
    deviceChannels: Int = 4
  ) -> BenchSummary {
    var options = BenchOptions()
    options.comparesCPU = comparesCPU
    var request = request ?? BenchPlan.Request()
    request.mode = mode
    let plan = BenchPlan(request, deviceChannels: deviceChannels)
    let results = plan.points.map {
      BenchResult(point: $0, measurement: measurement($0, comparesCPU: comparesCPU))
    }
    return BenchSummary(
      time: "2026-01-31T12:00:00Z",
      device: BenchSummary.Device(
        name: device, transport: transport, platform: "Skylake-SP (SKX), CB 3.3", cbVersion: "3.3",
        channels: deviceChannels, maximumTransferSize: 1 << 20, numaNode: 1,
        interruptKind: mode == .poll ? nil : "MSI-X"),
      machine: MachineFacts(
        processor: processor, cpus: 8, memory: 32 << 30, kernel: "6.1.0", architecture: "x86_64"),
      mode: mode, options: options, plan: plan,
      outcome: BenchRunner.Outcome(results: results, failure: failure, wasStopped: wasStopped))
  }

  private static func measurement(_ point: BenchPoint, comparesCPU: Bool) -> Measurement {
    var result = Measurement()
    // 200 ns and 8 GB/s; the CPU 10 ns and 6 GB/s.
    let each = 200 / Double(point.batch) + Double(point.size) / 8
    let cpu = 10 + Double(point.size) / 6
    result.operations = 1000
    result.rate = 1e9 / each * Double(point.channels)
    result.seconds = 0.2
    let wait = UInt64(each) * UInt64(point.depth)
    result.latency = LatencySummary(p50: wait, p99: wait * 2, p999: wait * 3, max: wait * 10)
    result.cpuNanoseconds = 300_000
    result.interrupts = point.mode == .poll ? 0 : 250
    result.descriptors = 1000
    result.doorbells = 1000 / UInt64(point.batch)
    if comparesCPU {
      result.baseline = CPUBaseline(
        operations: 1000, seconds: cpu / 1e6, cpuNanoseconds: UInt64(cpu * 1000))
    }
    return result
  }
}

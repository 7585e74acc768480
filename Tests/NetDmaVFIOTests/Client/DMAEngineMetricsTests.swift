// SPDX-License-Identifier: Apache-2.0

import CoreMetrics
import MetricsTestKit
import NetDmaMetrics
import NetDmaVFIO
import Testing

struct DMAEngineMetricsTests {
  @Test("publishing records the engine's counters under their names, with the device's")
  func publish() async throws {
    let bench = try EngineBench()
    let metrics = TestMetrics()
    let published = DMAEngineMetrics(
      bench.engine, label: "dma", dimensions: [("rack", "7")], factory: metrics)
    for _ in 0..<3 {
      try await bench.engine.copy(
        from: bench.memory.source(0..<100), to: bench.memory.target(0..<100))
    }
    published.publish()
    let dimensions = [("rack", "7"), ("device", "mock")]
    #expect(try metrics.expectGauge("dma.completed", dimensions).lastValue == 3)
    #expect(try metrics.expectGauge("dma.submitted_bytes", dimensions).lastValue == 300)
    #expect(try metrics.expectGauge("dma.failed", dimensions).lastValue == 0)
  }
}

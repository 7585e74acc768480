// SPDX-License-Identifier: Apache-2.0

public import Metrics
public import NetDmaVFIO

/// An engine's counters, for swift-metrics.
///
/// Whoever exports metrics calls `publish()` as often as they are wanted; the engine itself knows
/// nothing of it, so an engine without metrics pays nothing.
///
///     let metrics = DMAEngineMetrics(engine, label: "netdma")
///     metrics.publish()
public struct DMAEngineMetrics {
  private let engine: DMAEngine
  private let recorders: [(gauge: Gauge, value: @Sendable (DMAEngineStatistics) -> UInt64)]

  /// Gauges `label.submitted_descriptors`, `label.completed` and so on, each with `dimensions` and the
  /// device's name as `device`.
  public init(
    _ engine: DMAEngine, label: String = "netdma", dimensions: [(String, String)] = [],
    factory: any MetricsFactory = MetricsSystem.factory
  ) {
    self.engine = engine
    let all = dimensions + [("device", engine.device.name)]
    recorders = Self.values.map { name, value in
      (Gauge(label: "\(label).\(name)", dimensions: all, factory: factory), value)
    }
  }

  /// Records every counter as it is now; from any thread, one at a time.
  public func publish() {
    let statistics = engine.statistics
    for recorder in recorders { recorder.gauge.record(recorder.value(statistics)) }
  }

  private static var values: [(String, @Sendable (DMAEngineStatistics) -> UInt64)] {
    [
      ("submitted_descriptors", { $0.channels.submittedDescriptors }),
      ("submitted_bytes", { $0.channels.submittedBytes }),
      ("doorbells", { $0.channels.doorbells }),
      ("completed", { $0.channels.completed }),
      ("failed", { $0.channels.failed }),
      ("interrupts", { $0.channels.interrupts }),
      ("isr_calls", { $0.channels.isrCalls }),
      ("dpc_calls", { $0.channels.dpcCalls }),
      ("spurious_interrupts", { $0.channels.spuriousInterrupts }),
      ("late_interrupts", { $0.channels.lateInterrupts }),
      ("merged_interrupts", { $0.channels.mergedInterrupts }),
      ("lost_interrupts", { $0.channels.lostInterrupts }),
      ("resets", { $0.channels.resets }),
      ("cpu_copies", { $0.cpuCopies }),
      ("cpu_bytes", { $0.cpuBytes }),
    ]
  }
}

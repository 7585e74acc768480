// SPDX-License-Identifier: Apache-2.0

import NetDmaVFIO

/// What `bench --csv` writes: a line of names, then one line for each point.
struct BenchCSV {
  let summary: BenchSummary

  /// Names and values of the columns; units are part of the names.
  private static let columns:
    [(name: String, value: @Sendable (BenchSummary, BenchResult) -> String)] = [
      ("device", { summary, _ in quoted(summary.device.name) }),
      ("transport", { summary, _ in summary.device.transport.rawValue }),
      ("mode", { summary, _ in summary.mode.rawValue }),
      ("operation", { $1.point.operation.rawValue }),
      ("size_bytes", { "\($1.point.size)" }),
      ("depth", { "\($1.point.depth)" }),
      ("batch", { "\($1.point.batch)" }),
      ("channels", { "\($1.point.channels)" }),
      ("operations", { "\($1.measurement.operations)" }),
      ("seconds", { "\($1.measurement.seconds)" }),
      ("gb_per_s", { "\($1.gigabytesPerSecond)" }),
      ("mops_per_s", { "\($1.measurement.rate / 1e6)" }),
      ("latency_p50_ns", { "\($1.measurement.latency.p50)" }),
      ("latency_p99_ns", { "\($1.measurement.latency.p99)" }),
      ("latency_p999_ns", { "\($1.measurement.latency.p999)" }),
      ("latency_max_ns", { "\($1.measurement.latency.max)" }),
      ("cpu_ns_per_op", { "\($1.measurement.cpuPerOperation)" }),
      ("cpu_s_per_gb", { "\($1.cpuPerGigabyte)" }),
      ("interrupts", { "\($1.measurement.interrupts)" }),
      ("interrupts_per_op", { "\($1.measurement.interruptsPerOperation)" }),
      ("descriptors", { "\($1.measurement.descriptors)" }),
      ("doorbells", { "\($1.measurement.doorbells)" }),
      ("verified", { "\($1.measurement.check.operations)" }),
      ("mismatches", { "\($1.measurement.check.mismatches)" }),
      ("baseline", { $1.measurement.baseline == nil ? "" : $1.point.operation.cpuName }),
      ("baseline_gb_per_s", { text($1.baselineGigabytesPerSecond) }),
      ("baseline_mops_per_s", { text($1.measurement.baseline.map { $0.rate / 1e6 }) }),
      ("baseline_cpu_ns_per_op", { text($1.measurement.baseline?.cpuPerOperation) }),
      ("baseline_cpu_s_per_gb", { text($1.baselineCPUPerGigabyte) }),
    ]

  var text: String {
    let head = Self.columns.map(\.name).joined(separator: ",")
    let rows = summary.results.map { result in
      Self.columns.map { $0.value(summary, result) }.joined(separator: ",")
    }
    return ([head] + rows).joined(separator: "\n") + "\n"
  }

  private static func text(_ value: Double?) -> String { value.map { "\($0)" } ?? "" }

  /// As RFC 4180 wants a text that has a separator in it.
  private static func quoted(_ text: String) -> String {
    guard text.contains(where: { $0 == "," || $0 == "\"" || $0.isNewline }) else { return text }
    // A quotation mark is doubled.
    return "\"" + text.flatMap { $0 == "\"" ? "\"\"" : "\($0)" } + "\""
  }
}

// SPDX-License-Identifier: Apache-2.0

import NetDmaVFIO

/// What `bench` prints for people, at most 80 columns wide.
struct BenchText {
  let summary: BenchSummary
  let style: TextStyle

  private static let width = 80

  var text: String {
    var blocks = [header]
    blocks += summary.series.map { table($0) }
    if summary.options.comparesCPU { blocks.append(conclusions) }
    return blocks.joined(separator: "\n\n")
  }

  private var header: String {
    let device = summary.device
    var lines = [
      "device:   \(device.name) (\(device.transport.rawValue)), CB \(device.cbVersion), "
        + "\(device.channels) channel\(device.channels == 1 ? "" : "s")",
      "machine:  \(summary.machine.words)",
      "measured: \(summary.mode.words)\(kind), \(summary.options.words)",
      "          latency from doorbell to completion; CPU time of this process",
    ]
    if summary.isMock {
      lines.append(
        "note:     the mock's engine is a CPU of this machine; no chip has its figures")
    }
    if let failure = summary.failure { lines.append("FAILED:   \(failure)") }
    if summary.wasStopped { lines.append("stopped:  not all points were measured") }
    return lines.joined(separator: "\n")
  }

  private var kind: String { summary.device.interruptKind.map { " (\($0))" } ?? "" }

  // MARK: - Figures

  private struct Column {
    let heading: String
    /// Whether the figure is of the CPU, not of the engine.
    var isCPU = false
    let cell: (BenchResult) -> String
  }

  private func columns(_ axis: BenchPoint.Axis) -> [Column] {
    var columns = [
      Column(heading: axis == .channels ? "chans" : axis.rawValue) { result in
        axis == .size ? compactByteCount(result.point.size) : "\(result.point[axis])"
      },
      Column(heading: "GB/s") { significant($0.gigabytesPerSecond, limit: 4) },
      Column(heading: "op/s") { scaled($0.measurement.rate) },
      Column(heading: "p50") { shortDuration(Double($0.measurement.latency.p50)) },
      Column(heading: "p99") { shortDuration(Double($0.measurement.latency.p99)) },
      Column(heading: "p99.9") { shortDuration(Double($0.measurement.latency.p999)) },
      Column(heading: "max") { shortDuration(Double($0.measurement.latency.max)) },
      Column(heading: "CPU/op") { shortDuration($0.measurement.cpuPerOperation) },
      Column(heading: "CPU/GB") { shortDuration($0.cpuPerGigabyte * 1e9) },
    ]
    if summary.mode != .poll {
      columns.append(
        Column(heading: "irq/op") {
          significant($0.measurement.interruptsPerOperation, limit: 2)
        })
    }
    if summary.options.comparesCPU {
      columns.append(
        Column(heading: "GB/s", isCPU: true) { result in
          result.baselineGigabytesPerSecond.map { significant($0, limit: 3) } ?? "-"
        })
      columns.append(
        Column(heading: "CPU/GB", isCPU: true) { result in
          result.baselineCPUPerGigabyte.map { shortDuration($0 * 1e9) } ?? "-"
        })
    }
    return columns
  }

  private func table(_ series: BenchPlan.Series) -> String {
    let results = series.points.compactMap { summary[$0] }
    let columns = columns(series.axis)
    let cells = columns.map { column in results.map { column.cell($0) } }
    let widths = zip(columns, cells).map { column, cells in
      max(5, column.heading.count, cells.map(\.count).max() ?? 0)
    }
    func line(_ texts: [String]) -> String {
      zip(texts, widths).map { text, width in
        String(repeating: " ", count: width - text.count) + text
      }.joined(separator: " ")
    }
    // A batch follows a depth that is smaller.
    let axes: Set<BenchPoint.Axis> =
      Set(series.points.map(\.batch)).count > 1 ? [series.axis, .batch] : [series.axis]
    var title = series.points.first?.words(without: axes) ?? ""
    var lines: [String] = []
    if let first = columns.firstIndex(where: \.isCPU) {
      let start = widths[..<first].reduce(first, +)
      let name = series.points.first?.operation.cpuName ?? ""
      let gap = String(repeating: " ", count: max(1, start - title.count))
      title = style.bold(title) + gap + style.bold(name)
    } else {
      title = style.bold(title)
    }
    lines.append(title)
    lines.append(style.dim(line(columns.map(\.heading))))
    for row in results.indices { lines.append(line(cells.map { $0[row] })) }
    return lines.joined(separator: "\n")
  }

  // MARK: - Break-even

  private var conclusions: String {
    guard !summary.comparisons.isEmpty else {
      return "A break-even takes at least two sizes; say --sizes 64..4M."
    }
    let answers = summary.manyAnswers
    if !answers.isEmpty {
      var table = TextTable(["DMA is ahead of one core", "in throughput", "in CPU time"])
      for answer in answers {
        table.add([answer.point.words(without: [.size]), answer.throughput, answer.cpuTime])
      }
      return table.lines(width: Self.width) { row, _, text in row == 0 ? style.bold(text) : text }
    }
    var lines: [String] = []
    var title = ""
    for comparison in summary.comparisons {
      let point = comparison.point
      let name = "break-even of " + point.words(without: [.size])
      if name != title {
        title = name
        lines.append(style.bold(name + " with \(point.operation.cpuName) on one core"))
      }
      let label = comparison.measure == .throughput ? "throughput: " : "CPU time:   "
      let words = comparison.sentence.split(separator: " ").map(String.init)
      let folded = fold(words, width: Self.width - label.count - 2)
      for (number, line) in folded.enumerated() {
        let start = number == 0 ? label : String(repeating: " ", count: label.count)
        lines.append("  " + start + line)
      }
    }
    return lines.joined(separator: "\n")
  }
}

extension MachineFacts {
  /// On one line.
  var words: String {
    let memory = memory.map { ", \(approximateByteCount(Double($0)))" } ?? ""
    return "\(processor), \(cpus) CPU\(cpus == 1 ? "" : "s")\(memory), Linux \(kernel)"
  }
}

extension BenchOptions {
  /// On one line.
  var words: String {
    let time = shortDuration(Double(nanoseconds), separator: " ")
    return "\(time) a point\(verifies ? ", every byte compared" : "")"
  }
}

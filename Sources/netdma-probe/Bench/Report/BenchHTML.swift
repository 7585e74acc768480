// SPDX-License-Identifier: Apache-2.0

import NetDmaVFIO

/// What `bench --report` writes: one file that needs no other and no network.
struct BenchHTML {
  let summary: BenchSummary
  /// What followed the program's name when it was made.
  let arguments: [String]

  var text: String {
    let device = summary.device
    let title = "DMA benchmark of \(device.name)"
    return """
      <!DOCTYPE html>
      <html lang="en">
      <head>
      <meta charset="utf-8">
      <meta name="viewport" content="width=device-width, initial-scale=1">
      <meta name="generator" content="netdma-probe bench">
      <title>\(Markup.escaped(title))</title>
      <style>
      \(ReportStyle.sheet)
      </style>
      </head>
      <body>
      <main>
      <h1>\(Markup.escaped(title))</h1>
      \(warnings)
      \(answer)
      \(facts)
      \(sections.joined(separator: "\n"))
      \(allPoints)
      </main>
      </body>
      </html>

      """
  }

  // MARK: - What was found

  private var warnings: String {
    var texts: [String] = []
    if let failure = summary.failure { texts.append("The run ended with an error. \(failure)") }
    if summary.wasStopped {
      texts.append("The run was stopped before all points were measured.")
    }
    if summary.isMock {
      texts.append(
        "This is the device model: its engine is a CPU of this machine, and no chip has its figures."
      )
    }
    if texts.isEmpty { return "" }
    return "<div class=\"answer warning\">\(texts.map(paragraph).joined())</div>"
  }

  private var answer: String {
    guard summary.options.comparesCPU else { return "" }
    guard !summary.comparisons.isEmpty else {
      return paragraph("A break-even takes at least two sizes; say --sizes 64..4M.")
    }
    let answers = summary.manyAnswers
    if !answers.isEmpty {
      return Markup.table(
        caption: "Where DMA is ahead of one core, by the size of an operation",
        headings: ["points", "in throughput", "in CPU time"],
        rows: answers.map {
          [$0.point.words(without: [.size]), $0.throughput, $0.cpuTime]
        })
    }
    let isOne = Set(summary.comparisons.map(\.point)).count == 1
    let texts = summary.comparisons.map { comparison in
      let name = comparison.measure == .throughput ? "Throughput" : "CPU time"
      let which = isOne ? "" : ", \(comparison.point.words(without: [.size]))"
      return "<p><strong>\(Markup.escaped(name + which)):</strong> "
        + "\(Markup.escaped(comparison.sentence))</p>"
    }
    return "<div class=\"answer\">\(texts.joined(separator: "\n"))</div>"
  }

  private var facts: String {
    let (device, machine) = (summary.device, summary.machine)
    let kind = device.interruptKind.map { " (\($0))" } ?? ""
    var entries = [
      ("Device", "\(device.name) (\(device.transport.rawValue))"),
      (
        "Engine",
        "\(device.platform); CBVER \(device.cbVersion), \(device.channels) "
          + "channel\(device.channels == 1 ? "" : "s"), at most "
          + "\(byteCount(UInt64(device.maximumTransferSize))) a descriptor"
      ),
      ("Processor", "\(machine.processor), \(machine.cpus) usable"),
    ]
    if let node = device.numaNode { entries.append(("NUMA node", "\(node), of the device")) }
    if let memory = machine.memory {
      entries.append(("Memory", approximateByteCount(Double(memory))))
    }
    entries.append(("Kernel", "Linux \(machine.kernel), \(machine.architecture)"))
    entries.append(
      ("Measured", "\(summary.time), \(summary.mode.words)\(kind), \(summary.options.words)"))
    let list = entries.map {
      "<dt>\(Markup.escaped($0.0))</dt><dd>\(Markup.escaped($0.1))</dd>"
    }
    let line = (["netdma-probe"] + arguments).map { word in
      "<span>\(Markup.escaped(Self.quoted(word)))</span>"
    }.joined(separator: " ")
    return """
      <dl>
      \(list.joined(separator: "\n"))
      <dt>Command</dt><dd><code>\(line)</code></dd>
      </dl>
      <p class="faint">GB are 10<sup>9</sup> bytes. Latency counts from the doorbell until the end \
      is seen. CPU time is the process's, in user mode and in the kernel\
      \(summary.isMock ? ", without the engine's threads" : ""). The CPU is one core with the same \
      memory, which may be in its cache.</p>
      """
  }

  /// A word as a shell takes it.
  private static func quoted(_ word: String) -> String {
    let isPlain = word.utf8.allSatisfy { byte in
      (0x30...0x39).contains(byte) || (0x41...0x5a).contains(byte) || (0x61...0x7a).contains(byte)
        || "-_./:,=+@%".utf8.contains(byte)
    }
    return isPlain && !word.isEmpty
      ? word
      : "'"
        + word.split(
          separator: "'", omittingEmptySubsequences: false
        ).joined(separator: "'\\''") + "'"
  }

  private func paragraph(_ text: String) -> String { "<p>\(Markup.escaped(text))</p>" }

  // MARK: - Charts and tables

  private var sections: [String] {
    let charts = BenchCharts(summary: summary)
    return [
      section("Throughput", charts.throughput, missing: "--sizes 64..4M"),
      section("Latency", charts.latency, missing: "--depths 1..256"),
      section("CPU time", charts.cpuCost, missing: "--sizes 64..4M"),
      section(
        "Channels", charts.channels,
        missing: summary.device.channels > 1 ? "--channels 1..\(summary.device.channels)" : nil),
      section("Doorbells", charts.batches, missing: nil),
    ]
  }

  /// `missing` is the option that would have given the section a chart.
  private func section(_ title: String, _ figures: [BenchCharts.Figure], missing: String?) -> String
  {
    if figures.isEmpty {
      guard let missing else { return "" }
      return "<section><h2>\(Markup.escaped(title))</h2>"
        + "<p class=\"faint\">Not varied in this run; <code>\(Markup.escaped(missing))</code> "
        + "does.</p></section>"
    }
    let parts = figures.map { figure in
      """
      <figure>
      <div class="wide">\(figure.chart.svg)</div>
      \(Markup.table(caption: figure.chart.title, headings: figure.headings, rows: figure.rows))
      </figure>
      """
    }
    return """
      <section>
      <h2>\(Markup.escaped(title))</h2>
      \(parts.joined(separator: "\n"))
      </section>
      """
  }

  private var allPoints: String {
    let hasInterrupts = summary.mode != .poll
    let hasCPU = summary.results.contains { $0.measurement.baseline != nil }
    let headings =
      [
        "operation", "size", "depth", "batch", "channels", "GB/s", "Mops/s", "median", "99 %",
        "99.9 %", "longest", "CPU time per operation", "CPU s/GB",
      ] + (hasInterrupts ? ["interrupts per operation"] : [])
      + (hasCPU ? ["CPU alone, GB/s", "CPU alone, s/GB"] : [])
    let rows = summary.results.map { result -> [String] in
      let (point, measurement) = (result.point, result.measurement)
      func time(_ value: UInt64) -> String { shortDuration(Double(value), separator: " ") }
      var row = [
        point.operation.rawValue, byteCount(UInt64(point.size)), "\(point.depth)",
        "\(point.batch)", "\(point.channels)", significant(result.gigabytesPerSecond),
        significant(measurement.rate / 1e6), time(measurement.latency.p50),
        time(measurement.latency.p99), time(measurement.latency.p999),
        time(measurement.latency.max),
        shortDuration(measurement.cpuPerOperation, separator: " "),
        significant(result.cpuPerGigabyte),
      ]
      if hasInterrupts { row.append(significant(measurement.interruptsPerOperation)) }
      if hasCPU {
        row.append(result.baselineGigabytesPerSecond.map { significant($0) } ?? "–")
        row.append(result.baselineCPUPerGigabyte.map { significant($0) } ?? "–")
      }
      return row
    }
    return """
      <section>
      <h2>All figures</h2>
      \(Markup.table(caption: "Every point, in the order of measuring", headings: headings, rows: rows))
      </section>
      """
  }
}

// SPDX-License-Identifier: Apache-2.0

/// The charts of a report, each with its table.
struct BenchCharts {
  let summary: BenchSummary

  /// A chart and the figures in it.
  struct Figure {
    let chart: LineChart
    let headings: [String]
    let rows: [[String]]
  }

  private static let kinds: [LineChart.Line.Kind] = [.first, .second, .third, .fourth]

  // MARK: - Against size

  var throughput: [Figure] {
    againstSize(
      id: "throughput", .throughput, name: "Throughput", unit: "GB/s",
      engine: \.gigabytesPerSecond, cpu: \.baselineGigabytesPerSecond)
  }

  var cpuCost: [Figure] {
    againstSize(
      id: "cost", .cpuTime, name: "CPU time per GB", unit: "s/GB",
      engine: \.cpuPerGigabyte, cpu: \.baselineCPUPerGigabyte)
  }

  /// One chart for each operation, with the CPU's line and at most four of the engine's.
  private func againstSize(
    id: String, _ measure: BreakEven.Measure, name: String, unit: String,
    engine: KeyPath<BenchResult, Double>, cpu: KeyPath<BenchResult, Double?>
  ) -> [Figure] {
    BenchPoint.Operation.allCases.compactMap { operation in
      let groups = Self.alike(
        summary.groups(over: .size).filter { $0.first?.point.operation == operation })
      guard let shown = groups.first else { return nil }
      let chosen = Self.spread(groups, count: Self.kinds.count)
      var lines = zip(chosen, Self.kinds).map { group, kind in
        LineChart.Line(
          name: chosen.count == 1 ? "DMA" : difference(group, chosen), kind: kind,
          points: group.map { (Double($0.point.size), $0[keyPath: engine]) })
      }
      let baseline = shown.compactMap { result in
        result[keyPath: cpu].map { (x: Double(result.point.size), y: $0) }
      }
      if !baseline.isEmpty {
        lines.append(LineChart.Line(name: operation.cpuName, kind: .cpu, points: baseline))
      }
      let comparison = shown.first.flatMap { summary.comparison(measure, at: $0.point) }
      let title = "\(name) of a \(operation) against its size"
      let chart = LineChart(
        id: "\(id)-\(operation)", title: title,
        description: description(lines, comparison), xTitle: "bytes of one \(operation)",
        yTitle: "\(unit), logarithmic",
        x: .doublings(lines.flatMap { $0.points.map(\.x) }) {
          compactByteCount(Int($0))
        }, y: .decades(lines.flatMap { $0.points.map(\.y) }) { plain($0) }, lines: lines,
        marks: (comparison?.breakEven.size).map {
          [.init(x: $0, label: "break-even \(approximateByteCount($0))")]
        } ?? [])
      let columns = chosen.map { chosen.count == 1 ? "DMA" : difference($0, chosen) }
      let hasBaseline = !baseline.isEmpty
      let rows = shown.map { result in
        let others = chosen.map { group in
          group.first { $0.point.size == result.point.size }
            .map { significant($0[keyPath: engine]) } ?? "–"
        }
        let last = result[keyPath: cpu].map { significant($0) } ?? "–"
        return [byteCount(UInt64(result.point.size))] + others + (hasBaseline ? [last] : [])
      }
      return Figure(
        chart: chart,
        headings: ["size"] + columns.map { "\($0), \(unit)" }
          + (hasBaseline ? ["\(operation.cpuName), \(unit)"] : []), rows: rows)
    }
  }

  // MARK: - Against depth, batch and channels

  /// Percentiles against depth, for at most three sizes.
  var latency: [Figure] {
    let names = ["median", "99 %", "99.9 %", "longest"]
    let values: [KeyPath<LatencySummary, UInt64>] = [\.p50, \.p99, \.p999, \.max]
    return Self.spread(summary.groups(over: .depth), count: 3).enumerated().compactMap {
      number, group in
      guard let first = group.first?.point else { return nil }
      let lines = zip(zip(names, values), Self.kinds).map { entry, kind in
        LineChart.Line(
          name: entry.0, kind: kind,
          points: group.map {
            (Double($0.point.depth), max(1, Double($0.measurement.latency[keyPath: entry.1])))
          })
      }
      let what = first.words(without: [.depth, .batch, .channels])
      let chart = LineChart(
        id: "latency-\(number)", title: "Latency against depth: \(what)",
        description: description(lines, nil), xTitle: "operations in flight",
        yTitle: "time from doorbell to end, logarithmic",
        x: .doublings(group.map { Double($0.point.depth) }) { "\(Int($0))" },
        y: .decades(lines.flatMap { $0.points.map(\.y) }) {
          shortDuration($0, separator: " ", number: plain)
        }, lines: lines)
      return Figure(
        chart: chart, headings: ["depth"] + names,
        rows: group.map { result in
          ["\(result.point.depth)"]
            + values.map {
              shortDuration(Double(result.measurement.latency[keyPath: $0]), separator: " ")
            }
        })
    }
  }

  /// What one doorbell for several operations brings.
  var batches: [Figure] {
    Self.spread(summary.groups(over: .batch), count: 2).enumerated().compactMap { number, group in
      guard let first = group.first?.point else { return nil }
      let line = LineChart.Line(
        name: "DMA", kind: .first,
        points: group.map { (Double($0.point.batch), $0.measurement.rate / 1e6) })
      let what = first.words(without: [.batch, .channels])
      let chart = LineChart(
        id: "batch-\(number)", title: "Operations a second against batch: \(what)",
        description: description([line], nil), xTitle: "operations with one doorbell",
        yTitle: "million operations a second",
        x: .doublings(group.map { Double($0.point.batch) }) { "\(Int($0))" },
        y: .linear(line.points.map(\.y)) { plain($0) }, lines: [line])
      return Figure(
        chart: chart, headings: ["batch", "Mops/s", "CPU time per operation"],
        rows: group.map { result in
          [
            "\(result.point.batch)", significant(result.measurement.rate / 1e6),
            shortDuration(result.measurement.cpuPerOperation, separator: " "),
          ]
        })
    }
  }

  /// How throughput grows with the channels, and how it would if each brought as much as the first.
  var channels: [Figure] {
    Self.spread(summary.groups(over: .channels), count: 2).enumerated().compactMap {
      number, group in
      guard let first = group.first else { return nil }
      let each = first.gigabytesPerSecond / Double(first.point.channels)
      let lines = [
        LineChart.Line(
          name: "DMA", kind: .first,
          points: group.map { (Double($0.point.channels), $0.gigabytesPerSecond) }),
        LineChart.Line(
          name: "linear", kind: .ideal,
          points: group.map { (Double($0.point.channels), each * Double($0.point.channels)) }),
      ]
      let what = first.point.words(without: [.channels])
      let chart = LineChart(
        id: "channels-\(number)", title: "Throughput against channels: \(what)",
        description: description(lines, nil), xTitle: "channels, each with a thread",
        yTitle: "GB/s", x: .linear(group.map { Double($0.point.channels) }) { plain($0) },
        y: .linear(lines.flatMap { $0.points.map(\.y) }) { plain($0) }, lines: lines)
      return Figure(
        chart: chart, headings: ["channels", "GB/s", "of linear"],
        rows: group.map { result in
          let ideal = each * Double(result.point.channels)
          return [
            "\(result.point.channels)", significant(result.gigabytesPerSecond),
            ideal > 0 ? "\(Int((result.gigabytesPerSecond / ideal * 100).rounded())) %" : "–",
          ]
        })
    }
  }

  // MARK: - Words

  /// The groups that differ from the first in one respect only, so that a word names each.
  private static func alike(_ groups: [[BenchResult]]) -> [[BenchResult]] {
    let axes: [BenchPoint.Axis] = [.depth, .batch, .channels]
    let points = groups.compactMap { $0.first?.point }
    guard let first = points.first,
      let axis = axes.first(where: { axis in points.contains { $0[axis] != first[axis] } })
    else { return groups }
    return zip(groups, points).filter { _, point in
      axes.allSatisfy { $0 == axis || point[$0] == first[$0] }
    }.map(\.0)
  }

  /// At most `count` of `groups`: the first, the last, and some between.
  private static func spread(_ groups: [[BenchResult]], count: Int) -> [[BenchResult]] {
    guard groups.count > count, count > 1 else { return Array(groups.prefix(count)) }
    return (0..<count).map { groups[$0 * (groups.count - 1) / (count - 1)] }
  }

  /// What sets a group apart from the others: "depth 32".
  private func difference(_ group: [BenchResult], _ all: [[BenchResult]]) -> String {
    guard let point = group.first?.point else { return "DMA" }
    let parts = BenchPoint.Axis.allCases.filter { $0 != .size }.compactMap { axis in
      Set(all.compactMap { $0.first?.point[axis] }).count > 1
        ? "\(axis.rawValue) \(point[axis])" : nil
    }
    return parts.joined(separator: ", ")
  }

  private func description(
    _ lines: [LineChart.Line], _ comparison: BenchSummary.Comparison?
  ) -> String {
    let names = lines.map(\.name).joined(separator: ", ")
    return
      (["Lines: \(names)."] + (comparison.map { [$0.sentence] } ?? [])
      + ["The figures stand in the table below."]).joined(separator: " ")
  }
}

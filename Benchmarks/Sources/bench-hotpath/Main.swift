// SPDX-License-Identifier: Apache-2.0

import BenchSupport
import CFloor
import Glibc
import Logging
import NetDmaVFIO

/// Our hot path against the C floor, on an engine that takes no time.
///
///     bench-hotpath                                   both sides, interleaved, medians
///     bench-hotpath --side ours|floor --batch 32 --copies 1000000    one side, for callgrind
@main
struct BenchHotPath {
  static func main() throws {
    let arguments = CommandLine.arguments.dropFirst()
    func value(_ name: String) -> String? {
      arguments.firstIndex(of: name).flatMap { index in
        arguments.indices.contains(index + 1) ? arguments[index + 1] : nil
      }
    }
    let batch = UInt32(value("--batch") ?? "32") ?? 32
    if let side = value("--side") {
      let copies = UInt64(value("--copies") ?? "1000000") ?? 1_000_000
      let rig = try HotPathRig()
      var runner = try rig.runner()
      let done = try runner.run(side == "ours", batches: copies / UInt64(batch), batch: batch)
      guard done == copies / UInt64(batch) * UInt64(batch) else {
        throw BenchError("\(done) of \(copies) copies completed")
      }
      try rig.close(consume runner)
      return
    }
    for batch in [32, 1] as [UInt32] {
      let row = try compare(batch: batch)
      print(
        "batch \(batch): ours \(row.ours) ns, floor \(row.floor) ns, ratio \(row.ours / row.floor)")
    }
  }

  static func compare(batch: UInt32) throws -> (ours: Double, floor: Double) {
    let rig = try HotPathRig()
    var runner = try rig.runner()
    let batches = UInt64(2_000_000 / batch)
    var ours: [Double] = []
    var floor: [Double] = []
    for round in 0..<22 {
      let isOurs = round % 2 == 0
      let start = bench_now()
      let done = try runner.run(isOurs, batches: batches, batch: batch)
      let nanoseconds = Double(bench_now() - start) / Double(done)
      guard done == batches * UInt64(batch) else { throw BenchError("\(done) copies completed") }
      if round >= 2 { if isOurs { ours.append(nanoseconds) } else { floor.append(nanoseconds) } }
    }
    try rig.close(consume runner)
    return (ours.sorted()[ours.count / 2], floor.sorted()[floor.count / 2])
  }
}

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
      let batches = copies / UInt64(batch)
      var done: UInt64 = 0
      if side == "ours" {
        try rig.ours.run(rounds: 1, batches: batches, batch: batch) { completed, _ in
          done = completed
        }
      } else {
        done = rig.runFloor(batches: batches, batch: batch)
      }
      try rig.close()
      guard done == batches * UInt64(batch) else {
        throw BenchError("\(done) of \(copies) copies completed")
      }
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
    let batches = UInt64(2_000_000 / batch)
    let copies = batches * UInt64(batch)
    var ours: [Double] = []
    var floor: [Double] = []
    try rig.ours.run(rounds: 11, batches: batches, batch: batch) { completed, nanoseconds in
      guard completed == copies else { throw BenchError("\(completed) copies completed") }
      ours.append(Double(nanoseconds) / Double(copies))
      let start = bench_now()
      guard rig.runFloor(batches: batches, batch: batch) == copies else {
        throw BenchError("the floor lost copies")
      }
      floor.append(Double(bench_now() - start) / Double(copies))
    }
    try rig.close()
    return (ours.sorted()[ours.count / 2], floor.sorted()[floor.count / 2])
  }
}

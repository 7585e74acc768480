// SPDX-License-Identifier: Apache-2.0

import BenchSupport
import Glibc

/// How long programs take to be of use.
enum StartRows {
  private static let rounds = 15

  /// A program that does nothing at all.
  private static func nothing() throws -> Double {
    Double(try ChildProcess(["/bin/true"]).finish().nanoseconds) / 1e6
  }

  /// From just before a process is made to its first completed copy on the mock.
  static func firstCopy(_ bench: Bench) throws -> [Row] {
    let times = try inRealTime {
      try interleaved(rounds: rounds) {
        let child = try ChildProcess([bench.directory + "/bench-start"])
        let started = child.started
        guard let end = try child.finish().lines.last.flatMap({ UInt64($0) }) else {
          throw BenchError("bench-start did not tell the time")
        }
        return Double(end - started) / 1e6
      } baseline: {
        try nothing()
      }
    }
    return [
      Row(
        name: "process start to first copy on the mock", ours: times.ours,
        baseline: times.baseline, target: 30, unit: "ms", rule: .oursAtMost)
    ]
  }

  /// A whole run of `netdma-probe list`.
  static func list(_ bench: Bench) throws -> [Row] {
    let times = try inRealTime {
      try interleaved(rounds: rounds) {
        Double(try ChildProcess([bench.probe, "list"]).finish().nanoseconds) / 1e6
      } baseline: {
        try nothing()
      }
    }
    return [
      Row(
        name: "netdma-probe list", ours: times.ours, baseline: times.baseline, target: 20,
        unit: "ms", rule: .oursAtMost)
    ]
  }
}

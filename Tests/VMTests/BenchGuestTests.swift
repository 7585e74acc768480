// SPDX-License-Identifier: Apache-2.0

import Foundation
import Testing

// Part of the one suite, since its tests run one after the other.
extension GuestTests {
  @Test(
    "bench measures over the kernel's VFIO in each mode, and a signal leaves the device as it was")
  func bench() throws {
    let run = try Guest(scenario: "bench-vfio", models: [Model(options: ["--fast"])]).run()
    let reports = run.objects.filter { $0["command"] as? String == "bench" }
    #expect(
      reports.compactMap { $0["mode"] as? String } == ["poll", "interrupt", "async", "interrupt"])
    for report in reports {
      #expect(report["ok"] as? Bool == true)
      #expect(report["transport"] as? String == "vfio")
      let isPolled = report["mode"] as? String == "poll"
      let isStopped = report["interrupted"] as? Bool == true
      let points = report["points"] as? [[String: Any]] ?? []
      // Copies and fills, two sizes, two depths; the stopped run was at most in its first point.
      if isStopped { #expect(points.count <= 1) } else { #expect(points.count == 8) }
      for point in points {
        let operations = point["operations"] as? Int ?? 0
        #expect(operations > 0)
        #expect(point["mismatches"] as? Int == 0)
        #expect(point["verified"] as? Int == (isStopped ? 0 : operations))
        #expect((point["interrupts"] as? Int ?? 0 > 0) != isPolled)
      }
    }
    #expect(reports.last?["interrupted"] as? Bool == true)
    for name in ["bench-poll", "bench-interrupt", "bench-async", "report", "stop"] {
      #expect(run.evidence(name) != nil, "\(name)")
    }
    print(run.log.split(separator: "\n").filter { $0.hasPrefix("RESULT") }.joined(separator: "\n"))
  }
}

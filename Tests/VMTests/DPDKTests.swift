// SPDX-License-Identifier: Apache-2.0

import Foundation
import Testing

extension GuestTests {
  /// The parts that DPDK's driver knows; it handles errors from version 3.4 on.
  @Test("DPDK's own tests pass with DPDK's driver on our device")
  func dpdk() throws {
    let models: [Model] = [.named("broadwell"), .named("skylake"), .named("ice-lake")]
    let run = try Guest(
      scenario: "dpdk", models: models, options: ["--dpdk", "--memory", "2G"]
    ).run()
    #expect(run.evidence("dmadev_autotest") != nil)
    #expect(run.log.contains("Test OK"))
    let succeeded = run.log.matches(of: /TestCase \[ *\d+\] : (\w+) succeeded/).map { $0.1 }
    for test in ["copy", "stop_start", "burst_capacity", "fill", "test_dma_start_stop"] {
      #expect(succeeded.count { $0 == test } == models.count, "\(test)")
    }
    #expect(succeeded.count { $0 == "error_handling" } == 1)
    let failures = run.log.matches(of: /Tests Failed : +(\d+)/).map { $0.1 }
    #expect(failures.count == 2 * models.count && failures.allSatisfy { $0 == "0" })
    print("DPDK's dmadev_autotest: \(succeeded.count) tests passed on \(models.count) parts")
  }
}

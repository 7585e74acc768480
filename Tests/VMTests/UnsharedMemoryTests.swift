// SPDX-License-Identifier: Apache-2.0

import Foundation
import Testing

extension GuestTests {
  @Test("A guest whose memory QEMU does not share is served by messages: ioatdma and our driver")
  func unshared() throws {
    let kernel = try Guest(
      scenario: "ioatdma", models: [.named("skylake"), .named("ice-lake", "--raid")],
      environment: ["CYCLES": "2"], options: ["--unshared"]
    ).run()
    #expect(kernel.evidence("ioatdma")?.contains("2 functions, 2 cycles") == true)

    let own = try Guest(
      scenario: "verify-vfio", environment: ["COUNT": "40"], options: ["--unshared"]
    ).run()
    let reports = own.reports("verify")
    #expect(reports.count == 4)
    for report in reports { expectCleanCopies(report, transport: "vfio") }
    #expect(reports.last?["faultsReported"] as? Int ?? 0 > 0)
  }
}

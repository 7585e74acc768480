// SPDX-License-Identifier: Apache-2.0

import Foundation
import Testing

extension GuestTests {
  @Test("Our driver copies through /dev/iommu and VFIO's character devices")
  func iommufd() throws {
    let run = try Guest(
      scenario: "iommufd", models: [.named("ice-lake", functions: 2), .named("ivy-bridge")],
      environment: ["COUNT": "100"], options: ["--kernel", "test"]
    ).run()
    let reports = run.reports("verify")
    #expect(reports.count == 8)
    // The first is made while the older interface is there too, which is preferred.
    if let first = reports.first { expectCleanCopies(first, transport: "vfio") }
    for report in reports.dropFirst() { expectCleanCopies(report, transport: "iommufd") }
    #expect(Set(reports.compactMap { $0["device"] as? String }).count == 3)
    let refused = reports.last?["faultsInjected"] as? Int ?? 0
    #expect(refused > 0 && reports.last?["faultsReported"] as? Int == refused)
    let rules = run.reports("conformance").first
    #expect(rules?["transport"] as? String == "iommufd")
    #expect(rules?["failed"] as? Int == 0)
  }

  @Test("VFIO without an IOMMU is refused with the reason")
  func noIOMMU() throws {
    let run = try Guest(
      scenario: "noiommu", options: ["--kernel", "test", "--iommu", "off"]
    ).run()
    #expect(run.log.contains("noiommu-"))
    #expect(run.evidence("refusal") != nil)
    #expect(run.log.contains("Without an IOMMU a wrong descriptor overwrites any memory"))
  }
}

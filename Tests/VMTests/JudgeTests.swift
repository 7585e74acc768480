// SPDX-License-Identifier: Apache-2.0

import Foundation
import Testing

extension GuestTests {
  @Test(
    "Every model copies for our driver, and keeps the rules of hardware, over the kernel's VFIO")
  func judge() throws {
    // Besides the parts as they were sold, one with several channels in a function.
    let models = Guest.everyModel + [Model(options: ["--model", "ice-lake", "--channels", "4"])]
    let run = try Guest(
      scenario: "judge", models: models, environment: ["COUNT": "50"], timeout: 600
    ).run()

    let copies = run.reports("verify")
    #expect(copies.count == 2 * models.count)
    for report in copies { expectCleanCopies(report, transport: "vfio") }

    let rulings = run.reports("conformance")
    #expect(rulings.count == models.count)
    #expect(Set(rulings.compactMap { $0["device"] as? String }).count == models.count)
    for report in rulings {
      let rules = report["rules"] as? [[String: Any]] ?? []
      let broken = rules.filter { $0["outcome"] as? String == "fail" }
      #expect(broken.isEmpty, "\(report["device"] ?? ""): \(broken)")
      #expect(report["transport"] as? String == "vfio")
      // Rules that do not apply are few: RAID, CRC, other channels, other versions.
      #expect(report["passed"] as? Int ?? 0 > 140)
      let facts = ["device", "cbVersion", "channels", "passed", "failed", "notApplicable"]
      print("conformance", facts.map { "\($0) \(report[$0] ?? "?")" }.joined(separator: ", "))
    }
  }
}

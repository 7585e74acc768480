// SPDX-License-Identifier: Apache-2.0

import Foundation
import Testing

extension GuestTests {
  @Test("Linux's ioatdma is loaded and unloaded 50 times, and passes its self test each time")
  func reload() throws {
    let run = try Guest(
      scenario: "ioatdma", models: [.named("skylake", functions: 2)],
      environment: ["CYCLES": "50"]
    ).run()
    let evidence = run.evidence("ioatdma")
    #expect(evidence?.contains("2 functions, 50 cycles") == true)
    print(evidence ?? "")
  }

  @Test("Functions go from ioatdma to vfio-pci by bind, copy, and go back by unbind")
  func rebind() throws {
    let rounds = 3
    let run = try Guest(
      scenario: "rebind", models: [.named("skylake", functions: 2)],
      environment: ["ROUNDS": "\(rounds)"]
    ).run()
    #expect(run.evidence("rebind")?.contains("2 functions, \(rounds) rounds") == true)
    let binds = run.reports("bind")
    let unbinds = run.reports("unbind")
    #expect(binds.count == 2 * rounds && unbinds.count == 2 * rounds)
    for report in binds { #expect(report["driver"] as? String == "vfio-pci") }
    for report in unbinds { #expect(report["driver"] as? String == "ioatdma") }
    for report in binds + unbinds { #expect(report["changed"] as? Bool == true) }
    let copies = run.reports("verify")
    #expect(copies.count == 2 * rounds)
    for report in copies { expectCleanCopies(report, transport: "vfio") }
  }
}

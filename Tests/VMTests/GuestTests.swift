// SPDX-License-Identifier: Apache-2.0

import Foundation
import Testing

/// Stock Linux in a guest with a virtual Intel IOMMU: the kernel's own VFIO and ioatdma judge.
@Suite("Guests", .serialized)
struct GuestTests {
  @Test("our driver copies over the kernel's VFIO on two functions, with interrupts and polled")
  func verify() throws {
    let run = try Guest(
      scenario: "verify-vfio", models: [Model(functions: 2)],
      environment: ["COUNT": "200", "KINDS": "msix intx"]
    ).run()
    let reports = run.objects.filter { $0["command"] as? String == "verify" }
    #expect(reports.count == 8)
    for report in reports {
      let faults = report["faultsInjected"] as? Int ?? -1
      #expect(report["transport"] as? String == "vfio")
      #expect((report["copies"] as? Int ?? 0) + faults == 200)
      #expect(report["faultsReported"] as? Int == faults)
      #expect(report["mismatches"] as? Int == 0)
      #expect(report["guardViolations"] as? Int == 0)
      if report["mode"] as? String == "interrupt" {
        #expect(report["isrCalls"] as? Int ?? 0 > 0)
        #expect(report["dpcCalls"] as? Int ?? 0 > 0)
      }
    }
    // Copies that the virtual IOMMU refused, by interrupt and polled.
    #expect(reports.filter { $0["faultsInjected"] as? Int ?? 0 >= 6 }.count == 2)
    #expect(run.evidence("faults") != nil && run.evidence("faults-poll") != nil)
    for kind in ["msix", "intx"] { #expect(run.evidence("verify-\(kind)") != nil) }
    #expect(reports.filter { $0["interruptKind"] as? String == "INTx" }.count == 1)
    let devices = Set(reports.compactMap { $0["device"] as? String })
    #expect(devices.count == 2)
    for device in devices {
      #expect(run.evidence("verify-\(device)") != nil)
      #expect(run.evidence("verify-\(device)-poll") != nil)
    }
    print(run.log.split(separator: "\n").filter { $0.hasPrefix("RESULT") }.joined(separator: "\n"))
  }

  @Test(
    "Linux's ioatdma probes every model and passes its self tests, by message and by pin",
    arguments: ["msix", "intx"])
  func models(style: String) throws {
    let run = try Guest(
      scenario: "ioatdma", models: Guest.everyModel, environment: ["CYCLES": "2", "STYLE": style]
    ).run()
    let evidence = run.evidence("ioatdma")
    #expect(evidence?.contains("\(Guest.everyModel.count) functions, 2 cycles") == true)
    #expect(run.log.contains("ioat-\(style)"))
    print(evidence ?? "")
  }
}

// SPDX-License-Identifier: Apache-2.0

import Testing

extension GuestTests {
  @Test("doctor, bind, verify, unbind: from ioatdma to an ordinary user's copy and back, twice")
  func terminal() throws {
    let run = try Guest(scenario: "terminal").run()
    for round in 1...2 {
      for name in [
        "doctor-ioatdma", "doctor-advises", "advice", "advice-works", "doctor-root-proves",
        "user-may-not-bind", "bind-user", "user-doctor-proves", "user-verify-matches",
        "unbind-in-use", "unbind-restores", "unbind-again", "ioatdma-probes",
      ] {
        #expect(run.evidence("\(name)-\(round)") != nil, "\(name)-\(round)")
      }
    }
    let listed = run.objects.first { $0["command"] as? String == "list" }
    let devices = listed?["devices"] as? [[String: Any]]
    #expect(devices?.first?["driver"] as? String == "ioatdma")
    #expect(devices?.first?["channels"] as? Int == 1)
    print(run.log.split(separator: "\n").filter { $0.hasPrefix("RESULT") }.joined(separator: "\n"))
  }
}

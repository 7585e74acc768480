// SPDX-License-Identifier: Apache-2.0

import Foundation
import Testing

extension GuestTests {
  @Test("make vm shows what the getting-started article shows")
  func tour() throws {
    let output = FileManager.default.temporaryDirectory
      .appendingPathComponent("netdma-tour-\(UUID().uuidString.prefix(8))")
    defer { try? FileManager.default.removeItem(at: output) }
    let script = Guest.package.appendingPathComponent("Scripts/vm.sh").path
    let run = try Child(
      URL(fileURLWithPath: "/bin/bash"), [script, try Guest.probe().path], output: output)
    let status = run.wait()
    if status == 69, ProcessInfo.processInfo.environment["CI"] == nil {
      print("SKIPPED: guests cannot run here: \(run.text)")
      try Test.cancel("guests cannot run here")
    }
    #expect(status == 0, "\(run.text)")
    let article = try String(
      contentsOf: Guest.package.appendingPathComponent(
        "Sources/NetDmaVFIO/NetDmaVFIO.docc/GettingStarted.md"), encoding: .utf8)
    let block = article.firstMatch(
      of: /<!-- guest: tour -->\n```console\n\$ make vm\n((?:.|\n)*?)```/)
    let shown = try #require(block?.output.1)
    // The first run in a cache tells on standard error what it sets up.
    let printed = run.text.split(separator: "\n", omittingEmptySubsequences: false)
      .filter { !$0.hasPrefix("vm setup: ") }.joined(separator: "\n")
    func mask(_ text: some StringProtocol) -> String {
      String(text).replacing(/[0-9]+(\.[0-9]+)?/, with: "N")
    }
    #expect(mask(printed) == mask(shown))
  }

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

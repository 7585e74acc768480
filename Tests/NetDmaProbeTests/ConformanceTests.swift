// SPDX-License-Identifier: Apache-2.0

import Testing

@Suite("conformance")
struct ConformanceTests {
  @Test("the mock keeps every rule, one line each with its source")
  func mock() throws {
    let result = try ProbeProcess.run(["conformance", "--mock"])
    #expect(result.status == 0)
    #expect(result.errors == "")
    let lines = result.output.split(separator: "\n").dropLast()
    #expect(lines.count >= 60)
    for line in lines {
      #expect(line.hasPrefix("pass  ") || line.hasPrefix("n/a   "), "\(line)")
      #expect(line.contains("[") && line.contains("]"), "\(line)")
    }
  }

  @Test("an emulated RAID device of two channels keeps every rule over vfio-user")
  func vfioUser() throws {
    let emulator = try EmulatorProcess([
      "--fast", "--device-id", "3718", "--cb-version", "3.2", "--channels", "2",
      "--capabilities", "page-break,fill,xor,pq",
    ])
    let result = try ProbeProcess.run(["conformance", "--vfio-user", emulator.socket, "--json"])
    #expect(result.status == 0, "\(result.errors)")
    let object = try jsonObject(result)
    #expect(object["command"] as? String == "conformance")
    #expect(object["transport"] as? String == "vfio-user")
    #expect(object["cbVersion"] as? String == "3.2")
    #expect(object["channels"] as? Int == 2)
    #expect(object["failed"] as? Int == 0)
    #expect(object["passed"] as? Int ?? 0 >= 60)
    #expect(object["ok"] as? Bool == true)
    let rules = try #require(object["rules"] as? [[String: Any]])
    #expect(
      rules.contains { $0["rule"] as? String == "raid.xor" && $0["outcome"] as? String == "pass" })
    #expect(emulator.process.isRunning)
  }

  @Test("only the rules and groups that were named are checked")
  func only() throws {
    let result = try ProbeProcess.run([
      "conformance", "--mock", "--only", "reset", "--only", "error.first", "--json",
    ])
    #expect(result.status == 0)
    let rules = try #require(try jsonObject(result)["rules"] as? [[String: Any]])
    let names = rules.compactMap { $0["rule"] as? String }
    #expect(names.first == "error.first")
    #expect(names.dropFirst().allSatisfy { $0.hasPrefix("reset.") })
    #expect(names.count > 5)
  }

  @Test("the list needs no device")
  func list() throws {
    let result = try ProbeProcess.run(["conformance", "--list"])
    #expect(result.status == 0)
    #expect(result.output.contains("error.first"))
    #expect(!result.output.split(separator: "\n").contains { $0.hasPrefix("pass") })
  }

  @Test(
    "a wrong rule, no device, two devices or a device to list rules for are usage errors",
    arguments: [
      ["--mock", "--only", "nonsense"], [], ["--mock", "--vfio-user", "/nowhere"],
      ["--list", "--mock"],
      ["--list", "--vfio-user", "/nowhere"],
    ])
  func usage(_ arguments: [String]) throws {
    #expect(try ProbeProcess.run(["conformance"] + arguments).status == 64)
  }
}

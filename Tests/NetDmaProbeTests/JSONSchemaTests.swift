// SPDX-License-Identifier: Apache-2.0

import Glibc
import NetDmaMock
import NetDmaVFIO
import TestSupport
import Testing

@testable import netdma_probe

@Suite("JSON")
struct JSONSchemaTests {
  /// Command lines that print every key between them.
  static let lines: [[String]] = [
    ["list"], ["list", "--all"], ["show", "--mock"], ["show", Situation.device],
    ["doctor", Situation.device], ["bind", Situation.device, "--dry-run", "--group-ok"],
    ["bind", Situation.device, "--user", "0", "--dry-run", "--group-ok"],
    ["unbind", Situation.device, "--dry-run"],
    ["verify", "--mock", "--count", "20", "--max-size", "4096"],
    ["verify", "--mock", "--count", "20", "--max-size", "4096", "--poll"],
    ["conformance", "--mock"], ["conformance", "--list"],
    ["bench", "--mock", "--sizes", "64,64K", "--duration", "0.01", "--verify"],
    ["bench", "--mock", "--sizes", "4K", "--duration", "0.01", "--no-compare-cpu"],
  ]

  @Test(
    "each command prints exactly the keys that are documented, with their types",
    arguments: lines)
  func documented(_ line: [String]) throws {
    let command = try #require(line.first)
    let tree = try #require(Situation.all.first { $0.description == "group-shared-with-nic" })
      .tree()
    let result = try ProbeProcess.run(
      line + ["--json"], environment: ["NETDMA_SYSROOT": tree.root])
    let object = try jsonObject(result)
    #expect(object["schema"] as? String == "netdma-probe/1")
    #expect(object["command"] as? String == command)
    #expect(try DocumentedSchema(command: command).differences(from: object) == [])
    // One object, one line.
    #expect(result.output.filter { $0 == "\n" }.count == 1)
  }

  @Test("emulate prints an object for each socket, when it is served")
  func emulator() throws {
    let directory = try ScratchDirectory()
    let socket = directory.path + "/ioat.sock"
    let process = try ProbeProcess([
      "emulate", "--socket", socket, "--functions", "2", "--model", "ivy-bridge", "--raid",
      "--json",
    ])
    try process.wait(until: "both are served") { $0.output.filter { $0 == "\n" }.count == 2 }
    let lines = process.output.split(separator: "\n").map(String.init)
    let schema = try DocumentedSchema(command: "emulate")
    let objects = try lines.map {
      try jsonObject(ProbeResult(status: 0, output: $0, errors: ""))
    }
    for object in objects { #expect(schema.differences(from: object) == []) }
    #expect(objects.map { $0["socket"] as? String } == ["\(socket).0", "\(socket).1"])
    #expect(objects.map { $0["deviceID"] as? String } == ["0e2e", "0e2f"])
    #expect(objects.allSatisfy { $0["model"] as? String == "ivy-bridge" })
    // Clients may connect as soon as it is said.
    let client = try ProbeProcess.run(["show", "--vfio-user", socket + ".1", "--json"])
    #expect(client.status == 0)
    process.kill(SIGTERM)
    #expect(try process.wait().status == 0)
  }

  @Test("a document that lacks a key, or has another type, is found to differ")
  func detects() throws {
    let schema = try DocumentedSchema(command: "doctor")
    let good: [String: Any] = [
      "schema": "s", "command": "doctor", "ok": true, "checks": [[String: Any]](),
    ]
    #expect(schema.differences(from: good) == [])
    var more = good
    more["surprise"] = 1
    #expect(schema.differences(from: more) == ["surprise is not documented"])
    var other = good
    other["ok"] = "yes"
    #expect(schema.differences(from: other) == ["ok is string, documented as boolean"])
    var less = good
    less["checks"] = nil
    #expect(schema.differences(from: less) == ["checks is documented but missing"])
  }

  @Test("without --json an object is not printed, with it nothing else is")
  func separation() throws {
    let text = try ProbeProcess.run(["verify", "--mock", "--count", "5", "--max-size", "4096"])
    #expect(!text.output.contains("{"))
    let json = try ProbeProcess.run([
      "verify", "--mock", "--count", "5", "--max-size", "4096", "--json", "--log-level", "trace",
    ])
    #expect(json.output.hasPrefix("{") && json.output.hasSuffix("}\n"))
  }
}

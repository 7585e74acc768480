// SPDX-License-Identifier: Apache-2.0

import Foundation
import Glibc
import TestSupport
import Testing

/// A command line whose output is kept.
struct GoldenCase: Sendable, CustomStringConvertible {
  /// The file's name without what follows the first dot.
  let description: String
  let arguments: [String]
  /// The tree that stands in for the machine, nil for a command that looks at none.
  var tree: (@Sendable () throws -> SysFSTree)?
  /// Whether numbers differ from run to run.
  var hasNumbers = false

  static let all: [GoldenCase] =
    [
      GoldenCase(description: "list", arguments: ["list"], tree: server),
      GoldenCase(description: "list-nothing", arguments: ["list"]) { try SysFSTree() },
      GoldenCase(description: "show-mock", arguments: ["show", "--mock"]),
      GoldenCase(
        description: "show-kernel-driver", arguments: ["show", "0000:00:04.1"], tree: server),
      GoldenCase(
        description: "bind-dry-run", arguments: ["bind", "0000:00:04.1", "--dry-run"], tree: server),
      GoldenCase(description: "bind-already", arguments: ["bind", "0000:00:04.0"], tree: server),
      GoldenCase(description: "bind-in-use", arguments: ["bind", "0000:00:04.2"], tree: server),
      GoldenCase(description: "bind-shared", arguments: ["bind", "0000:80:04.0"], tree: server),
      GoldenCase(description: "bind-no-device", arguments: ["bind", "0000:00:07.0"], tree: server),
      GoldenCase(
        description: "unbind-already", arguments: ["unbind", "0000:00:04.1"], tree: server),
      GoldenCase(
        description: "unbind-dry-run", arguments: ["unbind", "0000:00:04.0", "--dry-run"],
        tree: server),
      GoldenCase(
        description: "verify-mock",
        arguments: ["verify", "--mock", "--count", "100", "--max-size", "65536", "--seed", "1"],
        hasNumbers: true),
      GoldenCase(
        description: "bench-usage", arguments: ["bench", "--mock", "--sizes", "4K..64"]),
      GoldenCase(
        description: "verify-no-server", arguments: ["verify", "--vfio-user", "/nonexistent.sock"]),
      GoldenCase(description: "usage-error", arguments: ["verify", "--mock", "--count", "zero"]),
    ]
    + Situation.all.map { situation in
      GoldenCase(
        description: "doctor-\(situation)", arguments: ["doctor", Situation.device],
        tree: situation.tree)
    }
    + [
      "list", "show", "doctor", "bind", "unbind", "verify", "bench", "emulate", "conformance",
    ].map {
      GoldenCase(description: "help-\($0)", arguments: [$0, "--help"])
    }

  /// A machine with two sockets, whose engines are in every state that list tells apart.
  @Sendable static func server() throws -> SysFSTree {
    let tree = try SysFSTree()
    try tree.addDriver("vfio-pci")
    try tree.add("0000:00:04.0") {
      $0.driver = "vfio-pci"
      $0.group = 7
    }
    try tree.add("0000:00:04.1") { $0.group = 8 }
    try tree.add("0000:00:04.2") { $0.group = 9 }
    try tree.addDMAChannel("dma2chan0", of: "0000:00:04.2", clients: 1)
    try tree.add("0000:00:04.3") {
      $0.group = 10
      $0.driver = nil
    }
    try tree.add("0000:00:05.0") {
      $0.device = 0x0b00
      $0.numaNode = -1
    }
    try tree.add("0000:80:04.0") {
      $0.group = 21
      $0.numaNode = 1
      $0.driver = "vfio-pci"
      $0.device = 0x6f20
    }
    try tree.add("0000:80:19.0") {
      $0.device = 0x1533
      $0.classCode = 0x02_00_00
      $0.driver = "igb"
      $0.group = 21
      $0.numaNode = 1
    }
    return tree
  }
}

@Suite("Golden files")
struct GoldenTests {
  private static let directory = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
    .appendingPathComponent("Golden")
  private static let isWriting = ProcessInfo.processInfo.environment["NETDMA_GOLDEN"] == "write"

  @Test(
    "what a command prints is what is kept, in a pipe and on a terminal",
    arguments: GoldenCase.all)
  func compare(_ golden: GoldenCase) throws {
    let tree = try golden.tree?()
    let options = tree.map { ["--sysroot", $0.root] } ?? []
    func run(_ output: ProbeProcess.Sink, _ environment: [String: String] = [:]) throws -> String {
      let result = try ProbeProcess.run(
        golden.arguments + options, environment: environment, output: output)
      return text(golden, result, root: tree?.root)
    }
    let plain = try run(.file)
    let coloured = try run(.terminal(columns: 80))
    try check(golden.description + ".txt", plain)
    if golden.hasNumbers || golden.description.hasPrefix("help") || coloured == plain {
      #expect(coloured == plain)
    } else {
      try check(golden.description + ".colour.txt", coloured)
      // Emphasis is all that a terminal adds.
      #expect(coloured.replacing(/␛\[[0-9]*m/, with: "") == plain)
    }
    #expect(try run(.terminal(columns: 80), ["NO_COLOR": "1"]) == plain)
    #expect(try run(.terminal(columns: 80), ["TERM": "dumb"]) == plain)
  }

  @Test("every golden file belongs to a case")
  func noStrays() throws {
    let names = Set(GoldenCase.all.map(\.description))
    for file in try FileManager.default.contentsOfDirectory(atPath: Self.directory.path)
    where file.hasSuffix(".txt") {
      #expect(names.contains(String(file.prefix { $0 != "." })), "\(file)")
    }
  }

  @Test("no line is wider than 80 columns, except commands that are to be copied whole")
  func width() throws {
    for file in try FileManager.default.contentsOfDirectory(atPath: Self.directory.path)
    where file.hasSuffix(".txt") && !file.hasSuffix(".colour.txt") {
      let text = try String(
        contentsOf: Self.directory.appendingPathComponent(file), encoding: .utf8)
      // The first line is the command; standard error is a sentence a line.
      let output = text.split(separator: "\n").dropFirst().prefix { !$0.hasPrefix("--- ") }
      for line in output
      where !["      ", "  echo ", "USAGE: "].contains(where: line.hasPrefix) {
        #expect(line.count <= 80, "\(file): \(line)")
      }
    }
  }

  private func check(
    _ name: String, _ text: String, sourceLocation: SourceLocation = #_sourceLocation
  ) throws {
    let file = Self.directory.appendingPathComponent(name)
    if Self.isWriting { try text.write(to: file, atomically: true, encoding: .utf8) }
    let kept = try? String(contentsOf: file, encoding: .utf8)
    #expect(
      kept == text,
      "\(name); to keep the new one: NETDMA_GOLDEN=write swift test --filter GoldenTests",
      sourceLocation: sourceLocation)
  }

  /// The command line, what it printed and said, and how it ended.
  private func text(_ golden: GoldenCase, _ result: ProbeResult, root: String?) -> String {
    var output = result.output
    if golden.hasNumbers {
      // Only where it depends on time; that nothing went wrong stays to be seen.
      output = output.replacing(/(completion|descriptors):.*|in [0-9.]+ s/) { match in
        withoutNumbers(String(match.output.0))
      }
    }
    var text = "$ netdma-probe \(golden.arguments.joined(separator: " "))\n" + output
    if !result.errors.isEmpty { text += "--- standard error\n" + result.errors }
    if result.status != 0 { text += "--- exit status \(result.status)\n" }
    if let root { text = text.replacing(root, with: "ROOT") }
    return text.replacing("\u{1b}", with: "␛")
  }
}

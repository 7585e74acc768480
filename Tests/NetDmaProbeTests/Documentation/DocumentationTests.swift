// SPDX-License-Identifier: Apache-2.0

import ArgumentParser
import Foundation
import TestSupport
import Testing

@testable import netdma_probe

/// Every command that a document shows is one that works, and shows what it really prints.
@Suite("Documentation")
struct DocumentationTests {
  private static let isWriting = ProcessInfo.processInfo.environment["NETDMA_DOCS"] == "write"

  /// The tree that a note "machine: NAME" means.
  private func tree(_ name: String?) throws -> SysFSTree? {
    guard let name else { return nil }
    if name == "server" { return try GoldenCase.server() }
    let situation = try #require(Situation.all.first { $0.description == name }, "\(name)")
    return try situation.tree()
  }

  @Test(
    "a document's commands, one after another, print what the document shows",
    arguments: Document.all)
  func outputs(_ document: Document) throws {
    let runner = try CommandRunner()
    for block in try document.blocks() where block.notes["guest"] == nil {
      let tree = try tree(block.notes["machine"])
      for shown in block.commands where !shown.output.isEmpty {
        if shown.command == "make test" {
          try checkSteps(shown)
          continue
        }
        let run = try #require(
          try runner.run(shown, on: tree), "\(document): '\(shown.command)' cannot be checked")
        var printed = run.output.split(separator: "\n", omittingEmptySubsequences: false)
          .map(String.init)
        if printed.last == "" { printed.removeLast() }
        if Self.isWriting {
          try document.replaceOutput(of: shown, with: printed)
          continue
        }
        #expect(
          printed.map { mask($0, run.varies) } == shown.output.map { mask($0, run.varies) },
          """
          \(document): \(shown.command); to keep what it prints now: \
          NETDMA_DOCS=write swift test --filter DocumentationTests
          """)
      }
    }
  }

  /// A line without the numbers that differ from run to run.
  private func mask(_ line: String, _ varies: Bool) -> String {
    varies ? withoutNumbers(line) : line
  }

  /// `make test` itself takes too long for a test: what is shown are its steps, all of them, in their
  /// order.
  private func checkSteps(_ shown: ShownCommand) throws {
    let script = try String(
      contentsOf: Document.package.appendingPathComponent("Scripts/test.sh"), encoding: .utf8)
    let names = script.matches(of: /step '([^']+)' [a-z]+ ;;/).map { String($0.output.1) }
    let listed = shown.output.compactMap {
      ($0.wholeMatch(of: /ok   (.+) \([0-9]+ s\).*/)?.output.1).map(String.init)
    }
    #expect(listed.count == shown.output.count)
    #expect(listed == names)
  }

  @Test("a command that a document shows is one that the program takes", arguments: Document.all)
  func commands(_ document: Document) throws {
    for block in try document.blocks() {
      for shown in block.commands {
        if let arguments = CommandRunner.arguments(shown.command) { try check(arguments, document) }
        if let target = shown.command.firstMatch(of: /(?:^|&& )make ([a-z]+)/)?.output.1 {
          #expect(try makeTargets().contains(String(target)), "\(document): make \(target)")
        }
        if let script = shown.command.firstMatch(of: /^([A-Z][A-Za-z\/.-]+\.sh)/)?.output.1 {
          let path = Document.package.appendingPathComponent(String(script)).path
          #expect(FileManager.default.isExecutableFile(atPath: path), "\(document): \(script)")
        }
      }
    }
    // In running text a command may lack what it works on, but has no other options.
    let known = try knownOptions()
    for line in try document.lines() {
      // Commands that are no running text stand in blocks, where they are looked at.
      #expect(
        !line.hasPrefix("netdma-probe ") && !line.hasPrefix("sudo netdma-probe "),
        "\(document): \(line)")
      for match in line.matches(of: /`(?:sudo )?netdma-probe ([a-z]+)([^`]*)`/) {
        let options = try #require(
          known[String(match.output.1)], "\(document): netdma-probe \(match.output.1)")
        for option in match.output.2.matches(of: /--[a-z-]+/) {
          #expect(options.contains(String(option.output)), "\(document): \(match.output.0)")
        }
      }
      for match in line.matches(of: /`make ([a-z]+)`/) {
        #expect(
          try makeTargets().contains(String(match.output.1)), "\(document): \(match.output.0)")
      }
    }
  }

  /// The arguments, with something in place of what stands for it.
  private func check(_ arguments: [String], _ document: Document) throws {
    let words = arguments.map { word in
      ["ADDRESS": "0000:00:04.0", "DEVICE": "0000:00:04.0", "PATH": "/run/ioat.sock"][word] ?? word
    }
    do {
      _ = try NetDmaProbe.parseAsRoot(words)
    } catch {
      // Help and version are no commands that run, and no mistakes.
      #expect(
        NetDmaProbe.exitCode(for: error) == .success,
        "\(document): netdma-probe \(words.joined(separator: " ")): \(error)")
    }
  }

  private func makeTargets() throws -> Set<String> {
    let makefile = try String(
      contentsOf: Document.package.appendingPathComponent("Makefile"), encoding: .utf8)
    return Set(makefile.matches(of: /(?m)^([a-z]+):/).map { String($0.output.1) })
  }

  /// Each command's options.
  private func knownOptions() throws -> [String: Set<String>] {
    let tool = try HelpDump(of: NetDmaProbe.self).command
    var known: [String: Set<String>] = [:]
    for command in tool.subcommands ?? [] {
      known[command.commandName] = Set(
        (command.arguments ?? []).flatMap { ($0.names ?? []).map(\.spelling) })
    }
    return known
  }

  @Test("the examples in each command's help are commands that the program takes")
  func helpExamples() throws {
    let tool = try HelpDump(of: NetDmaProbe.self).command
    for command in tool.visibleCommands {
      let source = (command.discussion ?? "").split(separator: "\n")
      // --help goes on in column 0 with what is longer.
      for line in source where line.hasPrefix("  ") {
        #expect(line.count <= 80, "\(command.commandName): \(line)")
      }
      let lines = source.map { $0.trimmingCharacters(in: .whitespaces) }
      let examples = lines.filter { $0.hasPrefix("netdma-probe ") || $0.hasPrefix("sudo ") }
      #expect(examples.count >= 2, "\(command.commandName) has examples")
      for example in examples {
        let arguments = try #require(CommandRunner.arguments(example))
        try check(arguments, Document(description: "\(command.commandName) --help"))
      }
      #expect(command.visibleArguments.contains { $0.preferredName?.name == "json" })
      #expect(command.visibleArguments.contains { $0.preferredName?.name == "log-level" })
    }
  }

  @Test("a document that shows another output, or a command that is none, is found")
  func detects() throws {
    #expect(mask("copies: 3 of 7.5 s", true) == "copies: N of N s")
    #expect(mask("copies: 3", false) == "copies: 3")
    #expect(CommandRunner.arguments("sudo netdma-probe bind x --user $USER") != nil)
    #expect(CommandRunner.arguments("netdma-probe manual | man -l -") == ["manual"])
    #expect(CommandRunner.arguments("make run") == nil)
    #expect(throws: (any Error).self) { _ = try NetDmaProbe.parseAsRoot(["list", "--everything"]) }
  }
}

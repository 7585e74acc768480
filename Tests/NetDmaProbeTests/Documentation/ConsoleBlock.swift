// SPDX-License-Identifier: Apache-2.0

import Foundation

/// A command that a document shows, with the output that it shows for it.
struct ShownCommand {
  /// The line of the document with the prompt, from 0.
  let line: Int
  /// What follows the prompt.
  let command: String
  /// The lines of output.
  var output: [String]
}

/// A block of a document that shows a terminal: between "```console" and "```".
struct ConsoleBlock {
  /// What a comment before the block says of it: `<!-- machine: server -->`.
  let notes: [String: String]
  let commands: [ShownCommand]
}

/// A Markdown file of this package.
struct Document: Sendable, CustomStringConvertible {
  /// Relative to the package.
  let description: String

  static let package = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
    .appendingPathComponent("../../..").standardized

  /// Every document for users and contributors.
  static let all: [Document] = {
    func files(_ directory: String) -> [Document] {
      let names = try? FileManager.default.contentsOfDirectory(
        atPath: package.appendingPathComponent(directory).path)
      return (names ?? []).filter { $0.hasSuffix(".md") }.sorted()
        .map { Document(description: directory + "/" + $0) }
    }
    return ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"].map { Document(description: $0) }
      + files("docs") + files("Sources/NetDmaVFIO/NetDmaVFIO.docc")
  }()

  private var file: URL { Self.package.appendingPathComponent(description) }

  func lines() throws -> [String] {
    try String(contentsOf: file, encoding: .utf8)
      .split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
  }

  /// Its blocks of commands, in order.
  func blocks() throws -> [ConsoleBlock] {
    let lines = try lines()
    var blocks: [ConsoleBlock] = []
    var index = 0
    while index < lines.count {
      guard lines[index] == "```console" else {
        index += 1
        continue
      }
      let notes = index > 0 ? Self.notes(lines[index - 1]) : [:]
      index += 1
      var commands: [ShownCommand] = []
      while index < lines.count, lines[index] != "```" {
        if let prompt = ["$ ", "# "].first(where: lines[index].hasPrefix) {
          commands.append(
            ShownCommand(
              line: index, command: String(lines[index].dropFirst(prompt.count)), output: []))
        } else if !commands.isEmpty {
          commands[commands.count - 1].output.append(lines[index])
        }
        index += 1
      }
      // An empty line before the next prompt is for the eye.
      for number in commands.indices.dropLast() where commands[number].output.last == "" {
        commands[number].output.removeLast()
      }
      blocks.append(ConsoleBlock(notes: notes, commands: commands))
    }
    return blocks
  }

  private static func notes(_ line: String) -> [String: String] {
    guard line.hasPrefix("<!-- "), line.hasSuffix(" -->") else { return [:] }
    let parts = line.dropFirst(5).dropLast(4).split(separator: ": ", maxSplits: 1)
    return parts.count == 2 ? [String(parts[0]): String(parts[1])] : [:]
  }

  /// Puts what a command printed in place of what the document shows.
  func replaceOutput(of shown: ShownCommand, with output: [String]) throws {
    var lines = try lines()
    // Earlier replacements may have moved it.
    guard
      let prompt = lines.indices.filter({ lines[$0].dropFirst(2) == shown.command })
        .min(by: { abs($0 - shown.line) < abs($1 - shown.line) })
    else { return }
    lines.replaceSubrange(prompt + 1..<prompt + 1 + shown.output.count, with: output)
    try lines.joined(separator: "\n").write(to: file, atomically: true, encoding: .utf8)
  }
}

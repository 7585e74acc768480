// SPDX-License-Identifier: Apache-2.0

import Foundation
import TestSupport

/// Runs what a document shows, in the order in which it stands there; servers live until the end.
final class CommandRunner {
  private let scratch: ScratchDirectory
  private var servers: [ProbeProcess] = []

  init() throws { scratch = try ScratchDirectory() }

  /// What a command printed.
  struct Run {
    let output: String
    /// Whether its numbers differ from run to run.
    let varies: Bool
  }

  /// The program's arguments, nil when the command is another one.
  static func arguments(_ command: String) -> [String]? {
    var words = command.prefix { $0 != "|" && $0 != "#" && $0 != ">" }.split(separator: " ")
      .map(String.init)
    while let first = words.first, first == "sudo" || first.contains("=") { words.removeFirst() }
    if words.last == "&" { words.removeLast() }
    guard let program = words.first, program.hasSuffix("netdma-probe") else { return nil }
    return Array(words.dropFirst())
  }

  /// Runs a command that the documents may show with output, nil for one that cannot be run here.
  func run(_ shown: ShownCommand, on tree: SysFSTree?) throws -> Run? {
    // Sockets of the documents lie in a directory of the test's own.
    let command = shown.command.replacingOccurrences(of: "/tmp/", with: scratch.path + "/")
    if let arguments = Self.arguments(command) {
      if arguments.first == "emulate", !arguments.contains("--help") {
        return Run(
          output: try serve(arguments, lines: shown.output.count), varies: false)
      }
      let root = try tree ?? SysFSTree()
      let result = try ProbeProcess.run(
        arguments, environment: tree == nil ? [:] : ["NETDMA_SYSROOT": root.root])
      let output = (result.output + result.errors).replacingOccurrences(of: root.root, with: "")
      return Run(output: plain(output), varies: tree == nil)
    }
    switch command {
    case "make run":
      // A machine without an engine, whatever this one has.
      let empty = try SysFSTree()
      let script = Document.package.appendingPathComponent("Scripts/run.sh").path
      let result = try ProbeProcess.run(
        [], wrapper: ["/bin/bash", script], environment: ["NETDMA_SYSROOT": empty.root])
      return Run(output: plain(result.output + result.errors), varies: true)
    default: return nil
    }
  }

  private func serve(_ arguments: [String], lines: Int) throws -> String {
    let server = try ProbeProcess(arguments)
    try server.wait(until: "it serves") { $0.output.filter { $0 == "\n" }.count >= lines }
    servers.append(server)
    return plain(server.output)
  }

  /// As it would be printed where the document is followed.
  private func plain(_ text: String) -> String {
    text.replacingOccurrences(of: scratch.path + "/", with: "/tmp/")
      .replacingOccurrences(of: ProbeProcess.program, with: ".build/release/netdma-probe")
  }
}

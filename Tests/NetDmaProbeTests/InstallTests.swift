// SPDX-License-Identifier: Apache-2.0

import ArgumentParser
import Foundation
import NetDmaVFIO
import TestSupport
import Testing

@testable import netdma_probe

/// `make install` into a directory of the test's own.
@Suite("Install", .serialized)
struct InstallTests {
  /// A directory that is removed with all that is in it.
  private final class Root {
    let url = FileManager.default.temporaryDirectory
      .appendingPathComponent("netdma-install-\(UUID().uuidString.prefix(8))")
    deinit { try? FileManager.default.removeItem(at: url) }

    func text(_ path: String) throws -> String {
      try String(contentsOf: url.appendingPathComponent(path), encoding: .utf8)
    }
    var files: [String] {
      let all = FileManager.default.enumerator(atPath: url.path)?.compactMap { $0 as? String }
      return (all ?? []).filter { path in
        var isDirectory: ObjCBool = false
        let full = url.appendingPathComponent(path).path
        return FileManager.default.fileExists(atPath: full, isDirectory: &isDirectory)
          && !isDirectory.boolValue
      }.sorted()
    }
  }

  /// Runs a program to its end; its status and all that it said.
  private func run(_ words: [String]) throws -> (status: Int32, text: String) {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    process.arguments = words
    process.standardInput = FileHandle.nullDevice
    let output = Pipe()
    process.standardOutput = output
    process.standardError = output
    try process.run()
    let text = String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
    process.waitUntilExit()
    return (process.terminationStatus, text)
  }

  private func make(_ target: String, _ root: Root) throws -> (status: Int32, text: String) {
    try run([
      "make", "--no-print-directory", "-C", Document.package.path, target,
      "PROBE=\(ProbeProcess.program)", "DESTDIR=\(root.url.path)", "PREFIX=/opt/netdma",
    ])
  }

  private static let paths = [
    "opt/netdma/bin/netdma-probe", "opt/netdma/share/bash-completion/completions/netdma-probe",
    "opt/netdma/share/doc/netdma-probe/90-netdma.rules",
    "opt/netdma/share/doc/netdma-probe/LICENSE",
    "opt/netdma/share/fish/vendor_completions.d/netdma-probe.fish",
    "opt/netdma/share/man/man1/netdma-probe.1",
    "opt/netdma/share/zsh/site-functions/_netdma-probe",
  ]

  /// Whether a program is on this machine.
  private func has(_ program: String) throws -> Bool {
    try run(["sh", "-c", "command -v \(program)"]).status == 0
  }

  @Test("install puts all of it below DESTDIR and PREFIX, and uninstall takes all of it away")
  func installs() throws {
    let root = Root()
    let installed = try make("install", root)
    #expect(installed.status == 0, "\(installed.text)")
    #expect(root.files == Self.paths)
    let program = root.url.appendingPathComponent(Self.paths[0]).path
    #expect(try run([program, "--version"]).text == NetDmaProbe.version + "\n")

    // Nothing of a manual page's source is left over, and groff finds nothing to complain about.
    let page = root.url.appendingPathComponent("opt/netdma/share/man/man1/netdma-probe.1").path
    if try has("groff") {
      let lint = try run(["groff", "-man", "-ww", "-Tutf8", "-z", page])
      #expect(lint.status == 0 && lint.text == "", "\(lint.text)")
    }
    if try has("mandoc") {
      let lint = try run(["mandoc", "-T", "lint", "-W", "warning", page])
      #expect(lint.status == 0, "\(lint.text)")
    }
    for (shell, option, path) in [("bash", "-n", 1), ("fish", "--no-execute", 4), ("zsh", "-n", 6)]
    where try has(shell) {
      let check = try run([shell, option, root.url.appendingPathComponent(Self.paths[path]).path])
      #expect(check.status == 0, "\(shell): \(check.text)")
    }

    let removed = try make("uninstall", root)
    #expect(removed.status == 0, "\(removed.text)")
    #expect(root.files == [])
  }

  @Test("manual page and completions have every command and every option")
  func complete() throws {
    let root = Root()
    try #require(try make("install", root).status == 0)
    let page = try root.text("opt/netdma/share/man/man1/netdma-probe.1")
      .replacingOccurrences(of: "\\-", with: "-")
    let completions = try [1, 4, 6].map { try root.text(Self.paths[$0]) }
    let tool = try HelpDump(of: NetDmaProbe.self).command
    #expect(tool.visibleCommands.count >= 8)
    for command in tool.visibleCommands {
      #expect(page.contains(".SS \"netdma-probe \(command.commandName)\""))
      for text in completions { #expect(text.contains(command.commandName)) }
      for argument in command.visibleArguments {
        for name in argument.names ?? [] {
          #expect(page.contains("\\fB\(name.spelling)\\fR"), "\(command.commandName) \(name)")
          // Fish writes names without their dashes.
          for text in completions {
            #expect(text.contains(name.name), "\(command.commandName) \(name)")
          }
        }
      }
    }
    // What an option takes is offered too.
    for text in completions { #expect(text.contains("sandy-bridge")) }
    for section in ["EXIT STATUS", "ENVIRONMENT", "FILES", "EXAMPLES", "SEE ALSO"] {
      #expect(page.contains(".SH \"\(section)\""))
    }
    // The statuses of the page are those of the program.
    let statuses = [
      ExitStatus.noUser, ExitStatus.noDevice, ExitStatus.outputFailed, ExitStatus.notPermitted,
    ]
    for status in statuses.map(\.rawValue) {
      #expect(page.contains("\\fB\(status)\\fR"))
    }
  }

  @Test("options that take a file or a socket complete the names of files")
  func fileCompletion() throws {
    let dump = try JSONSerialization.jsonObject(with: Data(NetDmaProbe._dumpHelp().utf8))
    let tool = try #require((dump as? [String: Any])?["command"] as? [String: Any])
    let commands = try #require(tool["subcommands"] as? [[String: Any]])
    var names: Set<String> = []
    for command in commands {
      for argument in command["arguments"] as? [[String: Any]] ?? []
      where argument["shouldDisplay"] as? Bool == true {
        guard ["file", "path"].contains(argument["valueName"] as? String) else { continue }
        let name = (argument["preferredName"] as? [String: Any])?["name"] as? String ?? ""
        let kind = argument["completionKind"] as? [String: Any]
        #expect(kind?["file"] != nil, "\(command["commandName"] ?? "") --\(name)")
        names.insert(name)
      }
    }
    #expect(names == ["vfio-user", "socket", "csv", "json-file", "report"])
  }

  @Test("clean removes every directory that a step of test.sh builds in, and no source")
  func clean() throws {
    let root = Root()
    let built = [
      ".build", ".build-thread", ".build-address", "Benchmarks/.build", "Fuzz/.build", "Fuzz/Work",
    ]
    for path in built + ["Sources", "Fuzz/Corpus"] {
      try FileManager.default.createDirectory(
        at: root.url.appendingPathComponent(path), withIntermediateDirectories: true)
      try "".write(
        to: root.url.appendingPathComponent(path + "/file"), atomically: true, encoding: .utf8)
    }
    let result = try run([
      "make", "--no-print-directory", "-C", root.url.path, "-f",
      Document.package.appendingPathComponent("Makefile").path, "clean",
    ])
    #expect(result.status == 0, "\(result.text)")
    #expect(root.files == ["Fuzz/Corpus/file", "Sources/file"])
  }

  @Test("without a built program install says what to do, and writes nothing")
  func missingProgram() throws {
    let root = Root()
    let result = try run([
      "make", "--no-print-directory", "-C", Document.package.path, "install",
      "PROBE=/nonexistent/netdma-probe", "DESTDIR=\(root.url.path)",
    ])
    #expect(result.status != 0)
    #expect(result.text.contains("make build"))
    #expect(root.files == [])
  }

  @Test("the udev rule is for groups in which every device is an engine that is driven")
  func rule() throws {
    let rule = try String(
      contentsOf: Document.package.appendingPathComponent("packaging/90-netdma.rules"),
      encoding: .utf8)
    // As udev hands it to the shell: %k is the node's name.
    let quoted = try #require(rule.firstMatch(of: /PROGRAM=="\/bin\/sh -c '(.*)'"/)).output.1
    let script = quoted.replacingOccurrences(of: "%k", with: "7")
    func applies(to ids: [UInt16], vendor: UInt16 = 0x8086) throws -> Bool {
      let tree = try SysFSTree()
      for (index, id) in ids.enumerated() {
        try tree.add("0000:00:04.\(index)") {
          $0.vendor = vendor
          $0.device = id
          $0.group = 7
        }
      }
      let local = script.replacingOccurrences(of: "/sys/", with: tree.root + "/sys/")
      return try run(["/bin/sh", "-c", local]).status == 0
    }
    for engine in IOATDeviceID.all {
      #expect(try applies(to: [engine.device]) == (engine.refusal == nil), "\(engine)")
    }
    #expect(try applies(to: [0x2021, 0x0b00]))
    #expect(try !applies(to: [0x2021, 0x1533]))
    #expect(try !applies(to: [0x2021], vendor: 0x1af4))
    // The rule for character devices has the same ids, as udev's patterns.
    let patterns = quoted.matches(of: /-e (0x[^ ]+)/).map { String($0.output.1) }
      .filter { $0 != "0x8086" }.joined(separator: "|")
    #expect(rule.contains("ATTRS{device}==\"\(patterns)\""))
  }
}

// SPDX-License-Identifier: Apache-2.0

import Foundation
import Testing

/// A child process, ended when its owner ends.
final class Child {
  private let process = Process()
  private let output: URL

  /// Starts `program`; both its outputs go to the file `output`.
  init(_ program: URL, _ arguments: [String], output: URL) throws {
    self.output = output
    guard FileManager.default.createFile(atPath: output.path, contents: nil) else {
      throw GuestError(description: "\(output.path) cannot be made")
    }
    process.executableURL = program
    process.arguments = arguments
    process.standardInput = FileHandle.nullDevice
    let file = try FileHandle(forWritingTo: output)
    process.standardOutput = file
    process.standardError = file
    try process.run()
  }

  deinit {
    if process.isRunning { process.terminate() }
    process.waitUntilExit()
  }

  /// What it printed so far.
  var text: String { (try? String(contentsOf: output, encoding: .utf8)) ?? "" }
  /// Whether it still runs.
  var isRunning: Bool { process.isRunning }
  /// Asks it to end, and waits for that.
  func stop() -> Int32 {
    if process.isRunning { process.terminate() }
    return wait()
  }
  /// Waits for its end.
  func wait() -> Int32 {
    process.waitUntilExit()
    return process.terminationStatus
  }
}

struct GuestError: Error, CustomStringConvertible {
  let description: String
}

/// What one boot of a guest left.
struct GuestRun {
  /// Everything that the guest printed.
  let log: String
  /// What the device emulator printed.
  let emulatorLog: String

  /// The evidence of one of the scenario's results, nil when it did not say "ok".
  func evidence(_ name: String) -> String? {
    log.split(separator: "\n").first { $0.hasPrefix("RESULT \(name) ok") }.map(String.init)
  }

  /// The objects that `netdma-probe … --json` printed in the guest, by line.
  var objects: [[String: Any]] {
    log.split(separator: "\n").compactMap { line in
      // The console is a terminal, so the progress meter may stand before it.
      guard let start = line.firstIndex(of: "{") else { return nil }
      return (try? JSONSerialization.jsonObject(with: Data(line[start...].utf8)))
        as? [String: Any]
    }
  }

  /// Those of one command.
  func reports(_ command: String) -> [[String: Any]] {
    objects.filter { $0["command"] as? String == command }
  }
}

/// Checks what `netdma-probe verify` reported of copies that all had to succeed.
func expectCleanCopies(
  _ report: [String: Any], transport: String, sourceLocation: SourceLocation = #_sourceLocation
) {
  let number = { (name: String) in report[name] as? Int ?? -1 }
  #expect(report["transport"] as? String == transport, sourceLocation: sourceLocation)
  #expect(report["ok"] as? Bool == true, "\(report)", sourceLocation: sourceLocation)
  #expect(number("copies") > 0, sourceLocation: sourceLocation)
  for fault in ["mismatches", "guardViolations", "failed"] {
    #expect(number(fault) == 0, "\(fault)", sourceLocation: sourceLocation)
  }
  if report["mode"] as? String == "interrupt" {
    #expect(number("isrCalls") > 0 && number("dpcCalls") > 0, sourceLocation: sourceLocation)
  }
}

/// What one emulator shows.
struct Model {
  /// More options of `netdma-probe emulate`.
  var options: [String] = []
  /// Functions of the emulated device.
  var functions = 1

  /// A model by its name, with more options.
  static func named(_ name: String, _ options: String..., functions: Int = 1) -> Model {
    Model(options: ["--model", name] + options, functions: functions)
  }
}

/// A boot of Linux with devices that `netdma-probe emulate` serves to it.
struct Guest {
  /// Every part that Linux knows, and the RAID variants of those whose RAID Linux does not mask.
  static let everyModel: [Model] =
    [
      "nehalem", "jasper-forest", "sandy-bridge", "ivy-bridge", "haswell", "broadwell",
      "broadwell-de", "briarwood", "skylake", "ice-lake",
    ].map { .named($0) } + ["nehalem", "ice-lake"].map { .named($0, "--raid") }

  /// The scenario below Tests/VM/scenarios, without ".sh".
  let scenario: String
  /// The emulators' options, one emulator each; every function is a PCI device of the guest.
  var models: [Model] = [Model()]
  /// Set in the scenario.
  var environment: [String: String] = [:]
  /// More options of run-guest.sh.
  var options: [String] = []
  /// Seconds for the whole run: emulated processors are slow, other tests may run besides.
  var timeout = 300

  static let package = URL(fileURLWithPath: #filePath)
    .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()

  /// The program under test: $NETDMA_PROBE, else the one that was built with these tests.
  static func probe() throws -> URL {
    if let path = ProcessInfo.processInfo.environment["NETDMA_PROBE"] {
      return URL(fileURLWithPath: path)
    }
    let built = package.appendingPathComponent(".build/debug/netdma-probe")
    guard FileManager.default.isExecutableFile(atPath: built.path) else {
      throw GuestError(description: "there is no \(built.path); build it or set NETDMA_PROBE")
    }
    return built
  }

  /// Runs it to its end; records an issue with the logs unless the scenario ended well.
  ///
  /// Where guests cannot run the test is skipped, but in CI that is a failure.
  func run(sourceLocation: SourceLocation = #_sourceLocation) throws -> GuestRun {
    let probe = try Self.probe()
    let folder = FileManager.default.temporaryDirectory
      .appendingPathComponent("netdma-vm-\(UUID().uuidString.prefix(8))")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    var sockets: [String] = []
    let emulators = try models.enumerated().map { index, model in
      let socket = folder.appendingPathComponent("ioat\(index).sock").path
      sockets +=
        model.functions == 1 ? [socket] : (0..<model.functions).map { "\(socket).\($0)" }
      return try Child(
        probe,
        ["emulate", "--socket", socket, "--functions", "\(model.functions)"] + model.options,
        output: URL(fileURLWithPath: socket + ".log"))
    }
    let limit = Date(timeIntervalSinceNow: 60)
    while !sockets.allSatisfy({ FileManager.default.fileExists(atPath: $0) }) {
      guard emulators.allSatisfy(\.isRunning), Date() < limit else {
        let texts = emulators.map(\.text).joined(separator: "\n")
        throw GuestError(description: "an emulator serves nothing:\n\(texts)")
      }
      Thread.sleep(forTimeInterval: 0.01)
    }

    let vm = Self.package.appendingPathComponent("Tests/VM")
    let guest = try Child(
      URL(fileURLWithPath: "/bin/bash"),
      [
        vm.appendingPathComponent("run-guest.sh").path, "--probe", probe.path, "--scenario",
        vm.appendingPathComponent("scenarios/\(scenario).sh").path, "--timeout", "\(timeout)",
      ] + sockets.flatMap { ["--socket", $0] }
        + environment.sorted { $0.key < $1.key }.flatMap { ["--env", "\($0.key)=\($0.value)"] }
        + options,
      output: folder.appendingPathComponent("guest.log"))
    let status = guest.wait()
    let serving = emulators.allSatisfy(\.isRunning)
    let emulatorStatus = emulators.map { $0.stop() }.first { $0 != 0 } ?? 0
    let run = GuestRun(
      log: guest.text, emulatorLog: emulators.map(\.text).joined(separator: "\n"))
    if status == 77 {
      guard ProcessInfo.processInfo.environment["CI"] == nil else {
        throw GuestError(description: "guests must run in CI, but: \(run.log)")
      }
      print("SKIPPED: guests cannot run here: \(run.log)")
      try Test.cancel("guests cannot run here: \(run.log)")
    }
    if status != 0 || !serving || emulatorStatus != 0 {
      Issue.record(
        """
        the guest ended with status \(status); the emulators \
        \(serving ? "ended" : "had not all lived until then, and ended") with status \(emulatorStatus)
        --- guest
        \(run.log)
        --- emulator
        \(run.emulatorLog)
        """, sourceLocation: sourceLocation)
    }
    return run
  }
}

// SPDX-License-Identifier: Apache-2.0

import Foundation
import Glibc
import Testing

@Suite("bench")
struct BenchTests {
  /// A short run with two sizes.
  private static let short = ["bench", "--mock", "--sizes", "64,64K", "--duration", "0.01"]

  private func text(_ path: String) throws -> String {
    try String(contentsOfFile: path, encoding: .utf8)
  }

  @Test("the mock is measured in each mode, the CPU beside it, and a break-even is told")
  func modes() throws {
    for mode in ["poll", "interrupt", "async"] {
      let object = try jsonObject(
        try ProbeProcess.run(Self.short + ["--mode", mode, "--verify", "--json"]))
      #expect(object["ok"] as? Bool == true)
      #expect(object["mode"] as? String == mode)
      let points = try #require(object["points"] as? [[String: Any]])
      #expect(points.compactMap { $0["size"] as? Int } == [64, 65536])
      for point in points {
        let operations = try #require(point["operations"] as? Int)
        #expect(operations > 0)
        #expect(point["verified"] as? Int == operations)
        #expect(point["mismatches"] as? Int == 0)
        #expect((point["baseline"] as? [String: Any])?["name"] as? String == "memcpy")
        #expect((point["interrupts"] as? Int ?? -1 > 0) == (mode != "poll"))
      }
      let answers = try #require(object["breakEvens"] as? [[String: Any]])
      #expect(answers.compactMap { $0["measure"] as? String } == ["throughput", "cpuTime"])
      #expect(answers.allSatisfy { ($0["sentence"] as? String ?? "").contains("DMA is ") })
    }
  }

  @Test("fills are measured on an engine that has them, against memset")
  func fill() throws {
    let result = try ProbeProcess.run(Self.short + ["--ops", "copy,fill", "--verify"])
    #expect(result.status == 0, "\(result.errors)")
    #expect(result.output.contains("fill, depth 32, batch 1, 1 channel"))
    #expect(result.output.contains("memset"))
  }

  @Test("an engine that cannot fill is 69, and the error says what to leave out")
  func noFill() throws {
    let emulator = try EmulatorProcess(["--fast", "--capabilities", "page-break"])
    let result = try ProbeProcess.run([
      "bench", "--vfio-user", emulator.socket, "--ops", "fill",
    ])
    #expect(result.status == 69)
    #expect(result.errors.contains("--ops copy"))
  }

  @Test("channels of a server are measured together, up to as many as it has")
  func channels() throws {
    let emulator = try EmulatorProcess(["--fast", "--channels", "3"])
    let line = [
      "bench", "--vfio-user", emulator.socket, "--sizes", "4K", "--duration", "0.01", "--verify",
    ]
    let object = try jsonObject(
      try ProbeProcess.run(line + ["--channels", "1..3", "--json"]))
    let points = try #require(object["points"] as? [[String: Any]])
    #expect(points.compactMap { $0["channels"] as? Int } == [1, 2, 3])
    let refused = try ProbeProcess.run(line + ["--channels", "4"])
    #expect(refused.status == 69)
    #expect(refused.errors.contains("cannot give 4 channels."))
    #expect(emulator.process.isRunning)
  }

  @Test("one thread that polls takes at most one CPU: the mock's engine is not counted")
  func cpuTime() throws {
    let object = try jsonObject(
      try ProbeProcess.run([
        "bench", "--mock", "--sizes", "1M", "--duration", "0.2", "--no-compare-cpu", "--json",
      ]))
    let point = try #require((object["points"] as? [[String: Any]])?.first)
    let each = try #require(point["cpuNanosecondsPerOperation"] as? Double)
    let operations = try #require(point["operations"] as? Int)
    let seconds = try #require(point["seconds"] as? Double)
    #expect(each > 0)
    #expect(each * Double(operations) / 1e9 <= seconds * 1.2)
  }

  @Test("files are written beside the text; their points are the same")
  func files() throws {
    let directory = try ScratchDirectory()
    let (json, csv) = (directory.path + "/a.json", directory.path + "/a.csv")
    // What a file held before is gone, also where it was longer.
    try String(repeating: "x", count: 100_000).write(
      toFile: json, atomically: false, encoding: .utf8)
    let result = try ProbeProcess.run(Self.short + ["--json", json, "--csv", csv])
    #expect(result.status == 0, "\(result.errors)")
    #expect(result.output.contains("break-even of copy"))
    let object = try jsonObject(ProbeResult(status: 0, output: try text(json), errors: ""))
    let points = try #require(object["points"] as? [[String: Any]])
    let rows = try text(csv).split(separator: "\n").map { $0.split(separator: ",") }
    #expect(rows.count == 1 + points.count)
    let size = try #require(rows.first?.firstIndex(of: "size_bytes"))
    let count = try #require(rows.first?.firstIndex(of: "operations"))
    for (row, point) in zip(rows.dropFirst(), points) {
      #expect(row.count == rows.first?.count)
      #expect(Int(row[size]) == point["size"] as? Int)
      #expect(Int(row[count]) == point["operations"] as? Int)
    }
  }

  @Test("a table on standard output is all that is there, with the columns that are documented")
  func csv() throws {
    let result = try ProbeProcess.run(Self.short + ["--csv", "-"])
    #expect(result.status == 0)
    let lines = result.output.split(separator: "\n")
    #expect(lines.count == 3)
    let document = try text(
      URL(fileURLWithPath: #filePath).deletingLastPathComponent()
        .appendingPathComponent("../../../docs/json.md").path)
    let start = try #require(document.range(of: "Its columns are "))
    let end = try #require(document.range(of: ".\n\n", range: start.upperBound..<document.endIndex))
    let names = document[start.upperBound..<end.lowerBound].split { "`, \n".contains($0) }
    #expect(lines.first?.split(separator: ",") == names)
  }

  @Test("without the CPU its columns are empty, and no break-even is told")
  func withoutCPU() throws {
    let result = try ProbeProcess.run(Self.short + ["--no-compare-cpu"])
    #expect(result.status == 0)
    #expect(!result.output.contains("memcpy") && !result.output.contains("break-even"))
    let table = try ProbeProcess.run(Self.short + ["--no-compare-cpu", "--csv", "-"])
    #expect(table.output.split(separator: "\n").last?.hasSuffix(",,,,,") == true)
    // The flag that is the default may be said.
    #expect(try ProbeProcess.run(Self.short + ["--compare-cpu"]).output.contains("memcpy"))
  }

  @Test("a file that cannot be made is 73, before anything is measured")
  func unwritable() throws {
    for option in ["--json", "--csv", "--report"] {
      let result = try ProbeProcess.run(["bench", "--mock", option, "/nonexistent/file"])
      #expect(result.status == 73)
      #expect(result.output == "")
      #expect(result.errors.hasPrefix("error: /nonexistent/file could not be opened"))
    }
  }

  @Test("one file for two outputs is wrong usage, however it is named, and what was there stays")
  func sameFile() throws {
    let directory = try ScratchDirectory()
    let path = directory.path + "/out"
    func run(_ names: [String]) throws -> ProbeResult {
      let result = try ProbeProcess.run(
        Self.short + zip(["--csv", "--report"], names).flatMap { [$0, $1] })
      #expect(result.output == "")
      #expect(result.errors.contains("Two of --json, --csv and --report name one file"))
      #expect(result.errors.contains("Usage: netdma-probe bench"))
      return result
    }
    #expect(try run([path, directory.path + "/./out"]).status == 64)
    #expect(access(path, F_OK) != 0)
    try "before".write(toFile: path, atomically: false, encoding: .utf8)
    try #require(symlink(path, path + ".link") == 0)
    #expect(try run([path, path + ".link"]).status == 64)
    #expect(try text(path) == "before")
    // Devices take any number of outputs.
    let devices = try ProbeProcess.run(
      Self.short + ["--json", "/dev/null", "--csv", "/dev/null", "--no-compare-cpu"])
    #expect(devices.status == 0, "\(devices.errors)")
  }

  @Test(
    "a file that was made for what was then not measured is removed, one that was there is kept")
  func abandoned() throws {
    let directory = try ScratchDirectory()
    let (new, old) = (directory.path + "/new.html", directory.path + "/old.csv")
    try "before".write(toFile: old, atomically: false, encoding: .utf8)
    let result = try ProbeProcess.run([
      "bench", "--vfio-user", "/nonexistent.sock", "--report", new, "--csv", old,
    ])
    #expect(result.status == 69)
    #expect(access(new, F_OK) != 0)
    #expect(try text(old) == "before")
  }

  @Test("a batch that fits no depth is told with the depth that it must fit")
  func batch() throws {
    let result = try ProbeProcess.run(["bench", "--mock", "--depths", "1,4", "--batch", "8"])
    #expect(result.errors.contains("--batch 8 is more than --depths 4"))
  }

  @Test(
    "what does not fit together is wrong usage",
    arguments: [
      ["--duration", "0"], ["--duration", "-1"], ["--duration", "nan"], ["--sizes", "0"],
      ["--depths", "40000"], ["--mode", "async", "--batch", "2"],
      ["--mode", "async", "--channels", "1"], ["--mode", "fast"], ["--ops", "move"],
      ["--json", "--csv", "-"], ["--csv", "-", "--report", "-"],
      ["--json", "a.json", "--json-file", "b.json"], ["--depths", "1", "--batch", "2"],
      ["--depths", "1,8", "--batch", "4,16"], ["--batch", "33"],
    ])
  func usage(arguments: [String]) throws {
    let result = try ProbeProcess.run(["bench", "--mock"] + arguments)
    #expect(result.status == 64, "\(result.output)")
    #expect(result.output == "")
  }

  @Test("more in flight than any ring takes is an error that says what to make smaller")
  func ring() throws {
    let result = try ProbeProcess.run([
      "bench", "--mock", "--sizes", "1G", "--depths", "256", "--duration", "0.01",
    ])
    #expect(result.status == 64)
    #expect(result.errors.contains("take 262144 descriptors"))
    #expect(result.errors.contains("--depths"))
  }

  /// A run that takes long, of which at least one point is done.
  private func busy(_ arguments: [String]) throws -> ProbeProcess {
    let process = try ProbeProcess(
      ["bench", "--duration", "0.6", "--sizes", "64..4M"] + arguments,
      errors: .terminal(columns: 80))
    try process.wait(until: "a point is measured") {
      $0.errors.contains(/[1-9][0-9]* of 17 points/)
    }
    return process
  }

  @Test(
    "a signal ends it with what was measured, and the device takes the next client",
    arguments: [SIGINT, SIGTERM])
  func signal(_ signal: Int32) throws {
    let emulator = try EmulatorProcess(["--fast"])
    for mode in ["poll", "interrupt", "async"] {
      let process = try busy(["--vfio-user", emulator.socket, "--mode", mode, "--json"])
      process.kill(signal)
      let result = try process.wait()
      #expect(result.status == 130)
      let object = try jsonObject(result)
      #expect(object["interrupted"] as? Bool == true)
      #expect(object["ok"] as? Bool == true)
      let points = try #require(object["points"] as? [[String: Any]])
      #expect((1..<17).contains(points.count))
      // The line of the meter was taken away.
      #expect(result.errors.hasSuffix("\u{1b}[K"))
      let next = try ProbeProcess.run([
        "verify", "--vfio-user", emulator.socket, "--count", "20", "--json",
      ])
      #expect(next.status == 0, "\(next.errors)")
    }
    #expect(emulator.process.isRunning)
  }

  @Test("a server that is killed is 69; what was measured before is printed")
  func killedServer() throws {
    let emulator = try EmulatorProcess(["--fast"])
    let process = try busy(["--vfio-user", emulator.socket, "--json"])
    emulator.process.kill(SIGKILL)
    let result = try process.wait()
    #expect(result.status == 69)
    #expect(result.errors.contains("The vfio-user server at \(emulator.socket) went away."))
    let object = try jsonObject(result)
    #expect(object["ok"] as? Bool == false)
    #expect(object["failure"] as? String != nil)
    #expect((object["points"] as? [Any])?.isEmpty == false)
  }

  @Test("in a pipe nothing but the figures is printed")
  func quiet() throws {
    let result = try ProbeProcess.run(Self.short)
    #expect(result.errors == "")
    #expect(!result.output.contains("\u{1b}") && !result.output.contains("\r"))
    for line in result.output.split(separator: "\n") { #expect(line.count <= 80, "\(line)") }
  }
}

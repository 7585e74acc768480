// SPDX-License-Identifier: Apache-2.0

import Glibc
import Logging
import NetDmaVFIO
import Testing

/// Which device the command line asks for.
@Suite("emulate: models")
struct EmulateModelTests {
  /// Vendor and device ids, version and capabilities of what is served at a path.
  private struct Identity: Equatable {
    var id: UInt64
    var version: UInt64
    var capabilities: UInt64

    init(_ id: UInt64, _ version: UInt64, _ capabilities: UInt64) {
      self.id = id
      self.version = version
      self.capabilities = capabilities
    }

    init(at path: String) throws {
      let client = try VFIOUserClient.connect(
        path: path, timeout: .seconds(20),
        logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
      id = try client.read(.configuration, at: 2, width: .word)
      version = try client.read(.bar0, at: 8, width: .byte)
      capabilities = try client.read(.bar0, at: 16, width: .dword)
    }
  }

  private func identity(_ options: String...) throws -> Identity {
    let emulator = try EmulatorProcess(options)
    return try Identity(at: emulator.socket)
  }

  @Test("without a model it is function 0 of a Skylake")
  func standard() throws {
    #expect(try identity() == Identity(0x2021, 0x33, 0x41))
  }

  @Test("a model by name, with RAID or without")
  func named() throws {
    #expect(try identity("--model", "ivy-bridge") == Identity(0x0e20, 0x32, 0x41))
    #expect(try identity("--model", "ivy-bridge", "--raid") == Identity(0x0e2e, 0x32, 0x341))
  }

  @Test("the device id alone chooses the model, and other options what differs")
  func byID() throws {
    #expect(try identity("--device-id", "0b00") == Identity(0x0b00, 0x34, 0x80_0041))
    #expect(
      try identity("--device-id", "0x6f21", "--cb-version", "3.4", "--capabilities", "fill")
        == Identity(0x6f21, 0x34, 0x40))
    #expect(try identity("--device-id", "1234") == Identity(0x1234, 0x33, 0x41))
    #expect(
      try identity("--model", "haswell", "--device-id", "1234") == Identity(0x1234, 0x32, 0x41))
  }

  @Test("an id that no part has is told of with the model that it stands for")
  func unknownID() throws {
    let directory = try ScratchDirectory()
    let process = try ProbeProcess([
      "emulate", "--socket", directory.path + "/s", "--device-id", "1234", "--json",
    ])
    try process.wait(until: "it is served") { $0.output.hasSuffix("\n") }
    let object = try jsonObject(ProbeResult(status: 0, output: process.output, errors: ""))
    #expect(object["model"] as? String == "skylake")
    #expect(object["deviceID"] as? String == "1234")
    process.kill(SIGTERM)
    _ = try process.wait()
  }

  @Test("functions have the ids of a real socket, and of a second one behind its last")
  func functions() throws {
    let emulator = try EmulatorProcess(
      ["--model", "broadwell-de", "--functions", "6"], firstSocket: ".0")
    let ids = try (0..<6).map { try Identity(at: "\(emulator.socket).\($0)").id }
    #expect(ids == [0x6f50, 0x6f51, 0x6f52, 0x6f53, 0x6f50, 0x6f51])
  }

  @Test(
    "what describes no device is a usage error that says what there is",
    arguments: [
      (["--model", "pentium"], "ivy-bridge"), (["--model", "skylake", "--raid"], "ivy-bridge"),
      (["--capabilities", "warp"], "page-break"), (["--channels", "32"], "1 to 31"),
      (["--cb-version", "4.0"], "3.4"), (["--device-id", "xyz"], "2021"),
      (["--start-delay", "20000000000"], "10 s"),
    ])
  func refusals(options: [String], mention: String) throws {
    let result = try ProbeProcess.run(["emulate", "--socket", "/nonexistent/s"] + options)
    #expect(result.status == 64)
    #expect(result.errors.contains(mention))
  }

  @Test("verify takes a model for the mock, and only for the mock")
  func verify() throws {
    let result = try ProbeProcess.run([
      "verify", "--mock", "--model", "broadwell-de", "--count", "20", "--max-size", "9000",
    ])
    #expect(result.status == 0)
    #expect(
      try ProbeProcess.run(["verify", "--vfio-user", "/x", "--model", "haswell"]).status == 64)
  }
}

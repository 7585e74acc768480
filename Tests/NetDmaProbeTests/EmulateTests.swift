// SPDX-License-Identifier: Apache-2.0

import Glibc
import Testing

@Suite("emulate")
struct EmulateTests {
  @Test("SIGTERM and SIGINT end it in order: status 0, and its sockets are gone")
  func termination() throws {
    for signal in [SIGTERM, SIGINT] {
      let emulator = try EmulatorProcess()
      #expect(emulator.socketExists)
      emulator.process.kill(signal)
      #expect(try emulator.process.wait().status == 0)
      #expect(!emulator.socketExists)
    }
  }

  @Test("SIGTERM ends it while a client is in mid-transfer, and the client hears of it")
  func terminationUnderLoad() throws {
    let emulator = try EmulatorProcess()
    let client = try ProbeProcess(
      ["verify", "--vfio-user", emulator.socket, "--count", "10000000"],
      errors: .terminal(columns: 80))
    try client.wait(until: "copies are made") { $0.errors.contains(" copies (") }
    emulator.process.kill(SIGTERM)
    #expect(try emulator.process.wait().status == 0)
    #expect(!emulator.socketExists)
    #expect(try client.wait().status == 69)
  }

  @Test("a socket that another server has is left to it")
  func occupied() throws {
    let emulator = try EmulatorProcess()
    let second = try ProbeProcess.run(["emulate", "--socket", emulator.socket])
    #expect(second.status != 0)
    #expect(second.errors.hasPrefix("error: "))
    let client = try ProbeProcess.run([
      "verify", "--vfio-user", emulator.socket, "--count", "5", "--max-size", "4096",
    ])
    #expect(client.status == 0)
  }
}

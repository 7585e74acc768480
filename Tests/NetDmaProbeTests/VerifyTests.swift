// SPDX-License-Identifier: Apache-2.0

import Glibc
import Testing

@Suite("verify")
struct VerifyTests {
  @Test("the mock copies every byte by interrupt, and says so in JSON")
  func mock() throws {
    let result = try ProbeProcess.run([
      "verify", "--mock", "--count", "200", "--max-size", "65536", "--json",
    ])
    #expect(result.status == 0)
    #expect(result.errors == "")
    let object = try jsonObject(result)
    let keys = [
      "transport", "device", "cbVersion", "channels", "copies", "bytes", "mismatches",
      "guardViolations", "interrupts", "isrCalls", "dpcCalls", "seconds",
    ]
    for key in keys { #expect(object[key] != nil, "\(key)") }
    #expect(object["transport"] as? String == "mock")
    #expect(object["copies"] as? Int == 200)
    #expect(object["mismatches"] as? Int == 0)
    #expect(object["guardViolations"] as? Int == 0)
    #expect(object["isrCalls"] as? Int ?? 0 > 0)
    #expect(object["dpcCalls"] as? Int ?? 0 > 0)
    #expect(object["ok"] as? Bool == true)
  }

  @Test("a mock is made with as many channels as are asked for")
  func mockChannels() throws {
    let result = try ProbeProcess.run([
      "verify", "--mock", "--count", "200", "--channels", "4", "--max-size", "65536", "--json",
    ])
    #expect(result.status == 0)
    #expect(try jsonObject(result)["channels"] as? Int == 4)
  }

  @Test("more channels than a device has are refused, not made fewer in silence")
  func tooManyChannels() throws {
    let emulator = try EmulatorProcess(["--fast", "--channels", "2"])
    let result = try ProbeProcess.run([
      "verify", "--vfio-user", emulator.socket, "--count", "10", "--channels", "3",
    ])
    #expect(result.status == 69)
    #expect(result.output == "")
    #expect(result.errors.contains("cannot give 3 channels"))
    #expect(result.errors.contains("--channels 2"))
  }

  @Test("the same seed makes the same copies")
  func seed() throws {
    let arguments = ["verify", "--mock", "--count", "40", "--seed", "7", "--json"]
    let first = try jsonObject(try ProbeProcess.run(arguments))
    let second = try jsonObject(try ProbeProcess.run(arguments))
    #expect(first["bytes"] as? Int == second["bytes"] as? Int)
    #expect(first["seed"] as? Int == 7)
  }

  @Test("two processes: copies over vfio-user, by interrupt and polled")
  func twoProcesses() throws {
    let emulator = try EmulatorProcess(["--fast"])
    for mode in [[], ["--poll"]] {
      let result = try ProbeProcess.run(
        ["verify", "--vfio-user", emulator.socket, "--count", "100", "--json"] + mode)
      #expect(result.status == 0, "\(result.errors)")
      let object = try jsonObject(result)
      #expect(object["transport"] as? String == "vfio-user")
      #expect(object["copies"] as? Int == 100)
      #expect(object["mismatches"] as? Int == 0)
      #expect(object["mode"] as? String == (mode.isEmpty ? "interrupt" : "poll"))
      if mode.isEmpty { #expect(object["isrCalls"] as? Int ?? 0 > 0) }
    }
    #expect(emulator.process.isRunning)
  }

  /// A client that is known to be in the middle of copies: its progress shows on its terminal.
  private func busyClient(_ emulator: EmulatorProcess) throws -> ProbeProcess {
    let client = try ProbeProcess(
      ["verify", "--vfio-user", emulator.socket, "--count", "10000000"],
      errors: .terminal(columns: 80))
    try client.wait(until: "copies are made") { $0.errors.contains(" copies (") }
    return client
  }

  @Test("a verification that was stopped is not called a failure of the device, nor complete")
  func stopped() throws {
    let client = try ProbeProcess(
      ["verify", "--mock", "--count", "10000000"], errors: .terminal(columns: 80))
    try client.wait(until: "copies are made") { $0.errors.contains(" copies (") }
    client.kill(SIGINT)
    let result = try client.wait()
    #expect(result.status == 130)
    #expect(result.output.contains("of 10000000 copies, of which every byte matched"))
    #expect(!result.output.contains("erified"))
    #expect(!result.errors.contains("error:"))
  }

  @Test("one copy, which has to fail, and does", arguments: 1...4)
  func onlyAFault(seed: Int) throws {
    let result = try ProbeProcess.run([
      "verify", "--mock", "--count", "1", "--faults", "--seed", "\(seed)",
    ])
    #expect(result.status == 0, "\(result.errors)")
  }

  @Test("a client killed in mid-transfer leaves the server serving the next")
  func killedClient() throws {
    let emulator = try EmulatorProcess()
    let client = try busyClient(emulator)
    client.kill(SIGKILL)
    #expect(try client.wait().status == 128 + SIGKILL)
    let next = try ProbeProcess.run([
      "verify", "--vfio-user", emulator.socket, "--count", "50", "--json",
    ])
    #expect(next.status == 0, "\(next.errors)")
    #expect(try jsonObject(next)["copies"] as? Int == 50)
    #expect(emulator.process.isRunning)
  }

  @Test("a server killed in mid-transfer gives the client an error that says so, and an end")
  func killedServer() throws {
    let emulator = try EmulatorProcess()
    let client = try busyClient(emulator)
    emulator.process.kill(SIGKILL)
    let result = try client.wait()
    #expect(result.status == 69, "\(result.errors.suffix(1000))")
    #expect(result.errors.contains("error: The vfio-user server at \(emulator.socket) went away."))
  }
}

// SPDX-License-Identifier: Apache-2.0

import Glibc
import Testing

@Suite("Exit status and outputs")
struct ExitStatusTests {
  @Test(
    "wrong usage is 64, with the mistake on standard error",
    arguments: [
      ["verify"], ["verify", "--mock", "--device", "0000:00:04.0"], ["verify", "--device", "zero"],
      ["verify", "--mock", "--count", "0"], ["emulate"], ["frobnicate"], ["list", "--nonsense"],
    ])
  func usage(arguments: [String]) throws {
    let result = try ProbeProcess.run(arguments)
    #expect(result.status == 64)
    #expect(result.output == "")
    #expect(result.errors.hasPrefix("Error: "))
  }

  @Test("a device that is not there is 69, and the error says what to do")
  func noDevice() throws {
    let device = try ProbeProcess.run(["verify", "--device", "0fff:ff:1f.7"])
    #expect(device.status == 69)
    #expect(device.errors.contains("error: There is no PCI device 0fff:ff:1f.7."))
    #expect(device.errors.contains("netdma-probe list"))
    let socket = try ProbeProcess.run(["verify", "--vfio-user", "/nonexistent/ioat.sock"])
    #expect(socket.status == 69)
    #expect(socket.errors.contains("netdma-probe emulate --socket /nonexistent/ioat.sock"))
  }

  @Test("a socket that the user may not open is 77")
  func permission() throws {
    let emulator = try EmulatorProcess()
    var wrapper: [String] = []
    if geteuid() == 0 {
      // Nothing is forbidden to root.
      wrapper = ["/usr/bin/setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
      guard access(wrapper[0], X_OK) == 0 else {
        try Test.cancel("setpriv is not installed, and nothing is forbidden to root")
      }
    } else {
      chmod(emulator.socket, 0)
    }
    let result = try ProbeProcess.run(
      ["verify", "--vfio-user", emulator.socket], wrapper: wrapper)
    #expect(result.status == 77)
    #expect(result.errors.hasPrefix("error: "))
  }

  @Test("a closed pipe for an output changes nothing but that nothing is read from it")
  func closedPipe() throws {
    for arguments in [
      ["list"], ["list", "--all", "--json"], ["--help"],
      ["verify", "--mock", "--count", "5", "--max-size", "4096"],
    ] {
      #expect(try ProbeProcess.run(arguments, output: .closedPipe).status == 0, "\(arguments)")
    }
    let failing = try ProbeProcess.run(
      ["verify", "--vfio-user", "/nonexistent/ioat.sock"], errors: .closedPipe)
    #expect(failing.status == 69)
  }

  @Test("what could not be written to a full disk is said, with 74")
  func fullDisk() throws {
    // The shell opens the device whose writes all fail.
    let result = try ProbeProcess.run(
      ["verify", "--mock", "--count", "5", "--max-size", "4096", "--json"],
      wrapper: ["/bin/sh", "-c", "exec \"$0\" \"$@\" >/dev/full"])
    #expect(result.status == 74)
    #expect(result.errors.contains("No space left on device"))
  }

  @Test(
    "so is a long output, which is written past the stream's buffer, and one before an exit status")
  func fullDiskInOtherWays() throws {
    let full = ["/bin/sh", "-c", "exec \"$0\" \"$@\" >/dev/full"]
    for arguments in [["manual"], ["conformance", "--list"], ["doctor"]] {
      let result = try ProbeProcess.run(arguments, wrapper: full)
      #expect(result.status == 74, "\(arguments)")
      #expect(result.errors.contains("error: The output could not be written."), "\(arguments)")
    }
    // A reader who has enough is none of that.
    #expect(try ProbeProcess.run(["manual"], output: .closedPipe).status == 0)
  }

  @Test(
    "two signals at once are one, and what was found until then is printed",
    arguments: [true, false])
  func signals(isBench: Bool) throws {
    let arguments =
      isBench
      ? ["bench", "--mock", "--json", "--duration", "20"]
      : ["verify", "--mock", "--count", "10000000", "--json"]
    let process = try ProbeProcess(arguments, errors: .terminal(columns: 80))
    try process.wait(until: "it is at work") { $0.errors.contains("%") }
    process.kill(SIGINT)
    process.kill(SIGTERM)
    let result = try process.wait()
    #expect(result.status == 130)
    #expect(try jsonObject(result)["interrupted"] as? Bool == true)
  }

  @Test("every command's help shows examples, and ends with 0")
  func help() throws {
    for command in ["list", "show", "doctor", "bind", "unbind", "verify", "emulate", "bench"] {
      let result = try ProbeProcess.run([command, "--help"])
      #expect(result.status == 0)
      #expect(result.output.contains("EXAMPLES"))
      #expect(result.output.contains("netdma-probe \(command)"))
    }
  }
}

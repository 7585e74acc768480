// SPDX-License-Identifier: Apache-2.0

import ArgumentParser
import Testing

@testable import netdma_probe

@Suite("Values of options")
struct ArgumentValueTests {
  /// What is said of a command line, which must be wrong usage.
  private func refusal(
    _ line: [String], sourceLocation: SourceLocation = #_sourceLocation
  ) throws -> String {
    do {
      _ = try NetDmaProbe.parseAsRoot(BenchArguments.withJSONFile(line))
    } catch {
      #expect(
        NetDmaProbe.exitCode(for: error) == .validationFailure, sourceLocation: sourceLocation)
      return NetDmaProbe.message(for: error)
    }
    Issue.record("\(line) is taken", sourceLocation: sourceLocation)
    return ""
  }

  private static let bounded: [(line: [String], option: String, range: String)] = [
    (["verify", "--mock"], "--count", "from 1 to 9223372036854775807"),
    (["verify", "--mock"], "--max-size", "from 1 to 64M, like 9000, 4K or 1M"),
    (["verify", "--mock"], "--channels", "from 1 to 31"),
    (["bench", "--mock"], "--duration", "more than 0 and at most 3600 seconds"),
    (["emulate", "--socket", "s"], "--functions", "from 1 to 64"),
    (["emulate", "--socket", "s"], "--channels", "from 1 to 31"),
  ]

  @Test(
    "zero, a negative number, a number that is too large and what is no number are told what is valid",
    arguments: bounded)
  func numbers(line: [String], option: String, range: String) throws {
    for value in ["0", "-1", "99999999999999999999", "abc", ""] {
      let message = try refusal(line + [option, value])
      #expect(message.contains("The value '\(value)' is invalid for '\(option) <"))
      #expect(message.contains(range))
    }
  }

  @Test(
    "where zero is valid, a negative number is not called missing either",
    arguments: [
      (["verify", "--mock", "--seed"], "from 0 to 18446744073709551615"),
      (["emulate", "--socket", "s", "--bytes-per-second"], "from 0 to 18446744073709551615"),
      (["emulate", "--socket", "s", "--start-delay"], "which are 10 s"),
      (["emulate", "--socket", "s", "--device-id"], "'-5' is not a hexadecimal number"),
      (["emulate", "--socket", "s", "--cb-version"], "'-5' is not one of 3.0 to 3.4"),
      (["emulate", "--socket", "s", "--capabilities"], "no engine capability \"-5\""),
      (["bench", "--mock", "--sizes"], "-5 lies outside 1 to 1073741824"),
      (["bench", "--mock", "--depths"], "-5 lies outside 1 to 32767"),
      (["bench", "--mock", "--batch"], "-5 lies outside 1 to 32767"),
      (["bench", "--mock", "--channels"], "-5 lies outside 1 to 31"),
    ])
  func negative(line: [String], mention: String) throws {
    #expect(try refusal(line + ["-5"]).contains(mention))
  }

  @Test("an option at the end of the line lacks its value")
  func missing() throws {
    #expect(
      try refusal(["verify", "--mock", "--count"]).contains("Missing value for '--count <n>'"))
  }

  @Test("counts have neither units nor exponents, sizes have units up to 64M")
  func units() throws {
    for value in ["4K", "1e3", "1.5", "0x10"] {
      #expect(try refusal(["verify", "--mock", "--count", value]).contains("whole number"))
    }
    for (text, bytes) in [("64K", 65536), ("9000", 9000), ("1m", 1 << 20), ("64M", 64 << 20)] {
      #expect(try VerifyCommand.parse(["--mock", "--max-size", text]).maximumSize == bytes)
    }
    for value in ["4G", "67108865", "1T", "1.5K"] {
      #expect(try refusal(["verify", "--mock", "--max-size", value]).contains("from 1 to 64M"))
    }
  }

  @Test(
    "an empty path is refused, whichever option it is for",
    arguments: [
      ["verify", "--vfio-user"], ["show", "--vfio-user"], ["conformance", "--vfio-user"],
      ["emulate", "--socket"], ["bench", "--mock", "--csv"], ["bench", "--mock", "--json"],
      ["bench", "--mock", "--json-file"], ["bench", "--mock", "--report"],
    ])
  func emptyPath(line: [String]) throws {
    let option = try #require(line.last)
    let message = try refusal(line + [""])
    #expect(message.contains(option) && message.contains("needs a path"))
    if option == "--json" { #expect(try refusal(line.dropLast() + ["--json="]) == message) }
  }

  @Test("what a mock cannot be is told with models and options that the command has")
  func models() throws {
    for command in ["verify", "bench", "conformance", "show"] {
      let unknown = try refusal([command, "--mock", "--model", "foo"])
      #expect(unknown.contains("There is no device model \"foo\". The models are nehalem, "))
      #expect(unknown.contains("Name one of them."))
      let raid = try refusal([command, "--mock", "--raid"])
      #expect(raid.contains("The skylake model has no RAID variant. Only nehalem, "))
      #expect(raid.contains("--model"))
      for text in [unknown, raid] {
        #expect(!text.contains("--device-id") && !text.contains("--capabilities"))
      }
    }
    #expect(try refusal(["emulate", "--socket", "s", "--model", "foo"]).contains("--device-id"))
    #expect(try refusal(["emulate", "--socket", "s", "--raid"]).contains("--capabilities xor,pq"))
  }

  @Test("a capability number that is too wide is told so, not that it is no number")
  func wideCapabilities() throws {
    let line = ["emulate", "--socket", "s", "--capabilities"]
    for value in ["0xffffffffff", "ffffffffff"] {
      let message = try refusal(line + [value])
      #expect(message.contains("32 bits") && !message.contains("Name some"))
    }
    _ = try EmulateCommand.parse(["--socket", "s", "--capabilities", "341"])
  }
}

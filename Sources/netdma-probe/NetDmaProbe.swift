// SPDX-License-Identifier: Apache-2.0

import ArgumentParser
import Glibc

/// `netdma-probe`, the command line.
@main
struct NetDmaProbe: ParsableCommand {
  /// What `--version` prints.
  static let version = "0.1.0"
  /// When that version was made; the manual page says so.
  static let versionDate = "2026-11-25"

  static let configuration = CommandConfiguration(
    commandName: "netdma-probe",
    abstract: "Probe, test and emulate Intel IOAT DMA engines through VFIO.",
    version: version,
    subcommands: [
      ListCommand.self, ShowCommand.self, DoctorCommand.self, BindCommand.self, UnbindCommand.self,
      VerifyCommand.self, BenchCommand.self, EmulateCommand.self, ConformanceCommand.self,
      ManualCommand.self,
    ])

  static func main() {
    // A reader that went away is an error of the write, not the end of a process that owes a
    // device its shutdown and a directory its socket.
    _ = signal(SIGPIPE, SIG_IGN)
    main(BenchArguments.withJSONFile(Array(CommandLine.arguments.dropFirst())))
  }
}

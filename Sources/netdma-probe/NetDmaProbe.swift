// SPDX-License-Identifier: Apache-2.0

import ArgumentParser

/// `netdma-probe`, the command line.
@main
struct NetDmaProbe: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "netdma-probe",
    abstract: "Probe, test and emulate Intel IOAT DMA engines through VFIO.",
    version: "0.1.0",
    subcommands: [ListCommand.self, VerifyCommand.self, EmulateCommand.self])
}

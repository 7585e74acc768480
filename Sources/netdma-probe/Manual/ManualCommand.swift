// SPDX-License-Identifier: Apache-2.0

import ArgumentParser

/// `netdma-probe manual`: the manual page, made from what the commands say of themselves.
///
/// Not listed by `--help`: `make install` uses it.
struct ManualCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "manual",
    abstract: "Print the manual page.",
    discussion: """
      In the form that man takes.

      EXAMPLES
        netdma-probe manual | man -l -
      """,
    shouldDisplay: false)

  func run() throws {
    try reportingErrors {
      print(ManualPage(try HelpDump(of: NetDmaProbe.self).command).text, terminator: "")
    }
  }
}

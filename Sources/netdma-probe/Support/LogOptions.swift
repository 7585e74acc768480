// SPDX-License-Identifier: Apache-2.0

import ArgumentParser
import Logging

/// How much a command says on standard error.
struct LogOptions: ParsableArguments {
  /// swift-log's levels under its own names.
  enum Level: String, CaseIterable, ExpressibleByArgument {
    case trace, debug, info, notice, warning, error, critical

    var value: Logger.Level { Logger.Level(rawValue: rawValue) ?? .warning }
  }

  @Option(
    name: .customLong("log-level"),
    help: ArgumentHelp(
      "The least that is said on standard error.", valueName: "level"))
  var level: Level?

  @Flag(name: .shortAndLong, help: "Show each step, like --log-level debug.")
  var verbose = false

  /// A logger to standard error; `standard` and worse unless more is asked for.
  func makeLogger(standard: Logger.Level = .warning) -> Logger {
    let chosen = level?.value ?? (verbose ? .debug : standard)
    var logger = Logger(label: "netdma-probe") { _ in TerminalLog(showsTime: chosen <= .debug) }
    logger.logLevel = chosen
    return logger
  }
}

// SPDX-License-Identifier: Apache-2.0

import ArgumentParser
import NetDmaMock

/// How fast an emulated engine is: like a Skylake channel but for what is said otherwise.
struct TimingOptions: ParsableArguments {
  @Flag(help: "As fast as this machine can, instead of like a Skylake channel.")
  var fast = false

  @Option(
    name: .customLong("bytes-per-second"), parsing: .unconditional,
    help: ArgumentHelp("Rate of each channel (10000000000); 0 for no limit.", valueName: "n"),
    transform: ArgumentValue.whole(0...UInt64.max))
  var bytesPerSecond: UInt64?

  @Option(
    name: .customLong("descriptor-time"), parsing: .unconditional,
    help: ArgumentHelp("Fixed cost of a descriptor (20).", valueName: "ns"), transform: Self.time)
  var descriptorTime: UInt64?

  @Option(
    name: .customLong("completion-time"), parsing: .unconditional,
    help: ArgumentHelp("Cost of writing a completion word (200).", valueName: "ns"),
    transform: Self.time)
  var completionTime: UInt64?

  @Option(
    name: .customLong("start-delay"), parsing: .unconditional,
    help: ArgumentHelp("From a doorbell to an idle engine's start (40000).", valueName: "ns"),
    transform: Self.time)
  var startDelay: UInt64?

  @Option(
    name: .customLong("interrupt-delay"), parsing: .unconditional,
    help: ArgumentHelp(
      "From an event to its interrupt (0); INTRDELAY is added.", valueName: "ns"),
    transform: Self.time)
  var interruptDelay: UInt64?

  /// Longer ones would be taken for a hang by every driver.
  private static let time = ArgumentValue.whole(
    0...UInt64(10_000_000_000), note: " nanoseconds, which are 10 s")

  /// All of it together.
  var timing: EngineTiming {
    var timing = fast ? EngineTiming.fast : .skylake
    if let bytesPerSecond { timing.bytesPerSecond = bytesPerSecond }
    if let descriptorTime { timing.nanosecondsPerDescriptor = descriptorTime }
    if let completionTime { timing.nanosecondsPerCompletion = completionTime }
    if let startDelay { timing.startDelay = startDelay }
    if let interruptDelay { timing.interruptDelay = interruptDelay }
    return timing
  }
}

// SPDX-License-Identifier: Apache-2.0

import ArgumentParser
import NetDmaMock
import Testing

@testable import netdma_probe

/// How fast an engine is by the command line.
@Suite("emulate: timing")
struct TimingOptionsTests {
  @Test("without options it is a Skylake channel, and --fast is none")
  func standard() throws {
    #expect(try TimingOptions.parse([]).timing == .skylake)
    #expect(try TimingOptions.parse(["--fast"]).timing == .fast)
  }

  @Test("each option changes its own cost, also of a fast one")
  func options() throws {
    let timing = try TimingOptions.parse([
      "--fast", "--bytes-per-second", "1000000", "--descriptor-time", "1", "--completion-time",
      "2", "--start-delay", "3", "--interrupt-delay", "4",
    ]).timing
    var expected = EngineTiming.fast
    expected.bytesPerSecond = 1_000_000
    expected.nanosecondsPerDescriptor = 1
    expected.nanosecondsPerCompletion = 2
    expected.startDelay = 3
    expected.interruptDelay = 4
    #expect(timing == expected)
    #expect(try TimingOptions.parse(["--start-delay", "0"]).timing.startDelay == 0)
  }
}

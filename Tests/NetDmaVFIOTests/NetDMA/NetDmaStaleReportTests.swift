// SPDX-License-Identifier: Apache-2.0

import NetDmaVFIO
import TestSupport
import Testing

/// What the engine once reported, and a full ring: slot numbers alone do not tell old from new.
@Suite("Stale reports")
struct NetDmaStaleReportTests {
  /// Enqueues and submits null descriptors until the ring is full; tells their tokens.
  private func fill(_ channel: inout NetDmaChannel, from first: UInt64) throws -> Range<UInt64> {
    let tokens = first..<first + UInt64(channel.freeDescriptors())
    try channel.submitNulls(tokens)
    return tokens
  }

  @Test(
    "a word that a suspension's registers overtook ends nothing of a ring that was filled since",
    arguments: ["AbortDma", "ResetChannel", "ResumeDma"])
  func overtakenWord(call: String) throws {
    let bench = try ProviderBench()
    var channel = try bench.open(try bench.start(), mode: .polled, ringCapacity: 8)
    let handle = channel.handle
    bench.provider.setRuns(false)
    try channel.submitNulls(0..<2)
    try channel.submitNulls(2..<5)
    // The word names 1; CHANSTS names 3.
    bench.provider.run(0, count: 4)
    try bench.interface.suspendDma(handle)
    let added = try fill(&channel, from: 5)
    #expect(added.count == 6)
    switch call {
    case "AbortDma": try bench.interface.abortDma(handle)
    case "ResetChannel": try bench.interface.resetChannel(handle)
    default: try bench.interface.resumeDma(handle)
    }
    let before = try pollAll(&channel, 4)
    #expect(before.prefix(4).map(\.token) == [0, 1, 2, 3])
    #expect(before.prefix(4).allSatisfy { $0.error == nil })
    var after = Array(before.dropFirst(4))
    if call == "ResumeDma" {
      #expect(after.isEmpty)
      bench.provider.run(0)
      after += try pollAll(&channel, 7)
      #expect(after.allSatisfy { $0.error == nil })
    } else {
      after += try pollAll(&channel, 7 - after.count)
      #expect(after.allSatisfy { $0.error != nil })
    }
    #expect(after.map(\.token) == Array(4..<11))
  }

  @Test(
    "where a channel cannot be reset, an error fails its operation alone, also in a full ring",
    arguments: [false, true])
  func haltWithoutReset(isSuspended: Bool) throws {
    let bench = try ProviderBench(optional: [.suspendResume])
    var channel = try bench.open(try bench.start(), mode: .polled, ringCapacity: 8)
    let handle = channel.handle
    bench.provider.setRuns(false)
    let tokens = try fill(&channel, from: 0)
    bench.provider.run(0, count: 3)
    bench.provider.halt(0, errors: .readData)
    if isSuspended { try bench.interface.suspendDma(handle) }
    bench.provider.setRuns(true)
    var ended: [DMACompletion] = []
    if isSuspended {
      // What was done is taken; the rest waits for the resume.
      ended = try pollAll(&channel, 3)
      try bench.interface.resumeDma(handle)
    }
    ended += try pollAll(&channel, tokens.count - ended.count)
    #expect(ended.map(\.token).sorted() == Array(tokens))
    let failed = ended.filter { $0.error != nil }
    #expect(failed.map(\.token) == [3])
    guard case .channelError(_, .readData, _, _, _)? = failed.first?.error else {
      Issue.record("not the channel's error: \(failed)")
      return
    }
    #expect(channel.statistics.completed == UInt64(tokens.count - 1))
    #expect(channel.statistics.failed == 1)
  }

  @Test("a start that was refused blames no operation: all of them run once it works")
  func refusedStart() throws {
    let bench = try ProviderBench()
    var channel = try bench.open(try bench.start(), mode: .polled, ringCapacity: 8)
    try bench.interface.resetChannel(channel.handle)
    let failure = NetDmaError.resources(call: "StartDma", detail: "test")
    bench.provider.fail("start", failure)
    #expect(throws: failure) { try channel.submitNulls(0..<3) }
    bench.provider.fail("start", nil)
    let ended = try pollAll(&channel, 3)
    #expect(ended.map(\.token) == [0, 1, 2])
    #expect(ended.allSatisfy { $0.error == nil })
  }
}

// SPDX-License-Identifier: Apache-2.0

import NetDmaMock
import NetDmaVFIO
import TestSupport
import Testing

/// AbortDma and ResetChannel: what ends at once, and what the interface calls for it.
struct NetDmaStopTests {
  private static let slot = UInt64(MemoryLayout<DmaDescriptor>.stride)

  /// The two ways to stop at once.
  enum Stop: String, CaseIterable {
    case abort, reset
    func call(_ interface: NetDmaInterface, _ channel: NetDmaChannelHandle) throws(NetDmaError) {
      switch self {
      case .abort: try interface.abortDma(channel)
      case .reset: try interface.resetChannel(channel)
      }
    }
  }

  @Test(
    "abort and reset end what is outstanding, keep what is only enqueued; the next call is StartDma",
    arguments: Stop.allCases)
  func stopAtOnce(stop: Stop) throws {
    let bench = try ProviderBench()
    let handle = try bench.start()
    var channel = try bench.open(handle)
    guard case .start(_, let base, _) = bench.provider.calls.last else {
      Issue.record("\(bench.provider.calls)")
      return
    }
    bench.provider.setRuns(false)
    try channel.submitNulls(0..<2)
    bench.provider.run(0)
    try channel.submitNulls(2..<6)
    bench.provider.forgetCalls()
    let sent = channel.enqueueNull(token: 6)
    #expect(sent)
    try stop.call(bench.interface, channel.handle)
    #expect(bench.provider.callNames == [stop.rawValue])
    let ended = bench.log.wait(for: 6)
    #expect(ended.map(\.token) == [0, 1, 2, 3, 4, 5])
    #expect(ended.map { $0.error == nil } == [true, true, false, false, false, false])
    // Whatever the old chain still had is forgotten: nothing is valid before the next start.
    #expect(bench.provider.channel(0)?.validDescriptors == 0)
    bench.provider.forgetCalls()
    bench.provider.setRuns(true)
    try channel.submitNulls(7..<8)
    #expect(
      bench.provider.calls == [.start(channel: 0, descriptor: base + 7 * Self.slot, count: 2)])
    bench.interface.interruptDpc(channel: channel.handle)
    #expect(bench.log.wait(for: 8).suffix(2).map(\.token) == [6, 7])
    #expect(bench.log.failures.count == 4)
    #expect(channel.statistics.resets == 1)
  }

  @Test("an abort or reset of a suspended channel ends the suspension", arguments: Stop.allCases)
  func stopWhileSuspended(stop: Stop) throws {
    let bench = try ProviderBench()
    let handle = try bench.start()
    var channel = try bench.open(handle, mode: .polled)
    let channelHandle = channel.handle
    try bench.interface.suspendDma(channelHandle)
    try channel.submitNulls(0..<2)
    try stop.call(bench.interface, channelHandle)
    #expect(try pollAll(&channel, 2).allSatisfy { $0.error != nil })
    #expect(throws: NetDmaError.wrongState(call: "ResumeDma", state: "not suspended")) {
      try bench.interface.resumeDma(channelHandle)
    }
    try channel.submitNulls(2..<3)
    #expect(try pollAll(&channel, 1).map(\.token) == [2])
  }

  @Test("a refused abort or reset ends nothing", arguments: Stop.allCases)
  func stopFails(stop: Stop) throws {
    let bench = try ProviderBench()
    let handle = try bench.start()
    var channel = try bench.open(handle, mode: .polled)
    let channelHandle = channel.handle
    bench.provider.setRuns(false)
    try channel.submitNulls(0..<2)
    let failure = NetDmaError.hardware(.transport(.deviceGone(device: "recording")))
    bench.provider.fail(stop.rawValue, failure)
    #expect(throws: failure) { try stop.call(bench.interface, channelHandle) }
    bench.provider.run(0)
    let ended = try pollAll(&channel, 2)
    #expect(ended.map(\.token) == [0, 1] && ended.allSatisfy { $0.error == nil })
  }
}

// SPDX-License-Identifier: Apache-2.0

import NetDmaVFIO
import TestSupport
import Testing

/// The options of an operation, and what was not submitted.
@Suite("Options and batches")
struct NetDmaOptionTests {
  private static let allowed: DmaControlFlags = [
    .sourceNoSnoop, .destinationNoSnoop, .serializeTransfer, .destinationDCAEnable,
  ]

  private func channel(_ bench: ProviderBench) throws -> NetDmaChannel {
    let handle = try bench.register()
    try bench.interface.startProvider(
      handle, attributes: bench.attributes(capabilities: [.fill, .pageBreak]))
    let channel = try bench.open(handle, mode: .polled)
    bench.provider.setRuns(false)
    return channel
  }

  @Test(
    "an operation takes fence, no-snoop and DCA flags, and no other bit of the control word",
    arguments: 0..<32)
  func options(bit: UInt32) throws {
    let bench = try ProviderBench()
    var channel = try channel(bench)
    let buffer = try bench.space.allocate(byteCount: 8192)
    let (from, to) = (buffer.slice(0..<64), buffer.slice(4096..<4160))
    let options = DmaControlFlags(rawValue: 1 << bit)
    let copied = channel.enqueueCopy(from: from, to: to, token: 0, options: options)
    let empty = channel.enqueueCopy(
      from: from.slice(0..<0), to: to.slice(0..<0), token: 1, options: options)
    let null = channel.enqueueNull(token: 2, options: options)
    let filled = try channel.enqueueFill(to, pattern: 1, token: 3, options: options)
    let broken = try channel.enqueueCopy(
      from: PageBrokenSlice(from), to: PageBrokenSlice(to), token: 4, options: options)
    #expect(copied && empty && null && filled && broken)
    try channel.submit()
    let kept = options.intersection(Self.allowed)
    let found = bench.provider.run(0).map(\.controlFlags)
    #expect(
      found == [
        kept, kept.union(.nullTransfer), kept.union(.nullTransfer), DmaControlFlags(.fill, kept),
        kept.union(.statusUpdateOnCompletion),
      ])
  }

  @Test("the options of a copy are its own, also where the next one closes the batch")
  func optionsDoNotStick() throws {
    let bench = try ProviderBench()
    var channel = try channel(bench)
    let buffer = try bench.space.allocate(byteCount: 8192)
    let (from, to) = (buffer.slice(0..<64), buffer.slice(4096..<4160))
    let report = DmaControlFlags.statusUpdateOnCompletion
    for (batch, expected) in [
      ([.serializeTransfer], [[.serializeTransfer, report]]),
      ([[]], [report]),
      ([.serializeTransfer, []], [.serializeTransfer, report]),
      ([[], .sourceNoSnoop], [[], [.sourceNoSnoop, report]]),
      ([[], []], [[], report]),
    ] as [([DmaControlFlags], [DmaControlFlags])] {
      for options in batch {
        let sent = channel.enqueueCopy(from: from, to: to, token: 0, options: options)
        #expect(sent)
      }
      try channel.submit()
      #expect(bench.provider.run(0).map(\.controlFlags) == expected)
      _ = try pollAll(&channel, batch.count)
    }
  }

  @Test(
    "what was enqueued and not submitted ends, as aborted, with the poll that finds its channel gone"
  )
  func unsubmitted() throws {
    let bench = try ProviderBench()
    let handle = try bench.start()
    var channel = try bench.open(handle, mode: .polled)
    for token in 0..<3 {
      let sent = channel.enqueueNull(token: UInt64(token))
      #expect(sent)
    }
    try bench.interface.stopProvider(handle)
    let result = try channel.poll()
    #expect(result.failed == 3 && result.completed == 0)
    #expect(channel.takeFailures().map(\.token) == [0, 1, 2])
    guard case .channelGone? = channel.pollRefusal() else {
      Issue.record("a channel that is gone was polled")
      return
    }
    #expect(channel.statistics.failed == 3)
  }
}

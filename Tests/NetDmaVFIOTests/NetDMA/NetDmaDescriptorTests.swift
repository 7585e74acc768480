// SPDX-License-Identifier: Apache-2.0

import NetDmaMock
import NetDmaVFIO
import TestSupport
import Testing

/// NET_DMA_DESCRIPTOR as the engine finds it in memory, field by field and flag by flag.
struct NetDmaDescriptorTests {
  private static let everything: DMACapability = [.pageBreak, .fill, .dca, .xor, .pq]

  /// What the engine reads of what `enqueue` wrote, in one batch on a channel of this mode.
  private func descriptors(
    _ mode: NetDmaCompletionMode = .polled,
    _ enqueue: (inout NetDmaChannel, borrowing DMABuffer) throws -> Void
  ) throws -> [DmaDescriptor] {
    let bench = try ProviderBench()
    let handle = try bench.register()
    try bench.interface.startProvider(
      handle, attributes: bench.attributes(capabilities: Self.everything))
    var channel = try bench.open(handle, mode: mode)
    let buffer = try bench.space.allocate(byteCount: 1 << 16)
    bench.provider.setRuns(false)
    try enqueue(&channel, buffer)
    try channel.submit()
    return bench.provider.run(0)
  }

  @Test("a copy says its size, source and destination, and asks for nothing by itself")
  func copyFields() throws {
    var source: UInt64 = 0
    let found = try descriptors { channel, buffer in
      source = buffer.iova + 8
      for token in 0..<2 {
        let sent = channel.enqueueCopy(
          from: buffer.slice(8..<1008), to: buffer.slice(5000..<6000), token: UInt64(token))
        #expect(sent)
      }
    }
    #expect(found.count == 2)
    for descriptor in found {
      #expect(descriptor.transferSize == 1000)
      #expect(descriptor.sourceAddress == source)
      #expect(descriptor.destinationAddress == source + 4992)
      #expect(descriptor.nextDescriptor % 64 == 0 && descriptor.nextDescriptor != 0)
      #expect(descriptor.nextSourceAddress == 0 && descriptor.nextDestinationAddress == 0)
      #expect(descriptor.controlFlags.operation == .copy)
    }
    #expect(found.first?.controlFlags == [])
    #expect(found.last?.controlFlags == .statusUpdateOnCompletion)
  }

  @Test(
    "the batch's last descriptor reports it: by the status alone when polled, else by an interrupt",
    arguments: [
      (.polled, .statusUpdateOnCompletion),
      (.interrupt, [.statusUpdateOnCompletion, .interruptOnCompletion]),
    ] as [(NetDmaCompletionMode, DmaControlFlags)])
  func reporting(mode: NetDmaCompletionMode, flags: DmaControlFlags) throws {
    let found = try descriptors(mode) { channel, _ in
      for token in 0..<4 {
        let sent = channel.enqueueNull(token: UInt64(token))
        #expect(sent)
      }
    }
    #expect(found.dropLast().allSatisfy { $0.controlFlags == .nullTransfer })
    #expect(found.last?.controlFlags == flags.union(.nullTransfer))
  }

  @Test("a null descriptor still has a valid size")
  func null() throws {
    let found = try descriptors { channel, _ in
      let sent = channel.enqueueNull(token: 0)
      #expect(sent)
    }
    #expect(found.map(\.transferSize) == [1])
    #expect(found.first?.controlFlags.contains(.nullTransfer) == true)
  }

  @Test(
    "fence, no-snoop and DCA hints reach the engine as the client gave them",
    arguments: [
      DmaControlFlags.serializeTransfer, .sourceNoSnoop, .destinationNoSnoop, .destinationDCAEnable,
      [.serializeTransfer, .sourceNoSnoop, .destinationNoSnoop],
    ])
  func options(options: DmaControlFlags) throws {
    let found = try descriptors { channel, buffer in
      let sent = channel.enqueueCopy(
        from: buffer.slice(0..<8), to: buffer.slice(8..<16), token: 0, options: options)
      let filled = try channel.enqueueFill(
        buffer.slice(16..<32), pattern: 1, token: 1, options: options)
      let empty = channel.enqueueNull(token: 2, options: options)
      #expect(sent && filled && empty)
    }
    let flags = found.map { $0.controlFlags.subtracting(.statusUpdateOnCompletion) }
    #expect(
      flags == [
        options, DmaControlFlags(.fill, options), options.union(.nullTransfer),
      ])
  }

  @Test("every piece of a copy that was cut carries its fence")
  func optionsOfPieces() throws {
    let bench = try ProviderBench()
    let handle = try bench.register()
    try bench.interface.startProvider(handle, attributes: bench.attributes(transferSize: 4096))
    var channel = try bench.open(handle, mode: .polled)
    let buffer = try bench.space.allocate(byteCount: 1 << 16)
    bench.provider.setRuns(false)
    let sent = channel.enqueueCopy(
      from: buffer.slice(0..<10_000), to: buffer.slice(20_000..<30_000), token: 0,
      options: .serializeTransfer)
    #expect(sent)
    try channel.submit()
    let found = bench.provider.run(0)
    #expect(found.map(\.transferSize) == [4096, 4096, 1808])
    #expect(found.map { $0.sourceAddress - buffer.iova } == [0, 4096, 8192])
    #expect(found.map { $0.destinationAddress - buffer.iova } == [20_000, 24_096, 28_192])
    #expect(found.allSatisfy { $0.controlFlags.contains(.serializeTransfer) })
    #expect(try pollAll(&channel, 1).map(\.token) == [0])
  }

  @Test("page breaks set their flags and the addresses behind them, each side by itself")
  func pageBreaks() throws {
    var base: UInt64 = 0
    let found = try descriptors { channel, buffer in
      base = buffer.iova
      let broken = try PageBrokenSlice(buffer.slice(4000..<4096), then: buffer.slice(8192..<8292))
      let whole = PageBrokenSlice(buffer.slice(20_000..<20_196))
      let first = try channel.enqueueCopy(from: broken, to: whole, token: 0)
      let second = try channel.enqueueCopy(from: whole, to: broken, token: 1)
      let third = try channel.enqueueCopy(from: broken, to: broken, token: 2)
      #expect(first && second && third)
    }
    let flags = found.map { $0.controlFlags.subtracting(.statusUpdateOnCompletion) }
    #expect(
      flags == [
        .sourcePageBreak, .destinationPageBreak, [.sourcePageBreak, .destinationPageBreak],
      ])
    #expect(found.map(\.nextSourceAddress) == [base + 8192, 0, base + 8192])
    #expect(found.map(\.nextDestinationAddress) == [0, base + 8192, base + 8192])
    #expect(found.allSatisfy { $0.transferSize == 196 })
    #expect(found.map(\.sourceAddress) == [base + 4000, base + 20_000, base + 4000])
  }

  @Test("a context change carries its target where a copy has its size, and no interrupt flag")
  func contextChange() throws {
    let found = try descriptors(.interrupt) { channel, _ in
      let sent = try channel.enqueueContextChange(apicID: 0x1234, token: 0)
      #expect(sent)
    }
    // Bit 0 selects the DCA context; the report comes with the null behind it.
    #expect(found.count == 2)
    #expect(found.first?.controlFlags.rawValue == 0xff00_0001)
    #expect(found.first?.transferSize == 0x1234)
    #expect(
      found.last?.controlFlags
        == [.nullTransfer, .statusUpdateOnCompletion, .interruptOnCompletion])
  }

  @Test("what an earlier lap left in a slot does not show in a later descriptor")
  func slotsAreClean() throws {
    let bench = try ProviderBench()
    let handle = try bench.register()
    try bench.interface.startProvider(
      handle, attributes: bench.attributes(capabilities: Self.everything))
    var channel = try bench.open(handle, mode: .polled, ringCapacity: 8)
    let buffer = try bench.space.allocate(byteCount: 1 << 16)
    bench.provider.setRuns(false)
    for lap in 0..<16 {
      let broken = try PageBrokenSlice(buffer.slice(4000..<4096), then: buffer.slice(8192..<8292))
      let isQueued =
        lap % 3 == 0
        ? try channel.enqueueCopy(from: broken, to: broken, token: 0)
        : channel.enqueueCopy(from: buffer.slice(0..<8), to: buffer.slice(8..<16), token: 0)
      #expect(isQueued)
      try channel.submit()
      let found = try #require(bench.provider.run(0).first)
      let breaks: DmaControlFlags = [.sourcePageBreak, .destinationPageBreak]
      #expect(found.controlFlags.isDisjoint(with: breaks) == (lap % 3 != 0))
      #expect(found.transferSize == (lap % 3 == 0 ? 196 : 8))
      #expect(try pollAll(&channel, 1).count == 1)
    }
  }

  // MARK: - The completion status word

  @Test(
    "the status's low three bits are Active, Idle, Suspend, Halted, Armed",
    arguments: [
      (0, ChannelState.active), (1, .idle), (2, .suspended), (3, .halted), (4, .armed),
    ] as [(UInt64, ChannelState)])
  func statusValues(bits: UInt64, state: ChannelState) {
    let word = CompletionWord(rawValue: 0xffff_1234_5640 | bits)
    #expect(word.state == state && word.descriptorAddress == 0xffff_1234_5640)
  }

  @Test(
    "whatever state the status tells, what it covers has ended, and no more", arguments: [0, 1, 2])
  func statusStates(bits: UInt64) throws {
    let bench = try ProviderBench()
    let handle = try bench.start()
    var channel = try bench.open(handle)
    bench.provider.setRuns(false)
    let base = try #require(bench.provider.channel(0)).lastDescriptor
    let address = try #require(bench.provider.channel(0)).parameters.completionAddress
    try channel.submitNulls(0..<5)
    // The second of five: Active, done as the last one known, or suspended behind it.
    try bench.transport.memory.storeRelease(base + 2 * 64 | bits, to: address)
    bench.interface.interruptDpc(channel: channel.handle)
    #expect(bench.log.wait(for: 2).map(\.token) == [0, 1])
  }

  @Test(
    "a status whose address is not valid (Armed) or not of this ring ends nothing and is counted")
  func foreignStatus() throws {
    let bench = try ProviderBench()
    let handle = try bench.start()
    var channel = try bench.open(handle)
    bench.provider.setRuns(false)
    let address = try #require(bench.provider.channel(0)).parameters.completionAddress
    try channel.submitNulls(0..<2)
    for word in [4 as UInt64, 0xdead_0000_0000, 0xffff_ffff_ffff_ffc1] {
      try bench.transport.memory.storeRelease(word, to: address)
      #expect(bench.interface.interruptDpc(channel: channel.handle) == 0)
    }
    #expect(bench.log.all.isEmpty)
    bench.provider.run(0)
    bench.interface.interruptDpc(channel: channel.handle)
    #expect(bench.log.wait(for: 2).map(\.token) == [0, 1])
    // Armed says nothing wrong; the other two do.
    #expect(channel.statistics.foreignCompletions == 2)
  }
}

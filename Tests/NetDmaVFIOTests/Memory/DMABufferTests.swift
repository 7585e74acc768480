// SPDX-License-Identifier: Apache-2.0

import Logging
import SystemPackage
import TestSupport
import Testing

@testable import NetDmaVFIO

@Suite struct DMABufferTests {
  private func space(_ transport: RecordingTransport, width: Int = 46) -> DMAAddressSpace {
    DMAAddressSpace(transport, addressWidth: width, logger: Logger(label: "test"))
  }

  @Test func aBufferIsMappedWhileItLivesAndUnmappedWhenItEnds() throws {
    let transport = RecordingTransport()
    let space = space(transport)
    do {
      var buffer = try space.allocate(byteCount: 5000)
      #expect(transport.mappings == [buffer.iova: 8192])
      #expect(buffer.count == 5000)
      buffer.withMutableBytes { $0.storeBytes(of: 7, toByteOffset: 4999, as: UInt8.self) }
      #expect(buffer.withBytes { $0.unsafeLoad(fromByteOffset: 4999, as: UInt8.self) } == 7)
    }
    #expect(transport.mappings.isEmpty)
    #expect(space.mappedBytes == 0)
  }

  @Test func aBufferThatEndsUnderARunningEngineStaysMappedUntilTheEnginePassedIt() throws {
    let transport = RecordingTransport()
    let space = space(transport)
    let progress = ChannelProgress()
    space.attach(progress)
    do {
      let buffer = try space.allocate(byteCount: 4096)
      progress.publishSubmitted(3)
      _ = buffer.iova
    }
    #expect(transport.mappings.count == 1)
    progress.retire(2, operations: 2)
    space.sweep()
    #expect(transport.mappings.count == 1)
    progress.retire(1, operations: 1)
    space.sweep()
    #expect(transport.mappings.isEmpty)
  }

  @Test func aBufferThatEndsBeforeItsCopyIsSubmittedStaysMappedUntilTheEnginePassedTheBatch() throws
  {
    let transport = RecordingTransport()
    let space = space(transport)
    let progress = ChannelProgress()
    space.attach(progress)
    progress.publishSubmitted(5)
    progress.retire(5, operations: 5)
    do {
      let buffer = try space.allocate(byteCount: 4096)
      progress.publishBegun()
      _ = buffer.iova
    }
    #expect(!progress.isIdle)
    space.sweep()
    #expect(transport.mappings.count == 1)
    // Two batches later it is still the first that counts.
    progress.publishSubmitted(7)
    progress.publishBegun()
    space.sweep()
    #expect(transport.mappings.count == 1)
    progress.publishSubmitted(9)
    progress.retire(1, operations: 1)
    space.sweep()
    #expect(transport.mappings.count == 1)
    progress.retire(1, operations: 1)
    space.sweep()
    #expect(transport.mappings.isEmpty)
  }

  @Test func aStoppedChannelHoldsNoBufferBack() throws {
    let transport = RecordingTransport()
    let space = space(transport)
    let progress = ChannelProgress()
    space.attach(progress)
    do {
      let buffer = try space.allocate(byteCount: 4096)
      progress.publishBegun()
      _ = buffer.iova
    }
    #expect(transport.mappings.count == 1)
    space.detach(progress)
    #expect(transport.mappings.isEmpty)
  }

  @Test func memoryWhoseUnmapFailsIsNeverReused() throws {
    let transport = RecordingTransport()
    let space = space(transport)
    var address: UInt64 = 0
    do {
      let buffer = try space.allocate(byteCount: 4096)
      address = buffer.iova
      transport.failUnmap(
        .unmapMismatch(device: "recording", iova: address, expected: 4096, unmapped: 0))
    }
    transport.failUnmap(nil)
    #expect(transport.mappings[address] == 4096)
    for _ in 0..<100 {
      let other = try space.allocate(byteCount: 4096)
      #expect(other.iova != address)
    }
  }

  @Test func aFailedMappingGivesItsAddressBackAndTellsWhy() throws {
    let transport = RecordingTransport(iovaRanges: [0x1000...0x3fff])
    let space = space(transport)
    let error = VFIOError.lockedMemoryLimit(device: "recording", needed: 4096, limit: 1)
    transport.failMap(error)
    #expect(throws: error) { try space.allocateAndDrop(4096) }
    transport.failMap(nil)
    #expect(throws: Never.self) { try space.allocateAndDrop(4096) }
  }

  @Test func aBufferOfNoBytesOrBeyondTheAddressSpaceIsRefused() {
    let space = space(RecordingTransport(iovaRanges: [0x1000...0xffff]))
    #expect(throws: VFIOError.self) { try space.allocateAndDrop(0) }
    #expect(throws: VFIOError.self) { try space.allocateAndDrop(-1) }
    #expect(throws: VFIOError.self) { try space.allocateAndDrop(1 << 20) }
    #expect(throws: VFIOError.self) { try space.allocateAndDrop(.max) }
  }
}

extension DMAAddressSpace {
  /// Allocates and ends a buffer, for what only the error tells.
  fileprivate func allocateAndDrop(_ count: Int) throws(VFIOError) {
    _ = try allocate(byteCount: count)
  }
}

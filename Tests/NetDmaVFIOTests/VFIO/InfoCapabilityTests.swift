// SPDX-License-Identifier: Apache-2.0

import NetDmaVFIO
import TestSupport
import Testing

struct InfoCapabilityTests {
  /// A reply of 24 bytes and what follows.
  private func reply(_ tail: [UInt8]) -> [UInt8] { [UInt8](repeating: 0, count: 24) + tail }

  @Test("A chain is followed from header to header")
  func chainIsFollowed() {
    let bytes = reply(
      FakeKernel.emptyCapability(3, next: 32) + FakeKernel.rangeCapability([(1, 2), (5, 9)]))
    let chain = InfoCapability.chain(in: bytes, first: 24, minimum: 24)
    #expect(chain.map(\.id) == [3, 1])
    #expect(chain[0].payload.isEmpty)
    #expect(chain[1].load(UInt32.self, at: 0) == 2)
    #expect(chain[1].pairs(at: 8, count: 2).map(\.1) == [2, 9])
  }

  @Test("No offset means no capabilities", arguments: [0, 1, 23] as [UInt32])
  func offsetInTheFixedPart(first: UInt32) {
    #expect(
      InfoCapability.chain(in: reply(FakeKernel.emptyCapability(3)), first: first, minimum: 24)
        .isEmpty)
  }

  @Test("A link that goes back or stays ends the chain", arguments: [24, 8, 1] as [UInt32])
  func loopsEnd(next: UInt32) {
    let bytes = reply(FakeKernel.emptyCapability(3, next: next))
    #expect(InfoCapability.chain(in: bytes, first: 24, minimum: 24).map(\.id) == [3])
  }

  @Test(
    "A link beyond the reply ends the chain", arguments: [25, 33, 1 << 20, .max] as [UInt32])
  func linksOutOfBounds(next: UInt32) {
    let bytes = reply(FakeKernel.emptyCapability(3, next: next))
    #expect(InfoCapability.chain(in: bytes, first: 24, minimum: 24).map(\.id) == [3])
    #expect(InfoCapability.chain(in: bytes, first: next, minimum: 24).isEmpty)
  }

  @Test("A count larger than the payload yields only what is there")
  func countsAreBounded() {
    let capability = FakeKernel.rangeCapability([(1, 2)])
    let chain = InfoCapability.chain(in: reply(capability), first: 24, minimum: 24)
    #expect(chain.first?.pairs(at: 8, count: .max).count == 1)
  }

  @Test("Ranges are sorted, joined where they touch, and dropped where they are reversed")
  func rangesAreNormalized() {
    let ranges = IOVARanges.normalized([
      (start: 0x2000, last: 0x2fff), (start: 0, last: 0xfff), (start: 0x1000, last: 0x17ff),
      (start: 9, last: 3), (start: 0x8000, last: .max), (start: 0x9000, last: 0x9fff),
    ])
    #expect(ranges == [0...0x17ff, 0x2000...0x2fff, 0x8000...UInt64.max])
  }

  @Test("Cutting a hole leaves what is on its sides")
  func holesAreCut() {
    #expect(IOVARanges.cut(4...5, from: 0...9) == [0...3, 6...9])
    #expect(IOVARanges.cut(0...5, from: 0...9) == [6...9])
    #expect(IOVARanges.cut(4...20, from: 0...9) == [0...3])
    #expect(IOVARanges.cut(0...9, from: 0...9).isEmpty)
    #expect(IOVARanges.cut(10...20, from: 0...9) == [0...9])
  }
}

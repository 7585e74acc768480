// SPDX-License-Identifier: Apache-2.0

import CNetDma
import Logging
import TestSupport
import Testing

@testable import NetDmaVFIO

/// The short cut of a poll, against what `RingConsumer` says.
@Suite struct RingPollerTests {
  private struct Ring: ~Copyable {
    let memory: RingMemory
    let progress = ChannelProgress()
    var producer: RingProducer
    var consumer: RingConsumer
    var poller: RingPoller { RingPoller(producer) }

    init(capacity: Int = 8) throws {
      let space = DMAAddressSpace(
        RecordingTransport(), addressWidth: 46, logger: Logger(label: "test"))
      memory = try RingMemory(capacity: capacity, in: space)
      producer = RingProducer(memory: memory, progress: progress)
      consumer = RingConsumer(memory: memory, progress: progress)
    }

    mutating func submit(_ tokens: Range<UInt64>) {
      for token in tokens {
        let fits = producer.append(
          size: 64, control: 0, addresses: [0x1000, 0x2000], token: token)
        #expect(fits)
      }
      producer.seal(.statusUpdateOnCompletion)
    }

    func report(_ word: UInt64) { netdma_store_release64(memory.completion, word) }
    func complete(before position: UInt32) { report(memory.address(of: position &- 1) | 1) }
  }

  @Test func tokensComeInOrderOverManyLapsOfAnyBatchSize() throws {
    var ring = try Ring(capacity: 16)
    var generator = SystemRandomNumberGenerator()
    var next: UInt64 = 0
    var expected: UInt64 = 0
    for _ in 0..<5000 {
      let room = UInt64(ring.producer.freeSlots())
      if room > 0 {
        let count = UInt64.random(in: 1...room, using: &generator)
        ring.submit(next..<next + count)
        next += count
      }
      let outstanding = ring.producer.head &- ring.consumer.tail
      ring.complete(
        before: ring.consumer.tail &+ UInt32.random(in: 0...outstanding, using: &generator))
      let look = ring.poller.look()
      for offset in 0..<look.slots {
        #expect(ring.poller.token(at: offset, look) == expected)
        expected += 1
      }
      ring.poller.retire(look)
    }
    #expect(expected > 5000)
    #expect(expected == next - UInt64(ring.producer.head &- ring.consumer.tail))
  }

  @Test(arguments: [
    0x1 as UInt64, 0xdead_0000, UInt64.max & ~0x3f, 0x40, 0x8000_0000_0000_0000,
  ])
  func aWordThatNamesNoSlotOfTheRingEndsNothing(word: UInt64) throws {
    var ring = try Ring()
    ring.submit(0..<3)
    ring.report(word)
    #expect(ring.poller.look().slots == 0)
    ring.complete(before: 3)
    #expect(ring.poller.look().slots == 3)
  }

  @Test func theWordBehindTheRingAndSlotsNeverSubmittedEndNothing() throws {
    var ring = try Ring()
    ring.submit(0..<6)
    ring.complete(before: 6)
    ring.poller.retire(ring.poller.look())
    ring.submit(6..<10)
    for slot in [8, 9] as [UInt64] {
      ring.report(ring.memory.iova + slot * 64)
      #expect(ring.poller.look().slots == 0)
    }
    for position in [11, 12, 13, 14] as [UInt32] {
      ring.complete(before: position)
      #expect(ring.poller.look().slots == 0)
    }
    ring.complete(before: 10)
    #expect(ring.poller.look().slots == 4)
  }

  @Test func theWordOfTheLastLookTellsNothingNewEvenWhenTheRingIsFull() throws {
    var ring = try Ring()
    ring.submit(0..<3)
    ring.complete(before: 3)
    ring.poller.retire(ring.poller.look())
    ring.submit(3..<10)
    #expect(ring.producer.freeSlots() == 0)
    #expect(ring.poller.look().slots == 0)
    let word = ring.consumer.takeWord()
    #expect(word.map { ring.consumer.slotsDone($0) } == 0)
  }

  @Test(arguments: [ChannelProgress.Attention.mail, .spans, .word])
  func whatNeedsACloserLookIsLeftToIt(reason: ChannelProgress.Attention) throws {
    var ring = try Ring()
    ring.submit(0..<3)
    ring.complete(before: 3)
    ring.progress.raise(reason)
    #expect(ring.poller.look().slots == 0)
    ring.progress.lower(reason)
    #expect(ring.poller.look().slots == 3)
  }

  @Test func aWordSeenALapAgoIsTakenAgainWhereOnlyWordsMovedTheTail() throws {
    var ring = try Ring()
    ring.submit(0..<4)
    ring.complete(before: 4)
    let first = ring.consumer.takeWord()
    #expect(first.map { ring.consumer.slotsDone($0) } == 4)
    _ = ring.consumer.retire(4)
    // Polls take the next lap and do not note it.
    for range in [4..<8, 8..<10] as [Range<UInt64>] {
      ring.submit(range)
      ring.complete(before: UInt32(range.upperBound))
      ring.poller.retire(ring.poller.look())
    }
    ring.submit(10..<12)
    ring.complete(before: 12)
    let second = ring.consumer.takeWord()
    #expect(second == first)
    #expect(second.map { ring.consumer.slotsDone($0) } == 2)
  }

  @Test func aWordThatOtherMeansOvertookIsNotTakenAgainInAFullRing() throws {
    var ring = try Ring()
    ring.submit(0..<4)
    ring.complete(before: 2)
    let word = ring.consumer.takeWord()
    #expect(word.map { ring.consumer.slotsDone($0) } == 2)
    // The registers say four.
    ring.progress.raise(.word)
    _ = ring.consumer.retire(4)
    ring.submit(4..<11)
    #expect(ring.poller.look().slots == 0)
    #expect(ring.consumer.takeWord() == nil)
    ring.complete(before: 5)
    let next = ring.consumer.takeWord()
    #expect(next.map { ring.consumer.slotsDone($0) } == 1)
  }
}

// SPDX-License-Identifier: Apache-2.0

import CNetDma
import Logging
import TestSupport
import Testing

@testable import NetDmaVFIO

/// A ring whose engine is the test.
private final class TestRing {
  let memory: RingMemory
  let progress = ChannelProgress()
  var producer: RingProducer
  var consumer: RingConsumer

  init(capacity: Int = 8) throws {
    let space = DMAAddressSpace(
      RecordingTransport(), addressWidth: 46, logger: Logger(label: "test"))
    memory = try RingMemory(capacity: capacity, in: space)
    producer = RingProducer(memory: memory, progress: progress)
    consumer = RingConsumer(memory: memory, progress: progress)
  }

  func append(_ token: UInt64, size: UInt32 = 64, _ control: DmaControlFlags = []) -> Bool {
    producer.append(
      size: UInt64(size), control: control.rawValue, addresses: [0x1000, 0x2000], token: token)
  }

  func appendPieces(_ count: Int, token: UInt64) -> Bool {
    let words = (0..<count).map { _ in
      DescriptorWords(size: 16, control: [], source: 0x1000, destination: 0x2000)
    }
    return producer.append(words, layout: .pieces, bytes: UInt64(16 * count), token: token)
  }

  func submit() { producer.seal(.statusUpdateOnCompletion) }

  /// What an engine does when the descriptor before `position` is done.
  func complete(before position: UInt32, state: UInt64 = 0) {
    netdma_store_release64(memory.completion, memory.address(of: position &- 1) | state)
  }

  /// Reaps like a channel: tokens in order, and the number of operations.
  func reap() -> (tokens: [UInt64], operations: Int) {
    guard let word = consumer.peek() else { return ([], 0) }
    let slots = consumer.slotsDone(word)
    var tokens: [UInt64] = []
    consumer.forEachOperation(in: slots) { tokens.append($0) }
    return (tokens, consumer.retire(slots))
  }
}

@Suite struct DescriptorRingTests {
  @Test func theSlotsFormACircleOfAddresses() throws {
    let ring = try TestRing(capacity: 8)
    for slot in 0..<8 {
      let next = ring.memory.descriptor(at: UInt32(slot)).nextDescriptor
      #expect(next == ring.memory.iova + UInt64((slot + 1) % 8) * 64)
    }
    #expect(ring.memory.completionIOVA % 8 == 0)
  }

  @Test(arguments: [(0, 8), (8, 8), (9, 16), (1000, 1024), (32768, 32768), (1 << 20, 32768)])
  func theCapacityIsAPowerOfTwoWithinTheCountersReach(wanted: Int, slots: Int) throws {
    #expect(try TestRing(capacity: wanted).memory.capacity == UInt32(slots))
  }

  @Test func aFullRingRefusesAndKeepsOneSlotFree() throws {
    let ring = try TestRing(capacity: 8)
    for token in 0..<7 { #expect(ring.append(UInt64(token))) }
    #expect(!ring.append(7))
    #expect(ring.producer.freeSlots() == 0)
  }

  @Test func onlyTheLastDescriptorOfABatchReports() throws {
    let ring = try TestRing()
    for token in 0..<3 { _ = ring.append(UInt64(token), size: 100) }
    ring.submit()
    #expect(ring.memory.descriptor(at: 0).controlFlags == [])
    #expect(ring.memory.descriptor(at: 1).controlFlags == [])
    #expect(ring.memory.descriptor(at: 2).controlFlags == .statusUpdateOnCompletion)
    #expect(ring.memory.descriptor(at: 2).transferSize == 100)
    #expect(ring.memory.descriptor(at: 2).sourceAddress == 0x1000)
    #expect(ring.memory.descriptor(at: 2).destinationAddress == 0x2000)
  }

  @Test func theReportLeavesTheFlagsOfItsDescriptorAloneInEachSlotAndLap() throws {
    let ring = try TestRing(capacity: 8)
    var generator = SystemRandomNumberGenerator()
    for _ in 0..<5000 {
      // The newest descriptor's flags alone matter to the report; those before it have none.
      let flags = (0..<Int.random(in: 1...7, using: &generator)).map { _ in
        Bool.random(using: &generator) ? DmaControlFlags.serializeTransfer : []
      }
      let first = ring.producer.head
      for flag in flags {
        if Int.random(in: 0..<4, using: &generator) == 0 {
          let words = DescriptorWords(size: 16, control: flag, source: 0x1000, destination: 0x2000)
          let fits = ring.producer.append([words], layout: .pieces, bytes: 16, token: 0)
          #expect(fits)
        } else {
          #expect(ring.append(0, flag))
        }
      }
      ring.submit()
      for (index, flag) in flags.enumerated() {
        let report: DmaControlFlags = index == flags.count - 1 ? .statusUpdateOnCompletion : []
        let found = ring.memory.descriptor(at: first &+ UInt32(index)).controlFlags
        #expect(found == flag.union(report))
      }
      ring.complete(before: ring.producer.head)
      #expect(ring.reap().operations == flags.count)
    }
  }

  @Test func aFullRingKeepsTheFlagsOfItsNewestDescriptorForTheReport() throws {
    for flag in [DmaControlFlags.serializeTransfer, []] {
      let ring = try TestRing(capacity: 8)
      for token in 0..<6 as Range<UInt64> { #expect(ring.append(token, .serializeTransfer)) }
      #expect(ring.append(6, flag))
      #expect(!ring.append(7, .serializeTransfer))
      #expect(!ring.append(7))
      ring.submit()
      #expect(
        ring.memory.descriptor(at: 6).controlFlags == flag.union(.statusUpdateOnCompletion))
    }
  }

  @Test func tokensComeBackInOrderOverManyLaps() throws {
    let ring = try TestRing(capacity: 8)
    var expected: UInt64 = 0
    var next: UInt64 = 0
    for _ in 0..<1000 {
      while ring.append(next) { next += 1 }
      ring.submit()
      ring.complete(before: ring.producer.head, state: 1)
      let (tokens, operations) = ring.reap()
      #expect(operations == tokens.count)
      for token in tokens {
        #expect(token == expected)
        expected += 1
      }
    }
    #expect(expected == next)
    #expect(next == 7000)
  }

  @Test func anUnchangedWordAndAWordOfRetiredSlotsTellNothing() throws {
    let ring = try TestRing()
    _ = ring.append(1)
    ring.submit()
    ring.complete(before: 1, state: 0)
    #expect(ring.reap().operations == 1)
    #expect(ring.reap().operations == 0)
    // The state changes, the address does not.
    ring.complete(before: 1, state: 1)
    #expect(ring.reap().operations == 0)
  }

  @Test(arguments: [
    0x1 as UInt64, 0xdead_0000, UInt64.max & ~0x3f, 0x40, 0x8000_0000_0000_0000,
  ])
  func aWordThatNamesNoSlotOfTheRingRetiresNothing(word: UInt64) throws {
    let ring = try TestRing()
    for token in 0..<3 { _ = ring.append(UInt64(token)) }
    ring.submit()
    netdma_store_release64(ring.memory.completion, word)
    #expect(ring.reap().operations == 0)
    ring.complete(before: 3, state: 1)
    #expect(ring.reap().tokens == [0, 1, 2])
  }

  @Test func aWordThatNamesASlotNeverSubmittedRetiresNothing() throws {
    let ring = try TestRing()
    _ = ring.append(0)
    ring.submit()
    _ = ring.append(1)
    ring.complete(before: 2)
    #expect(ring.reap().operations == 0)
    ring.complete(before: 6)
    #expect(ring.reap().operations == 0)
  }

  @Test func anOperationOfSeveralPiecesEndsOnceWithItsLastPiece() throws {
    let ring = try TestRing(capacity: 16)
    #expect(ring.append(1))
    #expect(ring.appendPieces(3, token: 2))
    #expect(ring.append(3))
    ring.submit()
    ring.complete(before: 3)  // The first operation and two of three pieces.
    #expect(ring.reap() == ([1], 1))
    ring.complete(before: 5, state: 1)
    #expect(ring.reap() == ([2, 3], 2))
  }

  @Test func operationsOfSeveralPiecesAreCountedOverManyLaps() throws {
    let ring = try TestRing(capacity: 16)
    var generator = SystemRandomNumberGenerator()
    var next: UInt64 = 0
    var expected: UInt64 = 0
    for _ in 0..<2000 {
      while true {
        let pieces = Int.random(in: 1...5, using: &generator)
        let fits = pieces == 1 ? ring.append(next) : ring.appendPieces(pieces, token: next)
        if !fits { break }
        next += 1
      }
      ring.submit()
      // The engine stops anywhere between the oldest and the newest.
      let outstanding = ring.producer.head &- ring.consumer.tail
      let done = UInt32.random(in: 1...outstanding, using: &generator)
      ring.complete(before: ring.consumer.tail &+ done, state: done == outstanding ? 1 : 0)
      let (tokens, operations) = ring.reap()
      #expect(tokens.count == operations)
      for token in tokens {
        #expect(token == expected)
        expected += 1
      }
    }
    ring.submit()
    if ring.producer.head != ring.consumer.tail {
      ring.complete(before: ring.producer.head, state: 1)
      expected += UInt64(ring.reap().operations)
    }
    #expect(expected == next)
  }

  @Test func piecesThatDoNotFitAreNotWrittenAtAll() throws {
    let ring = try TestRing(capacity: 8)
    for token in 0..<5 { _ = ring.append(UInt64(token)) }
    #expect(!ring.appendPieces(3, token: 9))
    #expect(ring.producer.head == 5)
    #expect(ring.appendPieces(2, token: 9))
  }
}

// SPDX-License-Identifier: Apache-2.0

import Testing

@testable import NetDmaVFIO

/// The counts that the hot path does not make, worked out of positions.
@Suite struct ChannelWordsTests {
  @Test func slotsThatEndedWellAreOperationsAndTheOthersAreNot() {
    let progress = ChannelProgress()
    func completed() -> UInt64 { unsafe progress.words.pointee.completedOperations() }
    #expect(completed() == 0)
    progress.retire(5, operations: 5)
    #expect(completed() == 5)
    // An operation of three slots, then one that failed.
    progress.retire(3, operations: 1)
    progress.retire(1, operations: 0)
    #expect(completed() == 6)
    progress.retire(0, operations: 0)
    #expect(completed() == 6 && progress.retiredPosition == 9)
  }

  @Test func positionsAreCountedOnBeyond32Bits() {
    let progress = ChannelProgress()
    let words = unsafe progress.words
    // A ring of 32,768 slots whose producer is up to a ring ahead of its reaper.
    for _ in 0..<0x40000 { unsafe words.pointee.beginLap(0x8000) }
    for offset in [-0x7fff, -1, 0, 1, 0x7fff] {
      let position = 0x2_0000_0000 + offset
      let found = unsafe words.pointee.extended(UInt32(truncatingIfNeeded: position))
      #expect(found == UInt64(position))
    }
  }

  @Test func aReaderNeverSeesOneOfTwoWordsWithoutTheOther() async {
    let progress = ChannelProgress()
    let rounds: UInt64 = 20_000
    await withTaskGroup { group in
      group.addTask {
        for _ in 0..<rounds {
          progress.retire(1, operations: 1)
          progress.retire(4, operations: 1)
          progress.retire(3, operations: 0)
        }
      }
      group.addTask {
        var last: UInt64 = 0
        while last < 2 * rounds {
          let now = unsafe progress.words.pointee.completedOperations()
          #expect(now >= last && now <= 2 * rounds)
          if now < last { return }
          last = now
          await Task.yield()
        }
      }
    }
  }
}

// SPDX-License-Identifier: Apache-2.0

import NetDmaVFIO

/// DMACOUNT: an absolute count of 16 bits.
enum CountRules {
  static let all: [ConformanceRule] = [
    ConformanceRule(
      .state, "count-limit", "The engine stops where DMACOUNT says.",
      source: "DMACOUNT replaces the end mark of version 1"
    ) { bench throws(Finding) in
      bench.smallCopies(0..<8)
      try bench.start()
      try bench.ring(3)
      try bench.awaitIdle(at: 2)
      bench.function.quiet()
      try bench.expectCopied(0..<3, "within the count")
      try bench.expectNotCopied(3..<8, "behind the count")
    },
    ConformanceRule(
      .state, "count-absolute", "DMACOUNT is the number since CHAINADDR, not an increment.",
      source: "all drivers write the running total"
    ) { bench throws(Finding) in
      bench.smallCopies(0..<16)
      try bench.start()
      for count in [2, 3, 7] {
        try bench.ring(count)
        try bench.awaitIdle(at: count - 1, "at count \(count)")
      }
      bench.function.quiet()
      try bench.expectCopied(0..<7, "at count 7")
      try bench.expectNotCopied(7..<16, "behind count 7")
    },
    ConformanceRule(
      .state, "count-unchanged", "Writing DMACOUNT anew without a change does nothing.",
      source: "SPDK's flush with nothing new; DPDK recovery writes 0"
    ) { bench throws(Finding) in
      bench.smallCopies(0..<4)
      try bench.start()
      try bench.ring(0)
      bench.function.quiet()
      try bench.expectNotCopied(0..<4, "after DMACOUNT := 0 in ARMED")
      try bench.ring(2)
      try bench.awaitIdle()
      try bench.ring(2)
      try bench.awaitIdle(at: 1, "after the second write")
      bench.function.quiet()
      try bench.expectNotCopied(2..<4, "after the same count twice")
    },
    ConformanceRule(
      .state, "count-grows", "DMACOUNT raised while the channel runs extends the chain.",
      source: "DMACOUNT replaces APPEND; every driver submits so"
    ) { bench throws(Finding) in
      bench.smallCopies(0..<256)
      try bench.start()
      for count in stride(from: 4, through: 256, by: 4) { try bench.ring(count) }
      try bench.awaitIdle(at: 255, "after 64 doorbells")
      try bench.expectCopied(0..<256, "after 64 doorbells")
    },
    ConformanceRule(
      .state, "count-resumes", "From IDLE a higher DMACOUNT goes on along the last `next`.",
      source: "drivers preset `next` and never write it again"
    ) { bench throws(Finding) in
      bench.smallCopies(0..<2)
      // The third is not where the second's neighbour would be.
      bench.copy(
        1, 64, from: bench.smallSource(1), to: bench.smallDestination(1), next: bench.slot(100))
      bench.smallCopies(100..<101)
      try bench.start()
      try bench.ring(2)
      try bench.awaitIdle()
      try bench.ring(3)
      try bench.awaitIdle(at: 100, "at count 3")
      try bench.expectCopied(100..<101, "behind the last `next`")
    },
    ConformanceRule(
      .state, "count-zeroed", "CHAINADDR starts the count from zero.",
      source: "Linux sets dmacount = 0 whenever it writes CHAINADDR"
    ) { bench throws(Finding) in
      bench.smallCopies(0..<12)
      try bench.start()
      try bench.ring(5)
      try bench.awaitIdle()
      try bench.write(.chancmd, CommandBit.suspend)
      try bench.awaitState(.suspended, "after SUSPEND")
      try bench.write(.chainaddr, bench.slot(8))
      try bench.ring(1)
      try bench.awaitIdle(at: 8, "of the second chain")
      bench.function.quiet()
      try bench.expectNotCopied(9..<12, "behind count 1 of the second chain")
    },
    ConformanceRule(
      .state, "count-wraps", "DMACOUNT and the engine's counter wrap at 65536.",
      source: "16 bits; DPDK's burst test passes 65536 on a ring of 512"
    ) { bench throws(Finding) in
      let ring = 512
      for index in 0..<ring { bench.null(index, control: 0, next: bench.slot((index + 1) % ring)) }
      try bench.start()
      for total in [32768, 65535, 65536 + 16] {
        try bench.ring(total)
        try bench.awaitIdle(at: (total - 1) % ring, "at count \(total)")
      }
    },
  ]
}

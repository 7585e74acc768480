// SPDX-License-Identifier: Apache-2.0

import NetDmaVFIO

/// How drivers continue behind an error.
enum RecoveryRules {
  static let all: [ConformanceRule] = [
    ConformanceRule(
      .error, "continue", "Errors cleared, CHAINADDR behind the fault goes on without RESET.",
      source: "Linux after a validate error"
    ) { bench throws(Finding) in
      bench.smallCopies(0..<8)
      bench.copy(3, 64, from: bench.memory.end, to: bench.smallDestination(3))
      try bench.start()
      try bench.ring(8)
      try bench.awaitHalt("at the failing descriptor")
      try bench.acknowledge()
      try bench.write(.chancmp, bench.wordAddress())
      try bench.write(.chainaddr, bench.slot(4))
      try bench.expect(
        status: try bench.status(), is: BenchState.armed.rawValue, "CHANSTS after CHAINADDR")
      try bench.ring(4)
      try bench.awaitIdle(at: 7, "behind the fault")
      try bench.expectCopied(4..<8, "behind the fault")
    },
    ConformanceRule(
      .error, "continue-reset", "RESET and CHAINADDR at once lead to ARMED, exactly 0x4.",
      source: "DPDK: RESET, CHAINADDR, CHANCTRL, CHANCMP without a wait"
    ) { bench throws(Finding) in
      bench.smallCopies(0..<8)
      bench.copy(5, 64, from: bench.memory.end, to: bench.smallDestination(5))
      try bench.start()
      try bench.ring(8)
      try bench.awaitHalt("at the failing descriptor")
      try bench.acknowledge()
      try bench.write(.chancmd, CommandBit.reset)
      try bench.write(.chainaddr, bench.slot(6))
      try bench.write(.chanctrl, ControlBit.polled)
      try bench.write(.chancmp, bench.wordAddress())
      var seen: UInt64 = 0
      let armed = try bench.poll { () throws(Finding) in
        seen = try bench.status()
        return seen == BenchState.armed.rawValue
      }
      try bench.expect(armed, "CHANSTS stays \(describe(seen))")
      try bench.ring(2)
      try bench.awaitIdle(at: 7, "behind the fault")
      try bench.expectCopied(6..<8, "behind the fault")
    },
    ConformanceRule(
      .error, "again", "The first descriptor of a continued chain may fail too.",
      source: "DPDK's error tests: several failures in one burst"
    ) { bench throws(Finding) in
      bench.smallCopies(0..<8)
      for index in [2, 3, 6] {
        bench.copy(index, 64, from: bench.memory.end, to: bench.smallDestination(index))
      }
      try bench.start()
      var first = 0
      for failing in [2, 3, 6] {
        try bench.ring(8 - first)
        try bench.awaitHalt("at descriptor \(failing)")
        let last = failing == first ? 0 : bench.slot(failing - 1)
        try bench.awaitWord(last | BenchState.halted.rawValue, "at descriptor \(failing)")
        try bench.acknowledge()
        first = failing + 1
        try bench.start(slot: first)
      }
      try bench.ring(8 - first)
      try bench.awaitIdle(at: 7, "behind the last fault")
      for index in [0, 1, 4, 5, 7] { try bench.expectCopied(index..<index + 1, "between faults") }
    },
    ConformanceRule(
      .error, "often", "Twenty errors in a row leave the channel as good as before.",
      source: "SPDK 1534: channels that cannot be started again"
    ) { bench throws(Finding) in
      for round in 0..<20 {
        bench.copy(0, 64, from: bench.memory.end, to: bench.page(1))
        try bench.start()
        try bench.ring(1)
        try bench.awaitHalt("in round \(round)")
        try bench.acknowledge()
      }
      try bench.expectWorks("after twenty errors")
    },
  ]
}

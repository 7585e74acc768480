// SPDX-License-Identifier: Apache-2.0

import Glibc
import Logging
import NetDmaConformance
import NetDmaMock
import NetDmaVFIO
import Testing

@Suite("Mistakes that the conformance test finds")
struct MutationTests {
  private func run(
    _ mutation: Mutation, _ rules: [ConformanceRule], quietTime: Duration = .milliseconds(50)
  ) throws -> ConformanceReport {
    // Short, since a device with a mistake is waited for in vain.
    let options = ConformanceOptions(limit: .milliseconds(200), quietTime: quietTime)
    return try ConformanceTest(
      try mutation.makeTransport(), options: options, logger: ModelConformanceTests.logger
    ).run(rules)
  }

  @Test("each mistake breaks the rule that is there to find it", arguments: Mutation.all)
  func found(_ mutation: Mutation) throws {
    let rules = ConformanceRule.matching(mutation.rule)
    #expect(rules.count == 1, "there is no rule \(mutation.rule)")
    let report = try run(mutation, rules)
    #expect(report.violations.map(\.rule.id) == [mutation.rule])
  }

  @Test("without a mistake the same devices break none of these rules")
  func unmutated() throws {
    let names = Set(Mutation.all.map(\.rule))
    for configuration in Set(Mutation.all.map(\.configuration)) {
      let plain = Mutation("none", foundBy: "", on: configuration, memory: MemoryMutation())
      let report = try ConformanceTest(
        try plain.makeTransport(),
        options: ConformanceOptions(limit: .seconds(20), quietTime: .milliseconds(2)),
        logger: ModelConformanceTests.logger
      ).run(ConformanceRule.all.filter { names.contains($0.id) })
      #expect(report.violations.map(\.rule.id) == [])
    }
  }

  /// Prints the table of docs/testing.md, from all rules against each mistake; takes minutes.
  @Test(
    "the table of mistakes and the rules that they break",
    .enabled(if: getenv("NETDMA_MUTATION_TABLE") != nil))
  func table() throws {
    for mutation in Mutation.all {
      let report = try run(mutation, ConformanceRule.all, quietTime: .milliseconds(20))
      let broken = report.violations.map(\.rule.id)
      #expect(broken.contains(mutation.rule), "\(mutation.mistake)")
      print("| \(mutation.mistake) | `\(mutation.rule)` | \(broken.count) |")
    }
  }
}

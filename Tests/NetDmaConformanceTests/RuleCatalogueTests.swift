// SPDX-License-Identifier: Apache-2.0

import NetDmaConformance
import Testing

@Suite("The rules' catalogue")
struct RuleCatalogueTests {
  @Test("each rule has a name of its own, that begins with its group")
  func names() {
    #expect(Set(ConformanceRule.all.map(\.id)).count == ConformanceRule.all.count)
    for rule in ConformanceRule.all {
      #expect(rule.id.hasPrefix("\(rule.group.rawValue)."))
    }
  }

  @Test("each rule is one sentence with a source")
  func sentences() {
    for rule in ConformanceRule.all {
      #expect(rule.statement.hasSuffix("."), "\(rule.id)")
      #expect(rule.statement.count <= 80, "\(rule.id)")
      #expect(!rule.source.isEmpty, "\(rule.id)")
    }
  }

  @Test("a selector is a rule's name or a group's")
  func selectors() {
    #expect(ConformanceRule.matching("error.first").map(\.id) == ["error.first"])
    #expect(ConformanceRule.matching("reset").allSatisfy { $0.group == .reset })
    #expect(ConformanceRule.matching("nothing").isEmpty)
    let grouped = ConformanceGroup.allCases.map { ConformanceRule.matching($0.rawValue).count }
    #expect(grouped.allSatisfy { $0 > 0 })
    #expect(grouped.reduce(0, +) == ConformanceRule.all.count)
  }
}

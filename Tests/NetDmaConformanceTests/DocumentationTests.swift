// SPDX-License-Identifier: Apache-2.0

import FoundationEssentials
import NetDmaConformance
import Testing

@Suite("docs/testing.md")
struct DocumentationTests {
  /// The lines of the document, found from where this file was compiled.
  private static func lines() throws -> [Substring] {
    let root = #filePath.split(separator: "/").dropLast(3).joined(separator: "/")
    let text = try String(contentsOfFile: "/\(root)/docs/testing.md", encoding: .utf8)
    return text.split(separator: "\n")
  }

  @Test("the table of rules counts each group right")
  func groups() throws {
    let lines = try Self.lines()
    for group in ConformanceGroup.allCases {
      let count = ConformanceRule.matching(group.rawValue).count
      #expect(lines.contains { $0.hasPrefix("| \(group.rawValue) | \(count) |") }, "\(group)")
    }
    #expect(lines.contains("| **all** | **\(ConformanceRule.all.count)** | |"))
  }

  @Test("the table of mistakes has each one with the rule that finds it")
  func mistakes() throws {
    let lines = try Self.lines()
    for mutation in Mutation.all {
      let start = "| \(mutation.mistake) | `\(mutation.rule)` |"
      #expect(lines.count { $0.hasPrefix(start) } == 1, "\(start)")
    }
  }
}

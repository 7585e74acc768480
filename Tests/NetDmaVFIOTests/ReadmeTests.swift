// SPDX-License-Identifier: Apache-2.0

import Foundation
import Testing

struct ReadmeTests {
  private static let package = URL(fileURLWithPath: #filePath)
    .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()

  private func text(_ path: String) throws -> String {
    try String(contentsOf: Self.package.appendingPathComponent(path), encoding: .utf8)
  }

  @Test("the README shows the examples that are compiled", arguments: ["PolledCopy", "AsyncCopy"])
  func examples(name: String) throws {
    let source = try text("Examples/\(name)/main.swift")
    let lines = source.split(separator: "\n", omittingEmptySubsequences: false).dropFirst(2)
    let body = lines.joined(separator: "\n").trimmingCharacters(in: .newlines)
    #expect(try text("README.md").contains("```swift\n\(body)\n```"))
  }

  @Test("every document that the README names exists")
  func links() throws {
    let readme = try text("README.md")
    let paths = readme.matches(of: /\]\(([^)#:]+)\)/).map { String($0.output.1) }
    #expect(paths.count >= 3)
    for path in paths {
      #expect(
        FileManager.default.fileExists(atPath: Self.package.appendingPathComponent(path).path))
    }
  }
}

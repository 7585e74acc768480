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

/// The documentation catalogue of the library.
struct CatalogueTests {
  private static let package = URL(fileURLWithPath: #filePath)
    .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
  private static let catalogue = package.appendingPathComponent(
    "Sources/NetDmaVFIO/NetDmaVFIO.docc")

  static let articles =
    ((try? FileManager.default.contentsOfDirectory(atPath: catalogue.path)) ?? [])
    .filter { $0.hasSuffix(".md") }.sorted()

  private func article(_ name: String) throws -> String {
    try String(contentsOf: Self.catalogue.appendingPathComponent(name), encoding: .utf8)
  }

  /// The lines of a piece of code, wherever it is indented.
  private func lines(_ code: some StringProtocol) -> [String] {
    code.split(separator: "\n", omittingEmptySubsequences: false)
      .map { $0.trimmingCharacters(in: .whitespaces) }
  }

  @Test("code in an article is code that is compiled and run", arguments: articles)
  func code(name: String) throws {
    let directory = Self.package.appendingPathComponent("Examples/Articles")
    let sources = try FileManager.default.contentsOfDirectory(atPath: directory.path).map {
      lines(try String(contentsOf: directory.appendingPathComponent($0), encoding: .utf8))
    }
    let blocks = try article(name).matches(of: /```swift\n((?:.|\n)*?)```/).map {
      lines($0.output.1.dropLast())
    }
    for block in blocks {
      let isFound = sources.contains { source in
        source.indices.contains { source[$0...].starts(with: block) }
      }
      #expect(isFound, "\(name): \(block.joined(separator: "\n"))")
    }
    // All but the landing page show code.
    #expect(name == "NetDmaVFIO.md" || !blocks.isEmpty)
  }

  @Test("every public type and function of the library stands in the landing page's topics")
  func topics() throws {
    let page = try article("NetDmaVFIO.md")
    let sources = Self.package.appendingPathComponent("Sources/NetDmaVFIO")
    let files = FileManager.default.enumerator(atPath: sources.path)?.compactMap { $0 as? String }
    var count = 0
    for file in files ?? [] where file.hasSuffix(".swift") {
      let text = try String(contentsOf: sources.appendingPathComponent(file), encoding: .utf8)
      let declarations = text.matches(
        of: /(?m)^(?:@[a-z]+ )*public (?:final )?(?:class|struct|enum|protocol|func) ([A-Za-z]+)/)
      for declaration in declarations {
        count += 1
        let name = declaration.output.1
        #expect(page.contains("``\(name)``") || page.contains("``\(name)("), "\(name) in \(file)")
      }
    }
    #expect(count > 90)
  }
}

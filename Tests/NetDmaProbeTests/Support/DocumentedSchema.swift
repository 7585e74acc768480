// SPDX-License-Identifier: Apache-2.0

import Foundation

/// The keys that docs/json.md lists for a command.
struct DocumentedSchema {
  private struct Key {
    let type: String
    let isOptional: Bool
  }
  private var keys: [String: Key] = [:]

  /// The lists whose elements are registers: the document describes those once.
  private static let registerLists = [
    "configuration", "capabilities[].registers", "general", "channels[].registers",
  ]

  /// The section whose heading names `command`.
  init(command: String) throws {
    let file = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
      .appendingPathComponent("../../../docs/json.md")
    let text = try String(contentsOf: file, encoding: .utf8)
    let sections = text.components(separatedBy: "\n## ")
    let section = sections.first {
      $0.prefix { $0 != "\n" }.split(separator: " ").contains { $0 == command }
    }
    guard let section else {
      throw ProbeFailure(description: "docs/json.md has no section for \(command)")
    }
    for line in section.split(separator: "\n") where line.hasPrefix("| ") {
      let cells = line.split(separator: "|").map { $0.trimmingCharacters(in: .whitespaces) }
      guard cells.count >= 3, cells[0] != "key" else { continue }
      let key = Key(
        type: cells[1].replacingOccurrences(of: "?", with: ""), isOptional: cells[1].hasSuffix("?"))
      if cells[0].hasPrefix("REGISTER.") {
        for list in Self.registerLists {
          keys[list + "[]." + cells[0].dropFirst("REGISTER.".count)] = key
        }
      } else {
        keys[cells[0]] = key
      }
    }
  }

  /// What differs between an object and the document, empty when nothing does.
  func differences(from object: [String: Any]) -> [String] {
    differences(object, at: "")
  }

  private func differences(_ object: [String: Any], at path: String) -> [String] {
    var found: [String] = []
    for (name, value) in object {
      let full = path + name
      guard let key = keys[full] else {
        found.append("\(full) is not documented")
        continue
      }
      let type = Self.type(of: value)
      if type != key.type, !(type == "integer" && key.type == "number") {
        found.append("\(full) is \(type), documented as \(key.type)")
      }
      if let list = value as? [[String: Any]] {
        for element in list { found += differences(element, at: full + "[].") }
      } else if let inner = value as? [String: Any] {
        found += differences(inner, at: full + ".")
      }
    }
    for (name, key) in keys where !key.isOptional && name.hasPrefix(path) {
      let rest = name.dropFirst(path.count)
      if !rest.contains(".") && object[String(rest)] == nil {
        found.append("\(name) is documented but missing")
      }
    }
    return found
  }

  private static func type(of value: Any) -> String {
    switch value {
    case let number as NSNumber where CFNumberKind.isBoolean(number): "boolean"
    case let number as NSNumber:
      number.doubleValue == number.doubleValue.rounded() ? "integer" : "number"
    case is String: "string"
    case is [Any]: "list"
    case is [String: Any]: "object"
    default: "unknown"
    }
  }
}

/// JSONSerialization makes NSNumbers of booleans; only their Objective-C type tells.
private enum CFNumberKind {
  static func isBoolean(_ number: NSNumber) -> Bool {
    String(cString: number.objCType) == "c"
  }
}

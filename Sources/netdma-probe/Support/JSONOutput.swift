// SPDX-License-Identifier: Apache-2.0

import FoundationEssentials

/// What `--json` prints: one object on one line, keys sorted.
enum JSONOutput {
  /// The name and version of the format; a key changes its meaning only with the version.
  static let schema = "netdma-probe/1"

  /// Prints `value` to standard output.
  static func print(_ value: some Encodable) throws {
    Swift.print(try text(value))
  }

  /// The same without the line's end.
  static func text(_ value: some Encodable) throws -> String {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    return String(decoding: try encoder.encode(value), as: UTF8.self)
  }
}

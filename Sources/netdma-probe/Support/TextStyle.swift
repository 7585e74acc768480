// SPDX-License-Identifier: Apache-2.0

import Glibc

/// Emphasis on a terminal; plain text everywhere else.
struct TextStyle: Sendable {
  let isColoured: Bool

  /// For standard output: coloured on a terminal, unless NO_COLOR (no-color.org) or a dumb terminal
  /// says otherwise.
  static var output: TextStyle {
    TextStyle(
      isColoured: isatty(STDOUT_FILENO) == 1 && environment("NO_COLOR") == nil
        && environment("TERM") != "dumb")
  }

  /// A variable that is set to something.
  private static func environment(_ name: String) -> String? {
    // The result is read before anything could change the environment.
    guard let value = unsafe getenv(name), unsafe value.pointee != 0 else { return nil }
    return unsafe String(cString: value)
  }

  private func wrap(_ text: String, _ code: String) -> String {
    isColoured && !text.isEmpty ? "\u{1b}[\(code)m\(text)\u{1b}[0m" : text
  }

  func bold(_ text: String) -> String { wrap(text, "1") }
  func dim(_ text: String) -> String { wrap(text, "2") }
  func good(_ text: String) -> String { wrap(text, "32") }
  func bad(_ text: String) -> String { wrap(text, "31") }
  func doubtful(_ text: String) -> String { wrap(text, "33") }
}

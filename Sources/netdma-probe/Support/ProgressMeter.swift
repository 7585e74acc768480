// SPDX-License-Identifier: Apache-2.0

import Glibc
import NetDmaVFIO

/// One line on the terminal that follows long work; silent where standard error is no terminal.
final class ProgressMeter {
  private let total: Int
  private let label: String
  private let isShown = isatty(STDERR_FILENO) == 1
  private var nextUpdate = Deadline(after: .milliseconds(500))
  private var wasDrawn = false

  init(total: Int, label: String) {
    self.total = total
    self.label = label
  }

  /// Redraws the line, at most five times a second.
  func update(_ done: Int) {
    guard isShown, nextUpdate.hasPassed else { return }
    nextUpdate = Deadline(after: .milliseconds(200))
    wasDrawn = true
    write("\r\(done) of \(total) \(label) (\(total > 0 ? done * 100 / total : 100) %)")
  }

  /// Removes the line.
  func finish() {
    if wasDrawn { write("\r\u{1b}[K") }
  }

  private func write(_ text: String) {
    // The bytes live for the call; a terminal that takes none loses only the meter.
    _ = unsafe Glibc.write(STDERR_FILENO, text, text.utf8.count)
  }
}

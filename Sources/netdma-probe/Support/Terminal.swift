// SPDX-License-Identifier: Apache-2.0

import Glibc

/// What is known of where the output goes.
enum Terminal {
  /// Columns that running text is folded to: those of the terminal, or of COLUMNS, else 80.
  ///
  /// Never less than 40, for fewer leave no room beside a label.
  static var width: Int { max(40, columns ?? 80) }

  /// Columns that lines of a table are cut to; nil where a program reads them, which is to find
  /// everything.
  static var limit: Int? { columns ?? (isatty(STDOUT_FILENO) == 1 ? 80 : nil) }

  /// What the terminal has, or else what COLUMNS says.
  private static var columns: Int? {
    // struct winsize: rows, columns, and both in pixels. (Which module Swift finds the structure in
    // depends on what else is imported.)
    var size: [UInt16] = [0, 0, 0, 0]
    // The kernel fills the structure, which lives for the call.
    if unsafe ioctl(STDOUT_FILENO, UInt(TIOCGWINSZ), &size) == 0, size[1] > 0 {
      return Int(size[1])
    }
    // The result is read before anything could change the environment.
    guard let value = unsafe getenv("COLUMNS"), let count = Int(unsafe String(cString: value)),
      count > 0
    else { return nil }
    return count
  }
}

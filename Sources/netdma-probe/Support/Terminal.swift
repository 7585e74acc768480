// SPDX-License-Identifier: Apache-2.0

import Glibc

/// What is known of where the output goes.
enum Terminal {
  /// Columns that a line may take: those of the terminal, else 80.
  static var width: Int {
    // struct winsize: rows, columns, and both in pixels. (Which module Swift finds the structure in
    // depends on what else is imported.)
    var size: [UInt16] = [0, 0, 0, 0]
    // The kernel fills the structure, which lives for the call.
    if unsafe ioctl(STDOUT_FILENO, UInt(TIOCGWINSZ), &size) == 0, size[1] >= 40 {
      return Int(size[1])
    }
    return 80
  }
}

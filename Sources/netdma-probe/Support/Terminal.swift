// SPDX-License-Identifier: Apache-2.0

import Glibc

/// What is known of where the output goes.
enum Terminal {
  /// Columns that a line may take: those of the terminal, else 80.
  static var width: Int {
    var size = winsize()
    // The kernel fills the structure, which lives for the call.
    if unsafe ioctl(STDOUT_FILENO, UInt(TIOCGWINSZ), &size) == 0, size.ws_col >= 40 {
      return Int(size.ws_col)
    }
    return 80
  }
}

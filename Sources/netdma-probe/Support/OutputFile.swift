// SPDX-License-Identifier: Apache-2.0

import Glibc
import SystemPackage

/// A file that a command was told to write; "-" is standard output.
///
/// It is opened before the work, so that a mistake in its name does not cost the work. What it holds
/// is replaced only when there is something new.
struct OutputFile: ~Copyable {
  private let path: String
  /// -1 for standard output.
  private let number: CInt

  /// Opens or makes it; nil for no name.
  ///
  /// - Throws: `OutputError.notOpened`.
  static func open(_ path: String?) throws(OutputError) -> OutputFile? {
    guard let path else { return nil }
    guard path != "-" else { return OutputFile(path: path, number: -1) }
    // The path is a NUL-terminated copy that lives for the call.
    let number = unsafe Glibc.open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0o666)
    guard number >= 0 else {
      throw .notOpened(path: path, Errno(rawValue: Glibc.errno))
    }
    return OutputFile(path: path, number: number)
  }

  private init(path: String, number: CInt) {
    self.path = path
    self.number = number
  }

  deinit {
    // A failed close leaves nothing to retry.
    if number >= 0 { _ = Glibc.close(number) }
  }

  /// Writes `text` in place of what it held.
  func replace(with text: String) throws(OutputError) {
    guard number >= 0 else {
      print(text, terminator: "")
      return
    }
    // Pipes and devices have no length.
    _ = ftruncate(number, 0)
    var rest = Array(text.utf8)[...]
    while !rest.isEmpty {
      // The bytes live for the call.
      let count = unsafe rest.withUnsafeBytes { bytes in
        unsafe Glibc.write(number, bytes.baseAddress, bytes.count)
      }
      if count < 0 {
        let errno = Errno(rawValue: Glibc.errno)
        if errno == .interrupted { continue }
        throw .fileNotWritten(path: path, errno)
      }
      rest = rest.dropFirst(count)
    }
  }
}

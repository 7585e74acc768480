// SPDX-License-Identifier: Apache-2.0

import Glibc
import SystemPackage

/// A file that a command was told to write; "-" is standard output.
///
/// It is opened before the work, so that a mistake in its name does not cost the work. What it holds
/// is replaced only when there is something new; a file that was made for it and then not written
/// goes again.
struct OutputFile: ~Copyable {
  private let path: String
  /// -1 for standard output.
  private let number: CInt
  /// Whether there was no such file before, and nothing is in it yet.
  private var isUnwrittenNewFile: Bool

  /// Opens or makes it; nil for no name.
  ///
  /// - Throws: `OutputError.notOpened`.
  static func open(_ path: String?) throws(OutputError) -> OutputFile? {
    guard let path else { return nil }
    guard path != "-" else { return OutputFile(path: path, number: -1, isNew: false) }
    // The path is a NUL-terminated copy that lives for the call, here and below.
    var number = unsafe Glibc.open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o666)
    let isNew = number >= 0
    if !isNew, Glibc.errno == EEXIST {
      number = unsafe Glibc.open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0o666)
    }
    guard number >= 0 else {
      throw .notOpened(path: path, Errno(rawValue: Glibc.errno))
    }
    return OutputFile(path: path, number: number, isNew: isNew)
  }

  private init(path: String, number: CInt, isNew: Bool) {
    self.path = path
    self.number = number
    isUnwrittenNewFile = isNew
  }

  deinit {
    // The path is a copy that lives for the call; a file that cannot be removed stays, empty.
    if isUnwrittenNewFile { _ = unsafe unlink(path) }
    // A failed close leaves nothing to retry.
    if number >= 0 { _ = Glibc.close(number) }
  }

  /// A file, however it is named.
  struct Identity: Hashable {
    fileprivate let device: dev_t
    fileprivate let node: ino_t
    /// Of a file that is still to be made, in the directory of that number.
    fileprivate let name: String?
  }

  /// Which file a path leads to; nil for pipes and devices, which take several outputs, and for what
  /// cannot be opened.
  static func identity(of path: String) -> Identity? {
    func status(_ path: String) -> stat? {
      var status = stat()
      // Path and structure live for the call.
      return unsafe stat(path, &status) == 0 ? status : nil
    }
    if let file = status(path) {
      return file.st_mode & S_IFMT == S_IFREG
        ? Identity(device: file.st_dev, node: file.st_ino, name: nil) : nil
    }
    let file = FilePath(path)
    let parent = file.removingLastComponent()
    guard let directory = status(parent.isEmpty ? "." : parent.string) else { return nil }
    return Identity(
      device: directory.st_dev, node: directory.st_ino, name: file.lastComponent?.string)
  }

  /// Writes `text` in place of what it held.
  mutating func replace(with text: String) throws(OutputError) {
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
    isUnwrittenNewFile = false
  }
}

// SPDX-License-Identifier: Apache-2.0

import Glibc

/// A file descriptor with exactly one owner; closed when the owner ends.
public struct OwnedFileDescriptor: ~Copyable, Sendable {
  /// The number, for calls that borrow it; never close it.
  public let rawValue: CInt

  /// Takes ownership of an open descriptor.
  public init(owning rawValue: CInt) {
    self.rawValue = rawValue
  }

  deinit {
    // A failed close leaves nothing to retry: Linux frees the number before it can fail.
    _ = Glibc.close(rawValue)
  }

  /// Gives the number to the caller, who must close it.
  public consuming func release() -> CInt {
    let value = rawValue
    discard self
    return value
  }

  /// Opens `path` with O_CLOEXEC added to `flags`.
  public static func open(_ path: String, flags: CInt) throws(SystemCallError) -> Self {
    let fd = try systemCall("open", on: path) {
      // The path is a NUL-terminated copy that lives for the call.
      unsafe Glibc.open(path, flags | O_CLOEXEC)
    }
    return Self(owning: fd)
  }

  /// A second descriptor for the same open file.
  public borrowing func duplicate() throws(SystemCallError) -> Self {
    let source = rawValue
    let fd = try systemCall("fcntl(F_DUPFD_CLOEXEC)", on: "fd \(source)") {
      fcntl(source, F_DUPFD_CLOEXEC, 0)
    }
    return Self(owning: fd)
  }
}

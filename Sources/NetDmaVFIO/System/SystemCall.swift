// SPDX-License-Identifier: Apache-2.0

import Glibc
public import SystemPackage

/// A system call that failed: the call, what it was made on, and the errno.
public struct SystemCallError: Error, Hashable, Sendable, CustomStringConvertible {
  /// The call by its manual-page name, for an ioctl the request's name.
  public let call: String
  /// What the call was made on: a path, a PCI address, a size.
  public let subject: String
  /// The kernel's reason.
  public let errno: Errno

  /// Describes a failure of `call` on `subject`.
  public init(call: String, subject: String, errno: Errno) {
    self.call = call
    self.subject = subject
    self.errno = errno
  }

  /// For example "open(/dev/vfio/7): Permission denied (errno 13)".
  public var description: String {
    "\(call)(\(subject)): \(errno) (errno \(errno.rawValue))"
  }
}

/// The one funnel for calls that answer -1 and errno; repeats a call that a signal interrupted.
///
/// `subject` is evaluated only on failure.
package func systemCall<R: FixedWidthInteger>(
  _ call: String, on subject: @autoclosure () -> String, _ body: () -> R
) throws(SystemCallError) -> R {
  while true {
    let result = body()
    if result != -1 { return result }
    let code = Errno(rawValue: Glibc.errno)
    if code == .interrupted { continue }
    throw SystemCallError(call: call, subject: subject(), errno: code)
  }
}

// SPDX-License-Identifier: Apache-2.0

/// An error that a person can act on at 3 a.m.: what happened, why, and what to do.
///
/// Each layer has one enum that conforms. Every property is one sentence with a full stop, or empty
/// when nothing is known.
public protocol DiagnosticError: Error, CustomStringConvertible {
  /// What failed, and on which device.
  var what: String { get }
  /// The cause, as far as it is known.
  var why: String { get }
  /// The command or change that helps.
  var remedy: String { get }
}

extension DiagnosticError {
  /// The three sentences on one line.
  public var description: String {
    [what, why, remedy].filter { !$0.isEmpty }.joined(separator: " ")
  }
}

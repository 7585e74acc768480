// SPDX-License-Identifier: Apache-2.0

/// What became of one precondition.
struct CheckResult: Encodable, Equatable {
  enum State: String, Encodable {
    /// As it should be.
    case ok
    /// Keeps copies from working.
    case failed
    /// Cannot be known, or works but might be better.
    case unknown
  }

  /// Which part of the answer it belongs to.
  enum Scope: String, Encodable, CaseIterable {
    case machine, device, proof
  }

  /// A name that programs can rely on, for example "memlock".
  let id: String
  let scope: Scope
  let title: String
  let state: State
  /// What was found.
  let detail: String
  /// Commands, or edits of files, that make it right; as they are typed on this machine.
  let fix: [String]
  /// Whether only the rights of this user are missing.
  let isPermission: Bool

  init(
    _ id: String, _ scope: Scope, _ title: String, _ state: State, _ detail: String,
    fix: [String] = [], isPermission: Bool = false
  ) {
    self.id = id
    self.scope = scope
    self.title = title
    self.state = state
    self.detail = detail
    self.fix = fix
    self.isPermission = isPermission
  }
}

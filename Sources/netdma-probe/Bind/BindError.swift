// SPDX-License-Identifier: Apache-2.0

import NetDmaVFIO

/// What `bind` itself can find wrong, beyond `PCIError`.
enum BindError: DiagnosticError, Equatable {
  /// This machine has no such user.
  case noSuchUser(name: String)
  /// The function is bound, but VFIO made no node for its group.
  case noNode(device: String, path: String)
  /// The group's node could not be given to the user.
  case nodeNotGiven(path: String, user: String, error: SystemCallError)

  var what: String {
    switch self {
    case .noSuchUser(let name): "There is no user '\(name)'."
    case .noNode(let device, _): "\(device) is bound, but cannot be given to a user."
    case .nodeNotGiven(let path, let user, _): "\(path) could not be given to \(user)."
    }
  }
  var why: String {
    switch self {
    case .noSuchUser: "The system's user database knows neither that name nor that number."
    case .noNode(_, let path): "\(path) did not appear."
    case .nodeNotGiven(_, _, let error): "\(error)."
    }
  }
  var remedy: String {
    switch self {
    case .noSuchUser: "Look at: getent passwd"
    case .noNode: "Look at dmesg; in a container, bind on the host."
    case .nodeNotGiven: "Run as root."
    }
  }
}

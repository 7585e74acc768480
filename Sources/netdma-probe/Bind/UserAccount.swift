// SPDX-License-Identifier: Apache-2.0

import Glibc

/// A user of this machine.
struct UserAccount: Equatable {
  let name: String
  let id: UInt32

  /// The user with a name, or with a number.
  ///
  /// - Throws: `BindError.noSuchUser`.
  init(named name: String) throws(BindError) {
    var entry = unsafe passwd()
    var found: UnsafeMutablePointer<passwd>?
    var buffer = [CChar](repeating: 0, count: 16384)
    // Entry, result and buffer are this function's own; the name is a copy that lives for the call.
    let status = unsafe getpwnam_r(name, &entry, &buffer, buffer.count, &found)
    if status == 0, unsafe found != nil {
      id = unsafe entry.pw_uid
    } else if let number = UInt32(name), number != .max {
      id = number
    } else {
      throw .noSuchUser(name: name)
    }
    self.name = name
  }

  init(name: String, id: UInt32) {
    self.name = name
    self.id = id
  }
}

// SPDX-License-Identifier: Apache-2.0

import Glibc

/// A directory of a test's own, removed with what is in it.
final class ScratchDirectory: Sendable {
  let path: String

  init() throws {
    var template = Array("/tmp/netdma-probe-XXXXXX".utf8CString)
    guard mkdtemp(&template) != nil else {
      throw ProbeFailure(description: "no directory: errno \(errno)")
    }
    path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }

  deinit {
    if let stream = opendir(path) {
      while let entry = readdir(stream) {
        let name = withUnsafeBytes(of: &entry.pointee.d_name) { bytes in
          String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
        }
        unlink(path + "/" + name)
      }
      closedir(stream)
    }
    rmdir(path)
  }
}

/// `netdma-probe emulate` on a socket of its own, ready for clients.
final class EmulatorProcess: Sendable {
  private let directory: ScratchDirectory
  let process: ProbeProcess
  let socket: String

  /// `firstSocket` is what the first of several functions adds to the path.
  init(_ options: [String] = [], firstSocket: String = "") throws {
    directory = try ScratchDirectory()
    socket = directory.path + "/ioat.sock"
    process = try ProbeProcess(["emulate", "--socket", socket] + options)
    let socket = socket + firstSocket
    try process.wait(until: "the emulator serves") { $0.output.contains("serving \(socket)\n") }
  }

  var socketExists: Bool { access(socket, F_OK) == 0 }
}

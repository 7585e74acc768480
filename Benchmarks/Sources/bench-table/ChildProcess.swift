// SPDX-License-Identifier: Apache-2.0

import BenchSupport
import CFloor
import Glibc

/// A program that was started from here; ended with SIGTERM if it still runs when the value ends.
struct ChildProcess: ~Copyable {
  private let id: pid_t
  private var output: CInt
  /// Just before it was started, CLOCK_MONOTONIC in nanoseconds.
  let started: UInt64

  /// Starts `arguments[0]`; what it prints is kept for `finish()`.
  init(_ arguments: [String]) throws {
    var ends: [CInt] = [-1, -1]
    guard bench_pipe(&ends) == 0 else { throw BenchError("pipe: errno \(errno)") }
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    posix_spawn_file_actions_adddup2(&actions, ends[1], 1)
    defer { posix_spawn_file_actions_destroy(&actions) }
    var words: [UnsafeMutablePointer<CChar>?] = arguments.map { strdup($0) } + [nil]
    defer { for word in words { free(word) } }
    var child = pid_t()
    let start = bench_now()
    let code = posix_spawn(&child, arguments[0], &actions, nil, &words, environ)
    close(ends[1])
    guard code == 0 else {
      close(ends[0])
      throw BenchError("\(arguments[0]) cannot be started: errno \(code)")
    }
    id = child
    output = ends[0]
    started = start
  }

  deinit {
    kill(id, SIGTERM)
    var status: CInt = 0
    waitpid(id, &status, 0)
    close(output)
  }

  /// The next line that it prints; nil when it closed its output.
  func readLine() -> String? {
    var bytes: [UInt8] = []
    var byte: UInt8 = 0
    while true {
      let count = read(output, &byte, 1)
      if count < 0, errno == EINTR { continue }
      guard count == 1 else { return bytes.isEmpty ? nil : String(decoding: bytes, as: UTF8.self) }
      if byte == 10 { return String(decoding: bytes, as: UTF8.self) }
      bytes.append(byte)
    }
  }

  /// Waits for its end; gives what it printed, line by line, and the time from its start to its end.
  consuming func finish() throws -> (lines: [String], nanoseconds: UInt64) {
    var lines: [String] = []
    while let line = readLine() { lines.append(line) }
    var status: CInt = 0
    while waitpid(id, &status, 0) < 0, errno == EINTR {}
    let elapsed = bench_now() - started
    close(output)
    discard self
    guard status == 0 else { throw BenchError("a program ended with status \(status)") }
    return (lines, elapsed)
  }
}

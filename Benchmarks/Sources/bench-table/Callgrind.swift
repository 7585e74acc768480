// SPDX-License-Identifier: Apache-2.0

import BenchSupport
import Glibc

/// What callgrind counted between two calls of `bench_toggle_counting`.
struct CallCounts {
  private(set) var instructions: Double = 0
  /// Calls of each function, by its symbol.
  private(set) var calls: [String: Double] = [:]

  /// Runs a program under callgrind.
  init(_ arguments: [String]) throws {
    let file = "/tmp/bench-callgrind.\(getpid())"
    defer { unlink(file) }
    let options = [
      "--tool=callgrind", "--collect-atstart=no", "--callgrind-out-file=\(file)", "--quiet",
    ]
    _ = try ChildProcess([try Self.valgrind()] + options + arguments).finish()
    guard let stream = fopen(file, "r") else { throw BenchError("callgrind left no \(file)") }
    defer { fclose(stream) }
    var buffer: UnsafeMutablePointer<CChar>?
    var size = 0
    defer { free(buffer) }
    while getline(&buffer, &size, stream) > 0 {
      if let buffer { take(String(cString: buffer).split(separator: "\n").first ?? "") }
    }
    guard instructions > 0 else {
      throw BenchError(
        "callgrind counted nothing: the benchmarks were built before valgrind was installed; remove"
          + " Benchmarks/.build and run this again")
    }
  }

  private static func valgrind() throws -> String {
    let path = getenv("PATH").map { String(cString: $0) } ?? "/usr/bin"
    for directory in path.split(separator: ":") {
      let file = "\(directory)/valgrind"
      if access(file, X_OK) == 0 { return file }
    }
    throw BenchError("there is no valgrind on PATH")
  }

  // Names are written out where they come up first, "(3) malloc", and then only "(3)".
  private var names: [Substring: String] = [:]
  private var callee = ""

  private mutating func take(_ line: Substring) {
    if line.hasPrefix("totals:") || line.hasPrefix("summary:") {
      instructions = line.split(separator: " ").dropFirst().first.flatMap { Double($0) } ?? 0
    } else if line.hasPrefix("fn=") {
      _ = name(line.dropFirst(3))
    } else if line.hasPrefix("cfn=") {
      callee = name(line.dropFirst(4))
    } else if line.hasPrefix("calls=") {
      let count = line.dropFirst(6).split(separator: " ").first.flatMap { Double($0) } ?? 0
      calls[callee, default: 0] += count
    }
  }

  private mutating func name(_ text: Substring) -> String {
    guard let space = text.firstIndex(of: " ") else { return names[text] ?? String(text) }
    let full = String(text[text.index(after: space)...])
    names[text[..<space]] = full
    return full
  }

  /// Calls of all functions whose symbol `isMeant` picks.
  func calls(where isMeant: (String) -> Bool) -> Double {
    calls.reduce(0) { $0 + (isMeant($1.key) ? $1.value : 0) }
  }
}

// SPDX-License-Identifier: Apache-2.0

import Glibc
import NetDmaVFIO
import Synchronization

/// What a process left behind.
struct ProbeResult: Sendable {
  /// Its exit code, or 128 and the signal that ended it.
  var status: Int32
  var output: String
  var errors: String
}

/// A step of a test that the operating system refused, or that took too long.
struct ProbeFailure: Error, CustomStringConvertible {
  let description: String
}

/// A run of the netdma-probe that was built together with these tests.
///
/// Killed and reaped when the object ends, so that no test leaves a process behind.
final class ProbeProcess: Sendable {
  /// Where an output goes.
  enum Sink: Sendable {
    /// To a file that the result is read from.
    case file
    /// To a terminal of so many columns.
    case terminal(columns: UInt16)
    /// To a pipe whose reader is gone.
    case closedPipe
  }

  private struct State {
    var status: Int32?
    var output: SinkReader
    var errors: SinkReader
  }

  let pid: pid_t
  private let state: Mutex<State>

  /// The directory of the test bundle, where the products lie.
  static let products: String = {
    var bytes = [UInt8](repeating: 0, count: Int(PATH_MAX))
    let count = bytes.withUnsafeMutableBytes {
      $0.withMemoryRebound(to: CChar.self) { buffer in
        buffer.baseAddress.map { readlink("/proc/self/exe", $0, buffer.count) } ?? 0
      }
    }
    let path = String(decoding: bytes.prefix(max(0, count)), as: UTF8.self)
    return path.split(separator: "/", omittingEmptySubsequences: false).dropLast()
      .joined(separator: "/")
  }()

  /// The program under test.
  static var program: String { products + "/netdma-probe" }

  /// Starts the program; `wrapper` is a command line that ends in the program's own.
  init(
    _ arguments: [String], wrapper: [String] = [], environment: [String: String] = [:],
    output: Sink = .file, errors: Sink = .file
  ) throws {
    let outputReader = try SinkReader(output)
    let errorReader = try SinkReader(errors)
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
    posix_spawn_file_actions_adddup2(&actions, outputReader.childEnd, 1)
    posix_spawn_file_actions_adddup2(&actions, errorReader.childEnd, 2)
    // The test runner's own choices about signals are not to be inherited.
    var attributes = posix_spawnattr_t()
    posix_spawnattr_init(&attributes)
    defer { posix_spawnattr_destroy(&attributes) }
    var signals = sigset_t()
    sigemptyset(&signals)
    posix_spawnattr_setsigmask(&attributes, &signals)
    for signal in [SIGPIPE, SIGINT, SIGTERM] { sigaddset(&signals, signal) }
    posix_spawnattr_setsigdefault(&attributes, &signals)
    posix_spawnattr_setflags(
      &attributes, Int16(POSIX_SPAWN_SETSIGMASK) | Int16(POSIX_SPAWN_SETSIGDEF))

    let words = wrapper + [Self.program] + arguments
    var argv: [UnsafeMutablePointer<CChar>?] = words.map { strdup($0) } + [nil]
    var envp: [UnsafeMutablePointer<CChar>?] =
      Self.environment(adding: environment).map { strdup($0) } + [nil]
    defer { for text in argv + envp { free(text) } }
    var pid: pid_t = 0
    let failure = posix_spawn(&pid, words[0], &actions, &attributes, &argv, &envp)
    guard failure == 0 else {
      throw ProbeFailure(description: "\(words[0]): \(String(cString: strerror(failure)))")
    }
    self.pid = pid
    outputReader.started()
    errorReader.started()
    state = Mutex(State(status: nil, output: outputReader, errors: errorReader))
  }

  deinit {
    if state.withLock({ $0.status }) == nil {
      Glibc.kill(pid, SIGKILL)
      var status: Int32 = 0
      while waitpid(pid, &status, 0) < 0, errno == EINTR {}
    }
  }

  /// This process's, without what changes how the program behaves.
  private static func environment(adding extra: [String: String]) -> [String] {
    let removed = Set(["NO_COLOR", "NETDMA_SYSROOT", "COLUMNS", "TERM"]).union(extra.keys)
    var list: [String] = []
    var next = environ
    while let entry = next.pointee {
      let text = String(cString: entry)
      if !removed.contains(String(text.prefix { $0 != "=" })) { list.append(text) }
      next += 1
    }
    var all = extra
    if all["TERM"] == nil { all["TERM"] = "xterm-256color" }
    return list + all.map { "\($0.key)=\($0.value)" }
  }

  /// What it printed so far.
  var output: String { state.withLock { $0.output.text() } }
  /// What it said on standard error so far.
  var errors: String { state.withLock { $0.errors.text() } }
  /// Whether it has not ended yet.
  var isRunning: Bool { poll() == nil }

  func kill(_ signal: Int32) { Glibc.kill(pid, signal) }

  private func poll() -> Int32? {
    state.withLock { state in
      // A terminal takes no more than its buffer, so it is emptied meanwhile.
      _ = state.output.text()
      _ = state.errors.text()
      if let status = state.status { return status }
      var status: Int32 = 0
      guard waitpid(pid, &status, WNOHANG) == pid else { return nil }
      let signal = status & 0x7f
      state.status = signal == 0 ? (status >> 8) & 0xff : 128 + signal
      return state.status
    }
  }

  /// Waits until something is so.
  ///
  /// - Throws: `ProbeFailure` with both outputs when it does not become so; the bound is there
  ///   against hangs only.
  func wait(
    until what: String, seconds: Int = 120, _ condition: (ProbeProcess) -> Bool
  ) throws {
    for _ in 0..<seconds * 200 {
      if condition(self) { return }
      if poll() != nil {
        if condition(self) { return }
        throw ProbeFailure(
          description: "ended before \(what)\n--- output\n\(output)\n--- errors\n\(errors)")
      }
      usleep(5000)
    }
    throw ProbeFailure(
      description: "waited in vain for \(what)\n--- output\n\(output)\n--- errors\n\(errors)")
  }

  /// Waits for its end.
  func wait(seconds: Int = 120) throws -> ProbeResult {
    for _ in 0..<seconds * 200 {
      if let status = poll() {
        return ProbeResult(status: status, output: output, errors: errors)
      }
      usleep(5000)
    }
    kill(SIGKILL)
    throw ProbeFailure(
      description: "did not end\n--- output\n\(output)\n--- errors\n\(errors)")
  }

  /// Runs it to its end.
  static func run(
    _ arguments: [String], wrapper: [String] = [], environment: [String: String] = [:],
    output: Sink = .file, errors: Sink = .file
  ) throws -> ProbeResult {
    try ProbeProcess(
      arguments, wrapper: wrapper, environment: environment, output: output, errors: errors
    ).wait()
  }
}

/// The two ends of an output; used under the process's lock only.
private final class SinkReader: @unchecked Sendable {
  // @unchecked: after `init` and `started`, which one thread calls, `ProbeProcess` locks around
  // every use.
  private(set) var childEnd: CInt
  private let ownEnd: CInt
  private let isTerminal: Bool
  private var bytes: [UInt8] = []

  init(_ sink: ProbeProcess.Sink) throws {
    switch sink {
    case .file:
      var template = Array("/tmp/netdma-output-XXXXXX".utf8CString)
      childEnd = mkstemp(&template)
      unlink(template)
      ownEnd = fcntl(childEnd, F_DUPFD_CLOEXEC, 3)
      isTerminal = false
    case .terminal(let columns):
      ownEnd = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK)
      var number: CInt = 0
      var isLocked: CInt = 0
      // TIOCGPTN and TIOCSPTLCK, whose macros Swift does not import.
      guard ownEnd >= 0, ioctl(ownEnd, 0x8004_5430, &number) == 0,
        ioctl(ownEnd, 0x4004_5431, &isLocked) == 0
      else { throw ProbeFailure(description: "no terminal: errno \(errno)") }
      childEnd = open("/dev/pts/\(number)", O_RDWR | O_NOCTTY | O_CLOEXEC)
      var size = winsize(ws_row: 50, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0)
      _ = ioctl(ownEnd, UInt(TIOCSWINSZ), &size)
      isTerminal = true
    case .closedPipe:
      var ends: [CInt] = [-1, -1]
      guard pipe(&ends) == 0 else {
        throw ProbeFailure(description: "no pipe: errno \(errno)")
      }
      close(ends[0])
      childEnd = ends[1]
      ownEnd = -1
      isTerminal = false
    }
    guard childEnd >= 0 else { throw ProbeFailure(description: "no output: errno \(errno)") }
    _ = fcntl(childEnd, F_SETFD, FD_CLOEXEC)
  }

  /// The child has its end; this process's copy goes.
  func started() {
    close(childEnd)
    childEnd = -1
  }

  deinit {
    if childEnd >= 0 { close(childEnd) }
    if ownEnd >= 0 { close(ownEnd) }
  }

  func text() -> String {
    guard ownEnd >= 0 else { return "" }
    var chunk = [UInt8](repeating: 0, count: 65536)
    while true {
      let count =
        isTerminal
        ? read(ownEnd, &chunk, chunk.count) : pread(ownEnd, &chunk, chunk.count, bytes.count)
      guard count > 0 else { break }
      bytes.append(contentsOf: chunk.prefix(count))
    }
    let all = String(decoding: bytes, as: UTF8.self)
    // The terminal makes two characters of a line's end.
    guard isTerminal else { return all }
    return String(decoding: bytes.filter { $0 != 13 }, as: UTF8.self)
  }
}

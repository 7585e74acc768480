// SPDX-License-Identifier: Apache-2.0

import CFuzz
import FuzzSupport
import Glibc
import Logging
import NetDmaMock
import NetDmaVFIO

/// The server's message decoder with a live device behind it, over a real socket.
///
/// An input is a row of messages; their sizes are right unless the input says otherwise. What is
/// expected: every message is answered or the connection is closed, and the next one is served.
@main
struct FuzzMessages {
  static func main() {
    exit(
      runFuzzer { data, size in
        FuzzMessages.rig.run(FuzzInput(data, size))
        return 0
      })
  }

  static let rig = Rig()
}

final class Rig: Sendable {
  private let path = "netdma-fuzz-\(getpid()).sock"
  private let server: VFIOUserServer
  private let thread: PinnedThread
  private let files: [CInt]

  init() {
    do {
      let logger = Logger(label: "fuzz") { _ in SwiftLogNoOpLogHandler() }
      let server = try VFIOUserServer(
        path: path,
        configuration: ModelConfiguration(channelCount: 2, capabilities: .max, timing: .fast),
        mapsDoorbells: true, logger: logger)
      self.server = server
      thread = try PinnedThread(name: "server") { _ in server.run() }
    } catch { fatalError("\(error)") }
    files = [
      cfuzz_memory_file(65536, 1), cfuzz_memory_file(65536, 0), cfuzz_memory_file(65536, 0),
      cfuzz_eventfd(), open("/dev/null", O_RDWR | O_CLOEXEC),
    ]
  }

  func run(_ input: FuzzInput) {
    var input = input
    let socket = cfuzz_connect(path)
    guard socket >= 0 else { fatalError("the server does not take connections") }
    defer { close(socket) }
    if input.u8() != 0xff {
      let version: [UInt8] = [0, 0, 0, 0] + Array("{}".utf8) + [0]
      _ = cfuzz_send(
        socket, header(id: 0, command: 1, size: 16 + version.count, flags: 0) + version,
        16 + version.count, -1, 0)
    }
    ftruncate(files[2], 65536)
    for count in 0..<64 where !input.isAtEnd {
      if !send(&input, UInt16(count), socket) { break }
    }
    shutdown(socket, CInt(SHUT_WR))
    drain(socket)
  }

  private func send(_ input: inout FuzzInput, _ id: UInt16, _ socket: CInt) -> Bool {
    let kind = input.u8()
    let command = UInt16(kind & 0x1f)
    let options = input.u8()
    let payload = input.take(Int(input.u8()))
    let flags: UInt32 =
      options & 3 == 3 ? UInt32(input.u8()) : options & 3 == 2 ? 0x10 : 0
    let size = options & 0x1c == 0x1c ? Int(input.u16()) : 16 + payload.count
    let bytes = header(id: id, command: command, size: size, flags: flags) + payload
    // Memory that goes away while the engine may be at it.
    if kind & 0xe0 == 0xe0 { ftruncate(files[2], off_t(input.u16())) }
    let file = files[Int(kind >> 5) % files.count]
    let descriptors = options & 0x80 == 0 ? 0 : Int32(1 + (options >> 5 & 3))
    return cfuzz_send(socket, bytes, bytes.count, file, descriptors) != 0
  }

  /// Reads what the server answers until it hangs up.
  private func drain(_ socket: CInt) {
    var buffer = [UInt8](repeating: 0, count: 65536)
    while cfuzz_receive(socket, &buffer, buffer.count) > 0 {}
  }
}

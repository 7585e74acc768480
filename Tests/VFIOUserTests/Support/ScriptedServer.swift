// SPDX-License-Identifier: Apache-2.0

import CNetDma
import Glibc
import NetDmaVFIO
import Synchronization

/// A server that answers as a test tells it to; its socket and thread end with the last reference.
final class ScriptedServer: Sendable {
  let path = Emulator.freshPath()
  private let listener: OwnedFileDescriptor
  private let connection: Connection
  private let thread: PinnedThread

  /// The one connection, for the server's end to hang up.
  private final class Connection: Sendable {
    private struct State {
      var peer: RawPeer?
      var isOver = false
    }
    private let state = Mutex(State())

    /// False when the server ended meanwhile.
    func begin(_ peer: RawPeer) -> Bool {
      state.withLock { state in
        state.peer = peer
        return !state.isOver
      }
    }

    func end() {
      state.withLock { state in
        state.isOver = true
        state.peer?.close()
      }
    }
  }

  /// What to do with a command: true when the script has dealt with it.
  typealias Script = @Sendable (RawPeer, VFIOUserMessage) -> Bool

  /// Answers every command rightly unless `script` does it.
  convenience init(_ script: @escaping Script) throws {
    try self.init(serving: { peer in
      while let message = try? peer.receive() {
        if !script(peer, message) { Self.answer(peer, message) }
      }
    })
  }

  /// Runs `body` with the one connection that is made.
  init(serving body: @escaping @Sendable (RawPeer) -> Void) throws {
    let path = path
    let connection = Connection()
    self.connection = connection
    let fd = try systemCall("socket", on: "test") {
      socket(AF_UNIX, CInt(SOCK_STREAM.rawValue) | CInt(SOCK_CLOEXEC.rawValue), 0)
    }
    listener = OwnedFileDescriptor(owning: fd)
    var address = sockaddr_un()
    _ = try systemCall("bind", on: path) { netdma_unix_address(path, &address) }
    _ = try systemCall("bind", on: path) { netdma_unix_bind(fd, &address) }
    _ = try systemCall("listen", on: path) { listen(fd, 4) }
    thread = try PinnedThread(name: "test-scripted") { _ in
      let accepted = netdma_accept(fd)
      guard accepted >= 0 else { return }
      let peer = RawPeer(owning: accepted)
      if connection.begin(peer) { body(peer) }
    }
  }

  deinit {
    unlink(path)
    // Ends a wait for a client that never came.
    shutdown(listener.rawValue, CInt(SHUT_RDWR))
    connection.end()
  }

  /// The answers of a device with nothing in it.
  static func answer(_ peer: RawPeer, _ message: VFIOUserMessage) {
    var reader = WireReader(message.payload)
    switch message.header.command {
    case .version: peer.reply(to: message, Wire.version())
    case .deviceGetInfo: peer.reply(to: message, Wire.u32s(16, 3, 9, 5))
    case .deviceGetRegionInfo:
      _ = reader.seek(8)
      peer.reply(to: message, Wire.u32s(32, 3, reader.u32() ?? 0, 0) + Wire.u64s(0x4000, 0))
    case .deviceGetIRQInfo:
      _ = reader.seek(8)
      peer.reply(to: message, Wire.u32s(16, 1, reader.u32() ?? 0, 1))
    case .regionRead:
      _ = reader.seek(12)
      let count = Int(reader.u32() ?? 0)
      peer.reply(to: message, message.payload + [UInt8](repeating: 0, count: count))
    case .dmaUnmap: peer.reply(to: message, message.payload)
    default: if message.header.wantsReply { peer.reply(to: message, []) }
    }
  }

  func client(timeout: Duration = .seconds(20)) throws(VFIOError) -> VFIOUserClient {
    try VFIOUserClient.connect(path: path, timeout: timeout, logger: Emulator.log)
  }
}

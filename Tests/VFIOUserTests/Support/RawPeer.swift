// SPDX-License-Identifier: Apache-2.0

import CNetDma
import Glibc
import NetDmaVFIO
import SystemPackage

/// One end of a connection that says whatever a test wants, byte by byte.
final class RawPeer: Sendable {
  private let socket: OwnedFileDescriptor

  /// No reply within the time in which only a hung peer would not have answered.
  struct NoReply: Error {}

  init(owning fd: CInt) { socket = OwnedFileDescriptor(owning: fd) }

  init(connectingTo path: String) throws {
    socket = try VFIOUserSocket.connect(path: path, timeout: .seconds(20))
  }

  var rawValue: CInt { socket.rawValue }

  /// Hangs up, as a process that dies does.
  func close() { _ = shutdown(rawValue, CInt(SHUT_RDWR)) }

  /// Sends bytes as they are; false when the peer has closed.
  @discardableResult
  func send(_ bytes: [UInt8], descriptors: [CInt] = []) -> Bool {
    var done = 0
    while done < bytes.count {
      let count = bytes.withUnsafeBytes { buffer in
        descriptors.withUnsafeBufferPointer { fds in
          netdma_send_fds(
            socket.rawValue, buffer.baseAddress.map { $0 + done }, bytes.count - done, nil, 0,
            fds.baseAddress, done == 0 ? CInt(fds.count) : 0, 0)
        }
      }
      if count > 0 {
        done += count
      } else if Glibc.errno == EAGAIN {
        wait(POLLOUT)
      } else if Glibc.errno != EINTR {
        return false
      }
    }
    return true
  }

  private func wait(_ events: CInt, _ milliseconds: CInt = 30_000) {
    var entry = pollfd(fd: socket.rawValue, events: Int16(events), revents: 0)
    _ = poll(&entry, 1, milliseconds)
  }

  /// Sends a command.
  @discardableResult
  func send(
    _ command: VFIOUserCommand, _ payload: [UInt8] = [], id: UInt16 = 7, flags: UInt32 = 0,
    descriptors: [CInt] = []
  ) -> Bool {
    let header = VFIOUserHeader(
      id: id, command: command, size: UInt32(16 + payload.count), flags: flags)
    return send(header.bytes + payload, descriptors: descriptors)
  }

  /// Sends a reply to a command.
  @discardableResult
  func reply(
    to command: VFIOUserMessage, _ payload: [UInt8], descriptors: [CInt] = [], error: UInt32? = nil
  ) -> Bool {
    let header = VFIOUserHeader(
      id: command.header.id, command: command.header.command, size: UInt32(16 + payload.count),
      flags: VFIOUserHeader.typeReply | (error == nil ? 0 : VFIOUserHeader.errorFlag),
      error: error ?? 0)
    return send(header.bytes + payload, descriptors: descriptors)
  }

  /// The next message; nil when the peer closed.
  func receive() throws -> VFIOUserMessage? {
    var descriptors: [SharedDescriptor] = []
    guard let head = try read(16, &descriptors), let header = VFIOUserHeader(head),
      let payload = try read(Int(header.size) - 16, &descriptors)
    else { return nil }
    return VFIOUserMessage(header: header, payload: payload, descriptors: descriptors)
  }

  private func read(_ count: Int, _ descriptors: inout [SharedDescriptor]) throws -> [UInt8]? {
    var bytes: [UInt8] = []
    let deadline = Deadline(after: .seconds(30))
    while bytes.count < count {
      var piece = [UInt8](repeating: 0, count: count - bytes.count)
      var fds = [CInt](repeating: -1, count: Int(NETDMA_MAX_FDS))
      var found: CInt = 0
      var truncated: CInt = 0
      let length = piece.count
      let result = piece.withUnsafeMutableBytes { buffer in
        buffer.baseAddress.map {
          netdma_recv_fds(
            socket.rawValue, $0, length, &fds, &found, &truncated, CInt(MSG_DONTWAIT))
        } ?? 0
      }
      for fd in fds.prefix(Int(found)) { descriptors.append(SharedDescriptor(owning: fd)) }
      if result > 0 {
        bytes += piece.prefix(result)
      } else if result == 0 || Glibc.errno == ECONNRESET {
        return nil
      } else if Glibc.errno == EAGAIN {
        if deadline.hasPassed { throw NoReply() }
        wait(POLLIN, 1000)
      }
    }
    return bytes
  }

  /// Sends a command and gives the reply; nil when the peer closed instead.
  func ask(
    _ command: VFIOUserCommand, _ payload: [UInt8] = [], flags: UInt32 = 0,
    descriptors: [CInt] = []
  ) throws -> VFIOUserMessage? {
    send(command, payload, flags: flags, descriptors: descriptors)
    return try receive()
  }

  /// The errno of the reply, 0 for success, nil when the peer closed.
  func errno(
    of command: VFIOUserCommand, _ payload: [UInt8] = [], descriptors: [CInt] = []
  ) throws -> CInt? {
    try ask(command, payload, descriptors: descriptors).map {
      $0.header.isError ? CInt($0.header.error) : 0
    }
  }

  /// VERSION; whether the server takes this client.
  func greet() throws -> Bool {
    try errno(of: .version, Wire.version()) == 0
  }

  /// A peer that is greeted, for a test that is about something else.
  func greeted() throws -> RawPeer {
    guard try greet() else { throw NoReply() }
    return self
  }
}

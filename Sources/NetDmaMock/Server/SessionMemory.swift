// SPDX-License-Identifier: Apache-2.0

import NetDmaVFIO
import Synchronization

/// Client memory without a file, reached by DMA_READ and DMA_WRITE messages from engine threads.
///
/// QEMU's layout of these messages differs from the specification (its data begins four bytes
/// earlier), so with QEMU share the guest's memory instead (memory-backend-memfd, share=on).
final class SessionMemory: RemoteMemory {
  private let socket: VFIOUserSocket
  private let state = Mutex(State())
  /// A client that does not answer in this time is taken as refusing.
  private static let patience: Duration = .seconds(2)

  private struct State {
    var waiters: [UInt16: Waiter] = [:]
    var nextID: UInt16 = 1
    var isClosed = false
    var limit = 4096
  }

  private final class Waiter: Sendable {
    let arrived = Signal()
    let reply = Mutex<VFIOUserMessage?>(nil)
  }

  init(_ socket: VFIOUserSocket) { self.socket = socket }

  /// The largest count that the client takes.
  func setLimit(_ limit: Int) {
    state.withLock { $0.limit = min(limit, VFIOUser.maximumTransfer) }
  }

  /// Nobody answers any more.
  func close() {
    let waiters = state.withLock { state in
      state.isClosed = true
      defer { state.waiters = [:] }
      return Array(state.waiters.values)
    }
    for waiter in waiters { waiter.arrived.set() }
  }

  /// A reply for a thread that waits here; false when nobody asked for it.
  func take(_ message: VFIOUserMessage) -> Bool {
    let waiter = state.withLock { $0.waiters.removeValue(forKey: message.header.id) }
    guard let waiter else {
      // A reply that came too late was asked for once; ids are never that far apart otherwise.
      return message.header.command == .dmaRead || message.header.command == .dmaWrite
    }
    waiter.reply.withLock { $0 = message }
    waiter.arrived.set()
    return true
  }

  private func ask(_ command: VFIOUserCommand, _ payload: [UInt8]) -> [UInt8]? {
    let waiter = Waiter()
    let id = state.withLock { state -> UInt16? in
      if state.isClosed { return nil }
      while state.waiters[state.nextID] != nil { state.nextID &+= 1 }
      defer { state.nextID &+= 1 }
      state.waiters[state.nextID] = waiter
      return state.nextID
    }
    guard let id else { return nil }
    defer { _ = state.withLock { $0.waiters.removeValue(forKey: id) } }
    let header = VFIOUserHeader(
      id: id, command: command, size: 0, flags: VFIOUserHeader.typeCommand)
    do throws(VFIOUserSocketError) {
      try socket.send(header, payload: payload)
    } catch { return nil }
    guard waiter.arrived.wait(for: Self.patience), let reply = waiter.reply.withLock({ $0 }),
      !reply.header.isError, reply.header.command == command
    else { return nil }
    return reply.payload
  }

  func read(_ address: UInt64, _ count: Int) -> [UInt8]? {
    let limit = state.withLock { $0.limit }
    var bytes: [UInt8] = []
    while bytes.count < count {
      let piece = min(limit, count - bytes.count)
      let start = address + UInt64(bytes.count)
      var writer = WireWriter()
      writer.u64(start)
      writer.u64(UInt64(piece))
      guard let reply = ask(.dmaRead, writer.bytes) else { return nil }
      var reader = WireReader(reply)
      guard reader.u64() == start, reader.u64() == UInt64(piece), reader.remaining == piece,
        let data = reader.take(piece)
      else { return nil }
      bytes += data
    }
    return bytes
  }

  func write(_ address: UInt64, _ bytes: [UInt8]) -> Bool {
    let limit = state.withLock { $0.limit }
    var done = 0
    while done < bytes.count {
      let piece = min(limit, bytes.count - done)
      var writer = WireWriter()
      writer.u64(address + UInt64(done))
      writer.u64(UInt64(piece))
      writer.append(Array(bytes[done..<done + piece]))
      guard ask(.dmaWrite, writer.bytes) != nil else { return false }
      done += piece
    }
    return true
  }
}

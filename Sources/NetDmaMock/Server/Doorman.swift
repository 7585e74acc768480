// SPDX-License-Identifier: Apache-2.0

import CNetDma
import Glibc
import Logging
import NetDmaVFIO
import Synchronization

/// Takes the calls at a server's socket: one client goes in, the others are told that it is busy.
///
/// A thread of its own, so that a caller who says nothing costs neither the client inside nor the
/// next one any time. A caller first waits a moment, because the client before it may be about to
/// leave (it reconnects, or was killed); then its VERSION is answered with EBUSY, so that it can
/// tell a busy server from a dead one.
final class Doorman: Sendable {
  /// Callers that wait at a time; more are hung up on.
  private static let maximumCallers = 32
  /// How long a client that is leaving may take until the next caller is told that it is busy.
  private static let grace: Duration = .milliseconds(250)
  /// How long a caller that is being told may take to say its VERSION and read the answer.
  private static let farewell: Duration = .seconds(5)

  private struct State {
    /// Somebody is inside, or about to be fetched.
    var isOccupied = false
    /// Who is inside is leaving: the next caller will be let in soon.
    var isLeaving = false
    var next: VFIOUserSocket?
  }

  /// Somebody at the door.
  private struct Caller {
    let socket: VFIOUserSocket
    /// When it is told, or when telling it is given up.
    var deadline: Deadline
    var isToldBusy = false
    /// What it said so far.
    var heard: [UInt8] = []
  }

  private let path: String
  private let listener: OwnedFileDescriptor
  private let logger: Logger
  private let state = Mutex(State())
  /// Somebody may come in.
  private let arrived: EventFD
  /// The client inside left, or is about to.
  private let changed: EventFD
  /// Everything ends; never drained, so that every thread sees it.
  let stopEvent: EventFD

  init(
    path: String, listener: consuming OwnedFileDescriptor, logger: Logger
  ) throws(SystemCallError) {
    self.path = path
    self.logger = logger
    arrived = try EventFD()
    changed = try EventFD()
    stopEvent = try EventFD()
    self.listener = listener
  }

  // MARK: - The serving thread's side

  /// Waits for the next client; nil when the server stops.
  func next() -> VFIOUserSocket? {
    while true {
      var ready = [
        pollfd(fd: stopEvent.rawValue, events: Int16(POLLIN), revents: 0),
        pollfd(fd: arrived.rawValue, events: Int16(POLLIN), revents: 0),
      ]
      // The array lives for the call; a signal only makes it turn once more.
      guard unsafe poll(&ready, 2, -1) > 0 else { continue }
      if ready[0].revents != 0 { return nil }
      _ = arrived.drain()
      if let socket = state.withLock({ $0.next.take() }) { return socket }
    }
  }

  /// The client inside is on its way out.
  func isLeaving() {
    state.withLock { $0.isLeaving = true }
    changed.signal()
  }

  /// The client inside is gone.
  func hasLeft() {
    state.withLock { state in
      state.isOccupied = false
      state.isLeaving = false
    }
    changed.signal()
  }

  // MARK: - The doorman's thread

  /// Takes calls until `stopEvent` is signalled.
  func run() {
    var callers: [Caller] = []
    while true {
      var list = [
        pollfd(fd: stopEvent.rawValue, events: Int16(POLLIN), revents: 0),
        pollfd(fd: changed.rawValue, events: Int16(POLLIN), revents: 0),
        pollfd(fd: listener.rawValue, events: Int16(POLLIN), revents: 0),
      ]
      for caller in callers where caller.isToldBusy {
        list.append(pollfd(fd: caller.socket.rawValue, events: Int16(POLLIN), revents: 0))
      }
      let timeout = callers.map(\.deadline.pollTimeout).min() ?? -1
      // The array lives for the call.
      guard unsafe poll(&list, nfds_t(list.count), timeout) >= 0 else { continue }
      if list[0].revents != 0 { return }
      if list[1].revents != 0 { _ = changed.drain() }
      if list[2].revents != 0 { accept(&callers) }
      letIn(&callers)
      callers = callers.compactMap { attend($0) }
    }
  }

  private func accept(_ callers: inout [Caller]) {
    let fd = netdma_accept(listener.rawValue)
    guard fd >= 0 else {
      // Out of descriptors, perhaps: the call stays in the queue, and turning at once would spin.
      _ = usleep(10_000)
      return
    }
    let socket = VFIOUserSocket(OwnedFileDescriptor(owning: fd))
    guard callers.count < Self.maximumCallers else { return }
    callers.append(Caller(socket: socket, deadline: Deadline(after: Self.grace)))
  }

  /// Lets the first caller in who was not told to go, if nobody is inside.
  private func letIn(_ callers: inout [Caller]) {
    guard let first = callers.firstIndex(where: { !$0.isToldBusy }) else { return }
    let isFree = state.withLock { state in
      if state.isOccupied { return false }
      state.isOccupied = true
      state.next = callers[first].socket
      return true
    }
    guard isFree else { return }
    callers.remove(at: first)
    arrived.signal()
  }

  /// One turn for a caller who cannot come in; nil when it is done with.
  private func attend(_ caller: Caller) -> Caller? {
    var caller = caller
    if !caller.isToldBusy {
      guard caller.deadline.hasPassed else { return caller }
      if state.withLock({ $0.isLeaving }) {
        // Not busy for long: the function is being reset for the next one.
        caller.deadline = Deadline(after: Self.grace)
        return caller
      }
      logger.notice("a second client was turned away", metadata: ["socket": "\(path)"])
      caller.isToldBusy = true
      caller.deadline = Deadline(after: Self.farewell)
    }
    guard caller.socket.listen(to: &caller.heard) else { return nil }
    if let header = VFIOUserHeader(caller.heard), caller.heard.count >= Int(header.size) {
      caller.socket.hangUp(
        VFIOUserHeader(
          id: header.id, command: header.command, size: 0,
          flags: VFIOUserHeader.typeReply | VFIOUserHeader.errorFlag, error: UInt32(EBUSY)))
      return nil
    }
    return caller.deadline.hasPassed ? nil : caller
  }
}

extension VFIOUserSocket {
  /// Longest VERSION message that is listened to before its sender is told to go.
  private static let maximumGreeting = 16 + 4 + VFIOUser.maximumJSON

  /// Adds to `heard` what came of the first message, without waiting; false when the peer is gone or
  /// says too much.
  ///
  /// Descriptors that come along are closed by the kernel, since nobody takes them.
  fileprivate func listen(to heard: inout [UInt8]) -> Bool {
    var buffer = [UInt8](repeating: 0, count: 512)
    while true {
      // The array lives for the call.
      let count = unsafe recv(rawValue, &buffer, buffer.count, CInt(MSG_DONTWAIT))
      if count > 0 {
        heard += buffer.prefix(count)
        if heard.count > Self.maximumGreeting { return false }
        continue
      }
      if count == 0 { return false }
      if Glibc.errno == EINTR { continue }
      return Glibc.errno == EAGAIN
    }
  }

  /// Sends a last header, without waiting; the peer can read it after this end is closed.
  fileprivate func hangUp(_ header: VFIOUserHeader) {
    var header = header
    header.size = UInt32(VFIOUserHeader.size)
    let bytes = header.bytes
    // The array lives for the call; a peer that takes nothing is only closed.
    _ = unsafe Glibc.send(
      rawValue, bytes, bytes.count, CInt(MSG_DONTWAIT) | CInt(MSG_NOSIGNAL))
  }
}

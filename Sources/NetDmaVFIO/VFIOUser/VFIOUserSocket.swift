// SPDX-License-Identifier: Apache-2.0

import CNetDma
import Glibc
import Synchronization
import SystemPackage

/// A file descriptor that came with a message; closed with the last reference.
package final class SharedDescriptor: Sendable {
  private let owned: OwnedFileDescriptor
  package init(owning fd: CInt) { owned = OwnedFileDescriptor(owning: fd) }
  package var rawValue: CInt { owned.rawValue }
}

/// One message with what came along.
package struct VFIOUserMessage: Sendable {
  package var header: VFIOUserHeader
  package var payload: [UInt8]
  package var descriptors: [SharedDescriptor]

  package init(header: VFIOUserHeader, payload: [UInt8], descriptors: [SharedDescriptor]) {
    self.header = header
    self.payload = payload
    self.descriptors = descriptors
  }
}

/// Why a socket can carry no further message.
package enum VFIOUserSocketError: Error, Hashable, Sendable {
  /// The peer closed it, at a message boundary or within one.
  case closed
  /// A started message did not become complete, or a reader did not take ours, in time.
  case timedOut
  /// The stream cannot be trusted any more.
  case malformed(String)
  /// The caller asked to stop.
  case stopped
  /// A system call failed.
  case system(SystemCallError)
}

/// A connected vfio-user stream: whole messages with their file descriptors.
///
/// Any thread may send; one thread at a time receives.
package final class VFIOUserSocket: Sendable {
  private let socket: OwnedFileDescriptor
  private let writer = Mutex<Void>(())
  /// How long a peer may take for the rest of a message that it began, and for taking ours.
  private let patience: Duration

  package init(_ socket: consuming OwnedFileDescriptor, patience: Duration = .seconds(10)) {
    self.socket = socket
    self.patience = patience
  }

  package var rawValue: CInt { socket.rawValue }

  /// Makes every later send and receive fail, also those under way.
  package func shutdown() { _ = Glibc.shutdown(socket.rawValue, CInt(SHUT_RDWR)) }

  /// A connection to the server at `path`, within `timeout`.
  package static func connect(
    path: String, timeout: Duration = .seconds(5)
  ) throws(SystemCallError) -> OwnedFileDescriptor {
    // Non-blocking, because a stopped server with a full queue would hold the caller for ever.
    let flags = CInt(SOCK_STREAM.rawValue) | CInt(SOCK_CLOEXEC.rawValue)
    let fd = OwnedFileDescriptor(
      owning: try systemCall("socket", on: path) {
        Glibc.socket(AF_UNIX, flags | CInt(SOCK_NONBLOCK.rawValue), 0)
      })
    var address = sockaddr_un()
    let number = fd.rawValue
    // The path is a NUL-terminated copy and the address lives for the calls.
    _ = try systemCall("connect", on: path) { unsafe netdma_unix_address(path, &address) }
    let deadline = Deadline(after: timeout)
    while true {
      do throws(SystemCallError) {
        _ = try systemCall("connect", on: path) { unsafe netdma_unix_connect(number, &address) }
        return fd
      } catch {
        // The queue is full; nothing tells when it is not.
        guard error.errno == .resourceTemporarilyUnavailable, !deadline.hasPassed else {
          // The kernel says the same of a file that is no socket as of a socket that nobody listens to.
          guard error.errno == .connectionRefused, !isSocket(path) else { throw error }
          throw SystemCallError(call: error.call, subject: path, errno: .notSocket)
        }
        _ = usleep(2000)
      }
    }
  }

  private static func isSocket(_ path: String) -> Bool {
    var status = stat()
    // The structure lives for the call.
    return unsafe stat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFSOCK
  }

  // MARK: - Sending

  /// Sends one message; header and payload leave in one call as far as the kernel takes them.
  package func send(
    _ header: VFIOUserHeader, payload: [UInt8], descriptors: [CInt] = []
  ) throws(VFIOUserSocketError) {
    var header = header
    header.size = UInt32(VFIOUserHeader.size + payload.count)
    let bytes = header.bytes + payload
    let deadline = Deadline(after: patience)
    try writer.withLock { _ throws(VFIOUserSocketError) in
      var sent = 0
      while sent < bytes.count {
        let first = sent == 0
        let count = unsafe bytes.withUnsafeBytes { buffer -> Int in
          guard let base = buffer.baseAddress else { return 0 }
          return unsafe descriptors.withUnsafeBufferPointer { fds -> Int in
            // Both buffers live for the call; descriptors go with the first byte alone.
            unsafe netdma_send_fds(
              socket.rawValue, base + sent, bytes.count - sent, nil, 0, fds.baseAddress,
              first ? CInt(fds.count) : 0, CInt(MSG_DONTWAIT))
          }
        }
        if count > 0 {
          sent += count
          continue
        }
        try recover(from: Glibc.errno, call: "sendmsg")
        try wait(for: Int16(POLLOUT), until: deadline)
      }
    }
  }

  /// Nothing for what only needs another try.
  private func recover(from code: CInt, call: String) throws(VFIOUserSocketError) {
    switch code {
    case EINTR, EAGAIN: return
    case EPIPE, ECONNRESET, ENOTCONN: throw .closed
    default:
      throw .system(
        SystemCallError(call: call, subject: "vfio-user socket", errno: Errno(rawValue: code)))
    }
  }

  // MARK: - Receiving

  /// The next message, however long it takes to begin, or until `limit` for its first byte.
  ///
  /// `stop` is an eventfd that ends the wait.
  package func receive(
    maximum: Int = VFIOUser.maximumMessage, stop: CInt = -1, firstBy limit: Deadline? = nil
  ) throws(VFIOUserSocketError) -> VFIOUserMessage {
    try wait(for: Int16(POLLIN), until: limit, stop: stop)
    var descriptors: [SharedDescriptor] = []
    var isTruncated = false
    let deadline = Deadline(after: patience)
    let head = try read(VFIOUserHeader.size, &descriptors, &isTruncated, deadline)
    guard let header = VFIOUserHeader(head) else { throw .malformed("The header is incomplete.") }
    let size = Int(header.size)
    guard (VFIOUserHeader.size...maximum).contains(size) else {
      throw .malformed("The message size \(size) is outside 16 to \(maximum).")
    }
    let withHeader = descriptors.count
    let payload = try read(size - VFIOUserHeader.size, &descriptors, &isTruncated, deadline)
    if isTruncated { throw .malformed("File descriptors were lost on the way.") }
    guard descriptors.count == withHeader else {
      throw .malformed("File descriptors came in the middle of a message.")
    }
    return VFIOUserMessage(header: header, payload: payload, descriptors: descriptors)
  }

  /// Exactly `count` bytes; never one more, since that could take the next message's descriptors.
  private func read(
    _ count: Int, _ descriptors: inout [SharedDescriptor], _ isTruncated: inout Bool,
    _ deadline: Deadline
  ) throws(VFIOUserSocketError) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: count)
    var received = 0
    var fds = [CInt](repeating: -1, count: Int(NETDMA_MAX_FDS))
    while received < count {
      var fdCount: CInt = 0
      var truncated: CInt = 0
      let result = unsafe bytes.withUnsafeMutableBytes { buffer -> Int in
        guard let base = buffer.baseAddress else { return 0 }
        return unsafe fds.withUnsafeMutableBufferPointer { list -> Int in
          guard let first = list.baseAddress else { return 0 }
          // Both buffers live for the call, and `list` has room for every descriptor.
          return unsafe netdma_recv_fds(
            socket.rawValue, base + received, count - received, first, &fdCount, &truncated,
            CInt(MSG_DONTWAIT))
        }
      }
      for index in 0..<Int(max(0, fdCount)) {
        descriptors.append(SharedDescriptor(owning: fds[index]))
      }
      if truncated != 0 { isTruncated = true }
      // Byte by byte a peer could have this process hold any number.
      guard descriptors.count <= VFIOUser.toleratedDescriptors else {
        throw .malformed(
          "More than \(VFIOUser.toleratedDescriptors) file descriptors came at once.")
      }
      if result > 0 {
        received += result
        continue
      }
      if result == 0 { throw .closed }
      try recover(from: Glibc.errno, call: "recvmsg")
      try wait(for: Int16(POLLIN), until: deadline)
    }
    return bytes
  }

  /// Waits until the socket is ready for `events`, or fails when `stop` becomes readable.
  private func wait(
    for events: Int16, until deadline: Deadline?, stop: CInt = -1
  ) throws(VFIOUserSocketError) {
    // poll passes over negative descriptors.
    var list = [
      pollfd(fd: rawValue, events: events, revents: 0),
      pollfd(fd: stop, events: Int16(POLLIN), revents: 0),
    ]
    while true {
      // The array lives for the call.
      let count = unsafe poll(&list, nfds_t(list.count), deadline?.pollTimeout ?? -1)
      if count < 0 {
        try recover(from: Glibc.errno, call: "poll")
        continue
      }
      if list[1].revents != 0 { throw .stopped }
      // Hang-up and error make the socket ready too: the next call on it says which.
      if count > 0 { return }
      if deadline?.hasPassed ?? false { throw .timedOut }
    }
  }
}

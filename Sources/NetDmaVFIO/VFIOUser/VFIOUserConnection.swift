// SPDX-License-Identifier: Apache-2.0

import CNetDma
import Glibc
import Logging
import Synchronization
import SystemPackage

/// The client's end of a connection: many callers, one reader thread.
///
/// A caller waits for its own reply; the reader hands replies out by message id and serves the
/// server's DMA requests. After a violation, a timeout or the peer's death every waiter and every
/// later call gets the error.
final class VFIOUserConnection: Sendable {
  let name: String
  private let socket: VFIOUserSocket
  private let logger: Logger
  private let state = Mutex(State())
  /// Memory that the server may ask us for, and the eventfds to wake when the server dies.
  let memory = Mutex<[UInt64: SharedRegion]>([:])
  private let alarm = Mutex<[IRQIndex: [CInt]]>([:])

  struct SharedRegion: Sendable {
    let address: UInt
    let size: UInt64
    let permissions: DMAPermissions
  }

  private struct State {
    var waiters: [UInt16: Waiter] = [:]
    var nextID: UInt16 = 1
    var failure: VFIOError?
  }

  private final class Waiter: Sendable {
    let command: VFIOUserCommand
    let arrived = Signal()
    let reply = Mutex<VFIOUserMessage?>(nil)
    init(_ command: VFIOUserCommand) { self.command = command }
  }

  init(name: String, socket: VFIOUserSocket, logger: Logger) {
    self.name = name
    self.socket = socket
    self.logger = logger
  }

  // MARK: - Asking

  /// Sends a command and waits for its reply's payload and descriptors.
  func request(
    _ command: VFIOUserCommand, _ payload: [UInt8], descriptors: [CInt] = [],
    timeout: Duration = .seconds(5)
  ) throws(VFIOError) -> (payload: [UInt8], descriptors: [SharedDescriptor]) {
    let waiter = Waiter(command)
    let id = try enroll(waiter)
    try send(
      VFIOUserHeader(id: id, command: command, size: 0, flags: VFIOUserHeader.typeCommand),
      payload, descriptors)
    guard waiter.arrived.wait(for: timeout) else {
      let seconds = Double(timeout / .milliseconds(1)) / 1000
      // A late reply could never be matched safely.
      let error = VFIOError.timedOut(device: name, command: "\(command)", seconds: seconds)
      fail(error)
      throw error
    }
    guard let reply = waiter.reply.withLock({ $0 }) else { throw failure ?? disconnected }
    if reply.header.isError {
      let code = reply.header.error
      let errno = (1...4095).contains(code) ? CInt(code) : EINVAL
      throw .refused(device: name, command: "\(command)", errno: Errno(rawValue: errno))
    }
    return (reply.payload, reply.descriptors)
  }

  /// Sends a command that gets no reply; it stays in order with every later one.
  func post(_ command: VFIOUserCommand, _ payload: [UInt8]) throws(VFIOError) {
    if let failure { throw failure }
    let flags = VFIOUserHeader.typeCommand | VFIOUserHeader.noReply
    try send(VFIOUserHeader(id: 0, command: command, size: 0, flags: flags), payload, [])
  }

  private func send(
    _ header: VFIOUserHeader, _ payload: [UInt8], _ descriptors: [CInt]
  ) throws(VFIOError) {
    do throws(VFIOUserSocketError) {
      try socket.send(header, payload: payload, descriptors: descriptors)
    } catch {
      fail(translate(error, header.command))
      throw failure ?? disconnected
    }
  }

  private func enroll(_ waiter: Waiter) throws(VFIOError) -> UInt16 {
    try state.withLock { state throws(VFIOError) in
      if let failure = state.failure { throw failure }
      // At most as many waiters as threads, so a free id is near; 0 is for posted commands.
      while state.nextID == 0 || state.waiters[state.nextID] != nil { state.nextID &+= 1 }
      let id = state.nextID
      state.nextID &+= 1
      state.waiters[id] = waiter
      return id
    }
  }

  private var failure: VFIOError? { state.withLock { $0.failure } }
  private var disconnected: VFIOError { .disconnected(device: name) }

  private func translate(_ error: VFIOUserSocketError, _ command: VFIOUserCommand?) -> VFIOError {
    switch error {
    case .closed, .stopped: disconnected
    case .timedOut:
      .timedOut(device: name, command: command.map { "\($0)" } ?? "a message", seconds: 10)
    case .malformed(let detail):
      .protocolViolation(
        device: name, command: command.map { "\($0)" } ?? "a message", detail: detail)
    case .system(let error): .system(device: name, error: error)
    }
  }

  /// Reports a message that breaks the protocol; nothing can be said over the connection any more.
  func violation(_ command: VFIOUserCommand, _ detail: String) -> VFIOError {
    let error = VFIOError.protocolViolation(
      device: name, command: "\(command)", detail: detail)
    fail(error)
    return error
  }

  /// Ends the connection: the first error is the one that everybody gets.
  func fail(_ error: VFIOError) {
    let waiters = state.withLock { state -> [Waiter] in
      if state.failure != nil { return [] }
      state.failure = error
      let waiters = Array(state.waiters.values)
      state.waiters = [:]
      return waiters
    }
    socket.shutdown()
    for waiter in waiters { waiter.arrived.set() }
    // No interrupt will come any more: whoever waits for one shall look, and find out.
    alarm.withLock { connected in
      for fd in connected.values.joined() where fd >= 0 { EventFD.signal(fd) }
    }
  }

  /// The eventfds of an interrupt index, which stay open until this is called with none.
  func setAlarm(_ index: IRQIndex, _ eventFDs: [CInt]) {
    alarm.withLock { $0[index] = eventFDs }
    if failure != nil {
      for fd in eventFDs where fd >= 0 { EventFD.signal(fd) }
    }
  }

  // MARK: - The reader thread

  /// Reads until the connection ends.
  func run() {
    while true {
      let message: VFIOUserMessage
      do throws(VFIOUserSocketError) {
        message = try socket.receive()
      } catch {
        fail(translate(error, nil))
        return
      }
      if message.header.isReply {
        guard take(message) else { return }
      } else if message.header.isCommand {
        guard serve(message) else { return }
      } else {
        _ = violation(message.header.command, "The message is neither command nor reply.")
        return
      }
    }
  }

  private func take(_ message: VFIOUserMessage) -> Bool {
    let header = message.header
    let waiter = state.withLock { $0.waiters.removeValue(forKey: header.id) }
    guard let waiter else {
      _ = violation(header.command, "A reply came that nobody asked for (id \(header.id)).")
      return false
    }
    guard waiter.command == header.command else {
      defer { waiter.arrived.set() }
      _ = violation(header.command, "The reply is to \(header.command), not \(waiter.command).")
      return false
    }
    waiter.reply.withLock { $0 = message }
    waiter.arrived.set()
    return true
  }

  /// Answers DMA_READ and DMA_WRITE within our own mappings; refuses all else.
  private func serve(_ message: VFIOUserMessage) -> Bool {
    let header = message.header
    var reader = WireReader(message.payload)
    var answer: [UInt8]?
    var code = ENOSYS
    if header.command == .dmaRead || header.command == .dmaWrite {
      code = EINVAL
      if let address = reader.u64(), let count = reader.u64(),
        count <= UInt64(VFIOUser.maximumTransfer)
      {
        if header.command == .dmaRead {
          answer = read(address, Int(count))
        } else if let data = reader.take(Int(count)), reader.remaining == 0 {
          answer = write(address, data)
        }
        if answer == nil { code = EFAULT }
      }
    }
    guard header.wantsReply else { return true }
    var reply = VFIOUserHeader(
      id: header.id, command: header.command, size: 0, flags: VFIOUserHeader.typeReply)
    if answer == nil {
      reply.flags |= VFIOUserHeader.errorFlag
      reply.error = UInt32(code)
    }
    do throws(VFIOError) { try send(reply, answer ?? [], []) } catch { return false }
    return true
  }

  private func prefix(_ address: UInt64, _ count: Int) -> WireWriter {
    var writer = WireWriter()
    writer.u64(address)
    writer.u64(UInt64(count))
    return writer
  }

  private func read(_ address: UInt64, _ count: Int) -> [UInt8]? {
    var writer = prefix(address, count)
    var bytes = [UInt8](repeating: 0, count: count)
    let isDone = memory.withLock { regions -> Bool in
      guard let source = Self.pointer(regions, address, count, .read) else { return false }
      // The region stays mapped while its entry is in the table, whose lock is held.
      return unsafe bytes.withUnsafeMutableBytes { buffer in
        if let base = buffer.baseAddress, let from = unsafe UnsafeRawPointer(bitPattern: source) {
          unsafe memcpy(base, from, count)
        }
        return true
      }
    }
    guard isDone else { return nil }
    writer.append(bytes)
    return writer.bytes
  }

  private func write(_ address: UInt64, _ data: [UInt8]) -> [UInt8]? {
    let isDone = memory.withLock { regions -> Bool in
      guard let target = Self.pointer(regions, address, data.count, .write) else { return false }
      // As in `read`.
      return unsafe data.withUnsafeBytes { buffer in
        if let base = buffer.baseAddress,
          let to = unsafe UnsafeMutableRawPointer(bitPattern: target)
        {
          unsafe memcpy(to, base, data.count)
        }
        return true
      }
    }
    return isDone ? prefix(address, data.count).bytes : nil
  }

  /// Where `count` bytes at `address` are in this process, if one mapping holds them all.
  private static func pointer(
    _ regions: [UInt64: SharedRegion], _ address: UInt64, _ count: Int,
    _ permission: DMAPermissions
  ) -> UInt? {
    for (start, region) in regions where address >= start && address - start < region.size {
      guard UInt64(count) <= region.size - (address - start),
        region.permissions.contains(permission)
      else { return nil }
      return region.address + UInt(address - start)
    }
    return nil
  }
}

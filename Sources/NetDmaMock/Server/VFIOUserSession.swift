// SPDX-License-Identifier: Apache-2.0

import Glibc
import Logging
import NetDmaVFIO
import Synchronization

/// One client's connection to an emulated function.
///
/// Nothing that the client sends is trusted: a message that cannot be understood gets an error reply,
/// a stream that cannot be trusted is closed, and neither touches memory outside the client's own.
final class VFIOUserSession: Sendable {
  let function: EmulatedFunction
  let socket: VFIOUserSocket
  private let logger: Logger
  private let peer = Mutex(VFIOUserCapabilities())
  let remote: SessionMemory
  /// Whether the client may map a page to ring doorbells in.
  let mapsDoorbells: Bool

  /// Why a session ended.
  enum End: Equatable {
    case clientLeft
    case stopped
    case violation(String)
  }

  /// An errno to answer a command with.
  struct Refusal: Error {
    let errno: CInt
    init(_ errno: CInt) { self.errno = errno }
  }

  /// What a command is answered with.
  struct Answer {
    var payload: [UInt8]
    /// The page whose file goes along.
    var page: DoorbellPage?

    init(_ payload: [UInt8], page: DoorbellPage? = nil) {
      self.payload = payload
      self.page = page
    }
  }

  /// Descriptors that the client takes in one message.
  var peerDescriptors: Int { peer.withLock { $0.maximumDescriptors } }

  /// A client has this long for its first message.
  private static let greeting: Duration = .seconds(10)

  init(
    function: EmulatedFunction, socket: VFIOUserSocket, mapsDoorbells: Bool, logger: Logger
  ) {
    self.function = function
    self.mapsDoorbells = mapsDoorbells
    self.socket = socket
    self.logger = logger
    remote = SessionMemory(socket)
  }

  /// Serves until the client leaves, breaks the protocol, or `stop` is signalled.
  ///
  /// `onEnd` is called as soon as the client counts as gone, before the function is reset.
  func run(stop: CInt, onEnd: () -> Void) -> End {
    var isGreeted = false
    defer {
      onEnd()
      remote.close()
      function.disconnect()
      socket.shutdown()
    }
    while true {
      do throws(VFIOUserSocketError) {
        let message = try socket.receive(
          stop: stop, firstBy: isGreeted ? nil : Deadline(after: Self.greeting))
        if message.header.isReply {
          guard remote.take(message) else { return .violation("a reply to nothing") }
          continue
        }
        guard message.header.isCommand else { return .violation("a message of no known type") }
        if isGreeted {
          try answer(message)
        } else {
          guard message.header.command == .version, try greet(message) else {
            return .violation("no valid VERSION")
          }
          isGreeted = true
          function.memory.setRemote(remote)
        }
      } catch {
        switch error {
        case .closed: return .clientLeft
        case .stopped: return .stopped
        case .timedOut: return .violation("a message that was not finished in time")
        case .malformed(let detail): return .violation(detail)
        case .system(let error): return .violation("\(error)")
        }
      }
    }
  }

  private func reply(
    to header: VFIOUserHeader, _ answer: Answer
  ) throws(VFIOUserSocketError) {
    guard header.wantsReply else { return }
    // The page lives until its descriptor is sent.
    defer { withExtendedLifetime(answer.page) {} }
    try socket.send(
      VFIOUserHeader(
        id: header.id, command: header.command, size: 0, flags: VFIOUserHeader.typeReply),
      payload: answer.payload, descriptors: answer.page.map { [$0.fileDescriptor] } ?? [])
  }

  private func refuse(
    _ header: VFIOUserHeader, _ errno: CInt
  ) throws(VFIOUserSocketError) {
    guard header.wantsReply else { return }
    try socket.send(
      VFIOUserHeader(
        id: header.id, command: header.command, size: 0,
        flags: VFIOUserHeader.typeReply | VFIOUserHeader.errorFlag, error: UInt32(errno)),
      payload: [])
  }

  // MARK: - VERSION

  private func greet(_ message: VFIOUserMessage) throws(VFIOUserSocketError) -> Bool {
    var reader = WireReader(message.payload)
    guard message.descriptors.isEmpty, let major = reader.u16(), reader.u16() != nil, major == 0,
      let offer = offer(reader.take(reader.remaining) ?? [])
    else {
      try refuse(message.header, EINVAL)
      return false
    }
    peer.withLock { $0 = offer }
    remote.setLimit(offer.maximumTransfer)
    var answer = VFIOUserCapabilities.own
    // Nothing beyond what the client proposed.
    answer.maximumTransfer = min(answer.maximumTransfer, offer.maximumTransfer)
    answer.maximumMappings = min(answer.maximumMappings, offer.maximumMappings)
    var writer = WireWriter()
    writer.u16(0)
    writer.u16(0)
    writer.append(answer.json)
    try reply(to: message.header, Answer(writer.bytes))
    return true
  }

  /// What the client offers; a client without JSON offers the defaults, and takes what we say.
  private func offer(_ json: [UInt8]) -> VFIOUserCapabilities? {
    if json.isEmpty { return .own }
    guard json.count <= VFIOUser.maximumJSON, json.last == 0 else { return nil }
    return VFIOUserCapabilities(json: Array(json.dropLast()))
  }

  // MARK: - Commands

  private func answer(_ message: VFIOUserMessage) throws(VFIOUserSocketError) {
    let answer: Answer
    do throws(Refusal) {
      answer = try carryOut(message)
    } catch {
      logger.debug(
        "refused",
        metadata: ["command": "\(message.header.command)", "errno": "\(error.errno)"])
      return try refuse(message.header, error.errno)
    }
    try reply(to: message.header, answer)
  }

  private func carryOut(_ message: VFIOUserMessage) throws(Refusal) -> Answer {
    if message.header.command == .deviceGetRegionInfo, message.descriptors.isEmpty {
      var reader = WireReader(message.payload)
      return try regionInfo(&reader)
    }
    return Answer(try payload(for: message))
  }

  /// Carries out a command whose answer brings no descriptor; gives the reply's payload.
  private func payload(for message: VFIOUserMessage) throws(Refusal) -> [UInt8] {
    let command = message.header.command
    // DMA_UNMAP needs none, but SPDK's client sends the file's along.
    let takesDescriptors = [.dmaMap, .dmaUnmap, .deviceSetIRQs].contains(command)
    // Descriptors that belong nowhere close with the message.
    guard message.descriptors.isEmpty || takesDescriptors else { throw Refusal(EINVAL) }
    var reader = WireReader(message.payload)
    switch command {
    case .version: throw Refusal(EINVAL)
    case .dmaMap: return try map(&reader, message.descriptors)
    case .dmaUnmap: return try unmap(&reader)
    case .deviceGetInfo: return try deviceInfo(&reader)
    case .deviceGetRegionIOFDs: return try regionIOFDs(&reader)
    case .deviceGetIRQInfo: return try irqInfo(&reader)
    case .deviceSetIRQs: return try setIRQs(&reader, message.descriptors)
    case .regionRead: return try regionRead(&reader)
    case .regionWrite: return try regionWrite(&reader)
    case .regionWriteMulti: return try regionWriteMulti(&reader)
    case .deviceReset:
      guard reader.remaining == 0 else { throw Refusal(EINVAL) }
      function.reset()
      return []
    case .deviceFeature, .migrationDataRead, .migrationDataWrite: throw Refusal(ENOTTY)
    default: throw Refusal(ENOSYS)
    }
  }
}

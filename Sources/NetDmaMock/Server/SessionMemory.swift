// SPDX-License-Identifier: Apache-2.0

import NetDmaVFIO
import Synchronization

/// Client memory without a file, reached by DMA_READ and DMA_WRITE messages from engine threads.
///
/// Nothing here waits for the client on the thread that receives its answers.
final class SessionMemory: RemoteMemory {
  private let socket: VFIOUserSocket
  private let state = Mutex(State())
  /// A client that does not answer in this time is taken as refusing.
  private static let patience: Duration = .seconds(2)
  /// The id of stores that nobody waits for one by one.
  private static let storeID: UInt16 = 0

  private struct State {
    var waiters: [UInt16: Waiter] = [:]
    var nextID: UInt16 = 1
    var isClosed = false
    var limit = 4096
    var layout: DMAMessageLayout?
    /// Stores that were sent, and those that were answered; the client answers in order.
    var storesSent = 0
    var storesAnswered = 0
    /// Who waits for how many answered stores.
    var settlers: [(count: Int, settled: Signal)] = []
  }

  private final class Waiter: Sendable {
    let arrived = Signal()
    let reply = Mutex<VFIOUserMessage?>(nil)
  }

  init(_ socket: VFIOUserSocket) { self.socket = socket }

  /// The largest count that the client takes.
  func setLimit(_ limit: Int) { state.withLock { $0.limit = min(limit, Self.largestPiece) } }

  /// What goes into a socket at once, for several channels at a time: QEMU sends a reply with one write,
  /// and what the socket does not take of it is lost.
  private static let largestPiece = 16 << 10

  /// Nobody answers any more.
  func close() {
    state.withLock { $0.isClosed = true }
    abandon()
  }

  func abandon() {
    let signals = state.withLock { state in
      defer {
        state.waiters = [:]
        state.settlers = []
      }
      return state.waiters.values.map(\.arrived) + state.settlers.map(\.settled)
    }
    for signal in signals { signal.set() }
  }

  /// A reply for a thread that waits here; false when nobody asked for it.
  func take(_ message: VFIOUserMessage) -> Bool {
    if message.header.id == Self.storeID { return takeStore(message) }
    let waiter = state.withLock { $0.waiters.removeValue(forKey: message.header.id) }
    guard let waiter else {
      // A reply that came too late was asked for once; ids are never that far apart otherwise.
      return message.header.command == .dmaRead || message.header.command == .dmaWrite
    }
    waiter.reply.withLock { $0 = message }
    waiter.arrived.set()
    return true
  }

  private func takeStore(_ message: VFIOUserMessage) -> Bool {
    guard message.header.command == .dmaWrite else { return false }
    let settled = state.withLock { state -> [Signal] in
      // No more than were sent: an answer may come when it is not waited for any more.
      state.storesAnswered = min(state.storesAnswered + 1, state.storesSent)
      let settled = state.settlers.filter { $0.count <= state.storesAnswered }.map(\.settled)
      state.settlers.removeAll { $0.count <= state.storesAnswered }
      return settled
    }
    for signal in settled { signal.set() }
    return true
  }

  private func ask(_ command: VFIOUserCommand, _ payload: [UInt8]) -> [UInt8]? {
    let waiter = Waiter()
    let id = state.withLock { state -> UInt16? in
      if state.isClosed { return nil }
      // At most one waiter for each engine, so a free id is near.
      while state.nextID == Self.storeID || state.waiters[state.nextID] != nil {
        state.nextID &+= 1
      }
      defer { state.nextID &+= 1 }
      state.waiters[state.nextID] = waiter
      return state.nextID
    }
    guard let id else { return nil }
    defer { _ = state.withLock { $0.waiters.removeValue(forKey: id) } }
    guard send(command, id, payload), waiter.arrived.wait(for: Self.patience),
      let reply = waiter.reply.withLock({ $0 }), !reply.header.isError,
      reply.header.command == command
    else { return nil }
    return reply.payload
  }

  private func send(_ command: VFIOUserCommand, _ id: UInt16, _ payload: [UInt8]) -> Bool {
    let header = VFIOUserHeader(
      id: id, command: command, size: 0, flags: VFIOUserHeader.typeCommand)
    do throws(VFIOUserSocketError) {
      try socket.send(header, payload: payload)
      return true
    } catch { return false }
  }

  // MARK: - Reading

  func read(_ address: UInt64, _ count: Int) -> [UInt8]? {
    let limit = state.withLock { $0.limit }
    var bytes: [UInt8] = []
    while bytes.count < count {
      let piece = min(limit, count - bytes.count)
      guard let data = readPiece(address + UInt64(bytes.count), piece) else { return nil }
      bytes += data
    }
    return bytes
  }

  private func answer(_ address: UInt64, _ count: Int) -> DMAReadAnswer? {
    ask(.dmaRead, DMAReadAnswer.question(address, count)).flatMap {
      DMAReadAnswer($0, address: address, count: count)
    }
  }

  private func readPiece(_ address: UInt64, _ count: Int) -> [UInt8]? {
    // Another round only where the client changed the memory while it was being looked at.
    for _ in 0..<8 {
      guard let answer = answer(address, count) else { return nil }
      if let layout = state.withLock({ $0.layout }) { return answer.data(layout) }
      // Zeros are zeros wherever they begin.
      guard let first = answer.firstByte else { return answer.data(.specified) }
      if let layout = answer.evidentLayout { return learn(layout, from: answer) }
      for layout in DMAMessageLayout.allCases {
        // A byte that is there and not 0 if this is the layout, looked at alone.
        let place = first - layout.dataOffset
        guard (0..<count).contains(place) else { continue }
        guard let probe = self.answer(address + UInt64(place), 1) else { return nil }
        if let layout = probe.evidentLayout { return learn(layout, from: answer) }
      }
    }
    return nil
  }

  private func learn(_ layout: DMAMessageLayout, from answer: DMAReadAnswer) -> [UInt8]? {
    state.withLock { $0.layout = layout }
    return answer.data(layout)
  }

  // MARK: - Writing

  func write(_ address: UInt64, _ bytes: [UInt8]) -> Bool {
    let limit = state.withLock { $0.limit }
    var done = 0
    while done < bytes.count {
      let piece = Array(bytes[done..<min(done + limit, bytes.count)])
      guard writePiece(address + UInt64(done), piece) else { return false }
      done += piece.count
    }
    return true
  }

  private func writePiece(_ address: UInt64, _ bytes: [UInt8]) -> Bool {
    let layout = state.withLock { $0.layout }
    guard ask(.dmaWrite, (layout ?? .specified).writeQuestion(address, bytes)) != nil else {
      return false
    }
    // The first message of a client that has answered no telling read: what became of it tells.
    guard layout == nil, let written = readPiece(address, bytes.count), written != bytes else {
      return true
    }
    let found = state.withLock { state in
      // What was written and is not there, not even elsewhere, was moved out of the range.
      if state.layout == nil { state.layout = .early }
      return state.layout
    }
    return found != .early
      || ask(.dmaWrite, DMAMessageLayout.early.writeQuestion(address, bytes)) != nil
  }

  // MARK: - Stores that nobody waits for

  func post(_ address: UInt64, _ bytes: [UInt8]) -> Bool {
    let layout = state.withLock { state -> DMAMessageLayout? in
      guard !state.isClosed else { return nil }
      state.storesSent += 1
      return state.layout ?? .specified
    }
    guard let layout else { return false }
    return send(.dmaWrite, Self.storeID, layout.writeQuestion(address, bytes))
  }

  func settle() {
    let settled = state.withLock { state -> Signal? in
      guard !state.isClosed, state.storesAnswered < state.storesSent else { return nil }
      let settled = Signal()
      state.settlers.append((state.storesSent, settled))
      return settled
    }
    guard let settled, !settled.wait(for: Self.patience) else { return }
    // A client that does not answer stores is not waited for again.
    state.withLock { state in
      state.settlers.removeAll { $0.settled === settled }
      state.storesAnswered = state.storesSent
    }
  }
}

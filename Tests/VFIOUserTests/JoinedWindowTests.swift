// SPDX-License-Identifier: Apache-2.0

import Glibc
import NetDmaVFIO
import Testing

@testable import NetDmaMock

/// Mappings that follow one another in address and file are one window; what is unmapped is gone.
@Suite("vfio-user: mappings that join")
struct JoinedWindowTests {
  private static let page: UInt64 = 4096
  private let memory = ClientMemory()
  private let file: MemoryFile
  private let descriptor: SharedDescriptor

  init() throws {
    file = try MemoryFile(size: 64 * 4096)
    descriptor = SharedDescriptor(owning: dup(file.fd))
  }

  private func map(
    _ page: UInt64, at offset: UInt64? = nil, _ permissions: DMAPermissions = .readWrite
  ) throws {
    try memory.map(
      first: page * Self.page, size: Self.page, permissions: permissions, file: descriptor,
      offset: (offset ?? page) * Self.page)
  }

  private func byte(_ page: UInt64) throws -> UInt8 {
    var byte: UInt8 = 0
    try withUnsafeMutableBytes(of: &byte) { try memory.read(page * Self.page, into: $0) }
    return byte
  }

  @Test("pages in any order become one window, which reaches each page's own bytes")
  func order() throws {
    for page: UInt64 in [3, 1, 2, 0, 7, 5, 6, 4] { try map(page) }
    #expect(memory.mappingCount == 1)
    for page in 0..<8 { file.write([UInt8(page + 1)], at: page * 4096) }
    for page: UInt64 in 0..<8 { #expect(try byte(page) == UInt8(page + 1)) }
  }

  @Test("what differs in file, place, rights or address stays apart")
  func apart() throws {
    try map(0)
    try map(1, at: 5)
    try map(2, at: 6, .read)
    try map(4)
    let other = try MemoryFile(size: 64 * 4096)
    try memory.map(
      first: 5 * Self.page, size: Self.page, permissions: .readWrite,
      file: SharedDescriptor(owning: dup(other.fd)), offset: 5 * Self.page)
    try memory.map(
      first: 6 * Self.page, size: Self.page, permissions: .readWrite, file: nil, offset: 0)
    #expect(memory.mappingCount == 6)
    #expect(throws: BusFault(address: 2 * Self.page, direction: .write)) {
      try memory.storeRelease(1, to: 2 * Self.page)
    }
  }

  @Test("a page that is unmapped from the middle is gone, and can be mapped again")
  func hole() throws {
    for page: UInt64 in 0..<8 { try map(page) }
    memory.remove(first: 3 * Self.page, last: 4 * Self.page - 1)
    #expect(memory.mappingCount == 2)
    #expect(throws: BusFault(address: 3 * Self.page, direction: .read)) { try byte(3) }
    #expect(throws: ClientMemory.Refusal.overlaps) { try map(4) }
    file.write([9], at: 3 * 4096)
    try map(3)
    #expect(memory.mappingCount == 1)
    #expect(try byte(3) == 9)
  }

  @Test(
    "ranges without a file stay apart: the client is never asked for bytes of two of its mappings")
  func withoutFile() throws {
    for page: UInt64 in 0..<3 {
      try memory.map(
        first: page * Self.page, size: Self.page, permissions: .readWrite, file: nil, offset: 0)
    }
    #expect(memory.mappingCount == 3)
    let client = RecordingClient()
    memory.setRemote(client)
    var bytes = [UInt8](repeating: 0, count: 4096)
    try bytes.withUnsafeMutableBytes { try memory.read(2048, into: $0) }
    #expect(
      client.requests == [.init(address: 2048, count: 2048), .init(address: 4096, count: 2048)])
  }

  @Test("a file is let go with the last range in it, whatever else is mapped")
  func filesGo() throws {
    try map(0)
    for index: UInt64 in 1...300 {
      let other = try MemoryFile(size: 4096)
      try memory.map(
        first: index * 2 * Self.page, size: Self.page, permissions: .readWrite,
        file: SharedDescriptor(owning: dup(other.fd)), offset: 0)
      memory.remove(first: index * 2 * Self.page, last: (index * 2 + 1) * Self.page - 1)
    }
    #expect(memory.fileCount == 1)
    file.write([7], at: 0)
    #expect(try byte(0) == 7)
    memory.removeAll()
    #expect(memory.fileCount == 0)
  }

  @Test("a client that is asked for bytes can take other memory away before it answers")
  func unmapWhileAsked() throws {
    for page: UInt64 in 0..<8 { try map(page) }
    try memory.map(
      first: 16 * Self.page, size: Self.page, permissions: .readWrite, file: nil, offset: 0)
    file.write([1, 2, 3], at: 4096)
    let client = RecordingClient()
    let isRemoved = Signal()
    client.onWrite { [memory] in
      let thread = try? PinnedThread(name: "test") { _ in
        memory.remove(first: 7 * Self.page, last: 8 * Self.page - 1)
        isRemoved.set()
      }
      thread?.detach()
      return isRemoved.wait(for: .seconds(20))
    }
    memory.setRemote(client)
    try memory.copy(from: Self.page, to: 16 * Self.page, count: 4096)
    #expect(Array(client.written.prefix(3)) == [1, 2, 3])
  }

  @Test("a window in use is not joined, so that whoever unmaps it finds its users")
  func inUse() throws {
    try map(0)
    let window = try #require(memory.enterOne(0, last: 7, .read))
    try map(1)
    #expect(memory.mappingCount == 2)
    memory.leave(window)
    try map(2)
    #expect(memory.mappingCount == 2)
  }
}

/// A client that is asked for its memory.
private final class RecordingClient: RemoteMemory {
  struct Request: Equatable {
    let address: UInt64
    let count: Int
  }
  private struct State {
    var requests: [Request] = []
    var written: [UInt8] = []
    var onWrite: @Sendable () -> Bool = { true }
  }
  private let state = Mutex(State())

  var requests: [Request] { state.withLock { $0.requests } }
  var written: [UInt8] { state.withLock { $0.written } }
  func onWrite(_ body: @escaping @Sendable () -> Bool) { state.withLock { $0.onWrite = body } }

  func read(_ address: UInt64, _ count: Int) -> [UInt8]? {
    state.withLock { $0.requests.append(Request(address: address, count: count)) }
    return [UInt8](repeating: 0, count: count)
  }
  func write(_ address: UInt64, _ bytes: [UInt8]) -> Bool {
    let answer = state.withLock { state in
      state.written += bytes
      return state.onWrite
    }
    return answer()
  }
  func post(_ address: UInt64, _ bytes: [UInt8]) -> Bool { write(address, bytes) }
  func settle() {}
  func abandon() {}
}

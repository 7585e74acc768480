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

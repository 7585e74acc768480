// SPDX-License-Identifier: Apache-2.0

import CNetDma
import Glibc
import NetDmaVFIO
import Testing

@testable import NetDmaMock

/// Clients that share no file: DMA_READ and DMA_WRITE, in the specification's layout and in QEMU's.
@Suite("vfio-user: memory by messages")
struct MessageMemoryTests {
  private static let base = MessageClient.base
  private static let page = 4096
  private static let data = 4 * page

  /// Runs one descriptor that lies in a file, as its completion word does, so that the only messages
  /// are about its data.
  private func run(_ client: MessageClient, _ words: UInt64...) throws {
    let file = try MemoryFile(size: Self.page)
    try client.ask(.dmaMap, Wire.map(at: 0x1000, size: 4096), descriptors: [file.fd])
    file.write(words.flatMap { Wire.u64s($0) }, at: 0)
    try client.write(0x98, 0x1000 + 64, width: 8)
    try client.write(0x90, 0x1000, width: 8)
    try client.write(0x86, 1, width: 2)
    // Asking for anything answers the device meanwhile.
    #expect(try eventually { try client.read(0x88, width: 8) & 7 != 0 })
    #expect(file.read(8, at: 64) == Wire.u64s(0x1001))
    #expect(try client.read(0xa8, width: 4) == 0)
  }

  /// The one descriptor at the start of the memory is done, and so says its completion word.
  private func finish(_ client: MessageClient) throws {
    try client.serve { client.word(64) != 0 }
    #expect(client.word(64) == Self.base | 1)
  }

  @Test(
    "a copy arrives whole, whatever its first and last bytes are",
    arguments: MessageClient.Layout.allCases, ["zeros first", "zeros last", "zeros around", "full"])
  func copies(layout: MessageClient.Layout, kind: String) throws {
    let emulator = try Emulator()
    let client = try MessageClient(emulator, layout, bytes: 12 * Self.page, transfer: 4096)
    // One message each, or several and the last one of 1 byte.
    let count = kind == "full" ? 2 * Self.page + 1 : 2000
    for index in 0..<count { client.memory[Self.data + index] = UInt8(index % 251 + 1) }
    let source = Self.data..<Self.data + count
    let zeros = [UInt8](repeating: 0, count: 16)
    if kind != "zeros last", kind != "full" {
      client.memory.replaceSubrange(source.prefix(16), with: zeros)
    }
    if kind != "zeros first", kind != "full" {
      client.memory.replaceSubrange(source.suffix(16), with: zeros)
    }
    let expected = Array(client.memory[source])
    try run(
      client, UInt64(count) | 0x8 << 32, Self.base + UInt64(Self.data),
      Self.base + UInt64(2 * Self.data), 0x1000)
    #expect(Array(client.memory[2 * Self.data..<2 * Self.data + count]) == expected)
    #expect(client.memory[(2 * Self.data + count)...].allSatisfy { $0 == 0 })
  }

  @Test(
    "the layout is found in a descriptor that is nearly all zeros",
    arguments: MessageClient.Layout.allCases)
  func sparseDescriptor(layout: MessageClient.Layout) throws {
    let emulator = try Emulator()
    let client = try MessageClient(emulator, layout, bytes: 12 * Self.page)
    // Neither end of it is telling. It is refused for its length of 0, as it would not be if it were
    // read 4 bytes off.
    client.set(0, 0x8 << 32)
    try client.write(0x98, Self.base + 64, width: 8)
    try client.write(0x80, 0x0c, width: 2)
    try client.write(0x90, Self.base, width: 8)
    try client.write(0x86, 1, width: 2)
    try client.serve { client.word(64) != 0 }
    #expect(client.word(64) == 3)
    #expect(try client.read(0xa8, width: 4) == 0x800)
  }

  @Test(
    "what is written first is written right, also before anything was read",
    arguments: MessageClient.Layout.allCases)
  func firstWrite(layout: MessageClient.Layout) throws {
    let emulator = try Emulator()
    let client = try MessageClient(emulator, layout, bytes: 12 * Self.page)
    let pattern: UInt64 = 0x0807_0605_0403_0201
    try run(
      client, 24 | 0x0100_0008 << 32, pattern, Self.base + UInt64(Self.data), 0x1000)
    for word in 0..<3 { #expect(client.word(Self.data + 8 * word) == pattern) }
    #expect(client.word(Self.data + 24) == 0)
  }

  @Test("registers are answered while a completion word waits for the client")
  func registersMeanwhile() throws {
    let emulator = try Emulator()
    let client = try MessageClient(emulator, .specified, bytes: 12 * Self.page)
    // A null descriptor writes nothing but its word.
    client.set(0, 8 | 0x28 << 32, 0, 0, Self.base)
    try client.write(0x98, Self.base + 64, width: 8)
    try client.write(0x90, Self.base, width: 8)
    client.holdsStores = true
    try client.write(0x86, 1, width: 2)
    #expect(try eventually { try client.read(0x88, width: 8) & 7 == 1 })
    client.releaseStores()
    try finish(client)
  }

  @Test("an interrupt does not overtake the completion word that it is about")
  func interruptOrder() throws {
    let emulator = try Emulator()
    let client = try MessageClient(emulator, .specified, bytes: 12 * Self.page)
    let event = try EventFD()
    try client.ask(.deviceSetIRQs, Wire.setIRQs(flags: 0x24), descriptors: [event.rawValue])
    try client.write(3, 9, width: 1)
    for round in 1...50 {
      client.set(64, 0)
      client.set(0, 8 | 0x29 << 32, 0, 0, Self.base)
      try client.write(0x98, Self.base + 64, width: 8)
      try client.write(0x90, Self.base, width: 8)
      client.holdsStores = true
      try client.write(0x86, 1, width: 2)
      // The store was sent when the channel says that it is done.
      #expect(try eventually { try client.read(0x88, width: 8) & 7 == 1 })
      #expect(event.drain() == 0, "round \(round)")
      client.releaseStores()
      try finish(client)
      #expect(eventually { event.drain() == 1 }, "round \(round)")
      try client.write(0x80, 1, width: 2)
      try client.write(0x84, 4, width: 1)
    }
  }

  @Test("an interrupt's eventfd in blocking mode, full, is signalled without waiting")
  func fullEventFD() throws {
    let signaller = try EventSignaller()
    let event = OwnedFileDescriptor(owning: netdma_eventfd_blocking())
    for _ in 0..<100 { signaller.signal(event.rawValue) }
    #expect(EventFD.drain(event.rawValue) == 100)
    var full = UInt64.max - 1
    #expect(Glibc.write(event.rawValue, &full, 8) == 8)
    for _ in 0..<100 { signaller.signal(event.rawValue) }
    #expect(EventFD.drain(event.rawValue) >= full)
  }
}

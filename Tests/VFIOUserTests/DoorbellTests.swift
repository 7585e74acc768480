// SPDX-License-Identifier: Apache-2.0

import CNetDma
import Glibc
import NetDmaMock
import NetDmaVFIO
import Testing

@Suite("vfio-user: doorbells in memory")
struct DoorbellTests {
  private static let base: UInt64 = 0x10_0000
  private static let count: UInt64 = 0x86

  /// A client with a ring of copies of 8 bytes each, the chain's end joined to its beginning.
  private final class Ring {
    let emulator: Emulator
    let client: VFIOUserClient
    let file: MemoryFile
    let doorbells: MemoryMapping
    static let slots = 64

    init(_ emulator: Emulator) throws {
      self.emulator = emulator
      client = try emulator.client()
      file = try MemoryFile(size: 3 * 4096)
      doorbells = try client.map(.bar0, range: 0x1000..<0x2000)
      try client.mapDMA(
        DMARegion(address: 0x1000, size: 3 * 4096, file: (file.fd, 0)), at: base,
        permissions: .readWrite)
      for slot in 0..<UInt64(Self.slots) {
        let next = base + (slot + 1) % UInt64(Self.slots) * 64
        file.write(
          Wire.u64s(8 | 0x8 << 32, base + 4096 + slot * 8, base + 8192 + slot * 8, next),
          at: Int(slot) * 64)
      }
      try client.write(.configuration, at: 4, width: .word, value: 6)
      try arm()
    }

    /// Resets the channel and gives it the chain.
    func arm() throws {
      try client.write(.bar0, at: 0x84, width: .byte, value: 0x20)
      _ = try eventually { try client.read(.bar0, at: 0x84, width: .byte) & 0x20 == 0 }
      try client.write(.bar0, at: 0x98, width: .qword, value: base + 4096 + 2048)
      try client.write(.bar0, at: 0x90, width: .qword, value: base)
    }

    func ring(_ value: UInt16) {
      netdma_doorbell16(doorbells.address + Int(DoorbellTests.count), value)
    }

    var stored: UInt16 { netdma_read16(doorbells.address + Int(DoorbellTests.count)) }

    /// Whether descriptor `slot` has been carried out, and the engine is idle behind it.
    func isDone(_ slot: UInt64) throws -> Bool {
      try eventually {
        try client.read(.bar0, at: 0x88, width: .qword) == (base + slot * 64) | 1
      }
    }
  }

  @Test("the page is offered where it was asked for, and then the doorbell alone is mapped")
  func offer() throws {
    for mapsDoorbells in [false, true] {
      let emulator = try Emulator(mapsDoorbells: mapsDoorbells)
      let client = try emulator.client()
      let info = try client.regionInfo(.bar0)
      #expect(info.mappableAreas == (mapsDoorbells ? [0x1000..<0x2000] : []))
      #expect(info.doorbells == (mapsDoorbells ? 0x1000..<0x2000 : nil))
      #expect(try client.regionInfo(.configuration).mappableAreas == [])
      let window = try RegisterWindow(client)
      #expect(!window.isMapped)
      #expect((window.address(of: Self.count) != nil) == mapsDoorbells)
      for offset: UInt64 in [0x06, 0x80, 0x88, 0x90, 0xa8, 0x1086] {
        #expect(window.address(of: offset) == nil)
      }
      // By whatever way, it is the same register.
      try window.write16(Self.count, 9)
      #expect(try window.read16(Self.count) == 0, "a halted channel takes no count")
    }
  }

  @Test("the answer follows the room that the client has for it, and brings one descriptor")
  func answers() throws {
    let emulator = try Emulator(mapsDoorbells: true)
    let peer = try emulator.peer()
    let offer = Wire.version(json: "{\"capabilities\":{\"max_msg_fds\":1}}")
    #expect(try peer.errno(of: .version, offer) == 0)
    // Without room for the area that can be mapped, nothing can: the flag alone would mean all of BAR0.
    for (argsz, flags, size) in [(32, 3, 32), (79, 3, 32), (80, 15, 80), (4096, 15, 80)] {
      let reply = try #require(
        try peer.ask(.deviceGetRegionInfo, Wire.regionInfo(0, argsz: UInt32(argsz))))
      var reader = WireReader(reply.payload)
      #expect(reader.u32() == 80)
      #expect(reader.u32() == UInt32(flags))
      #expect(reply.payload.count == size)
      #expect(reply.descriptors.count == (size == 80 ? 1 : 0))
      guard size == 80 else { continue }
      #expect(fcntl(reply.descriptors[0].rawValue, F_GETFD) >= 0)
      #expect(ftruncate(reply.descriptors[0].rawValue, 0) != 0, "nobody can cut it off")
    }
    let other = try peer.ask(.deviceGetRegionInfo, Wire.regionInfo(7, argsz: 4096))
    #expect(other?.descriptors.isEmpty == true)
    peer.close()
    // Who cannot take a descriptor is offered none.
    let poor = try emulator.peer()
    let none = Wire.version(json: "{\"capabilities\":{\"max_msg_fds\":0}}")
    #expect(try poor.errno(of: .version, none) == 0)
    let reply = try poor.ask(.deviceGetRegionInfo, Wire.regionInfo(0, argsz: 4096))
    #expect(reply?.payload.count == 32)
    #expect(reply?.descriptors.isEmpty == true)
  }

  @Test("a part that has its MSI-X table where the page would be is not served with one")
  func taken() throws {
    let path = Emulator.freshPath()
    let profile = try DeviceProfile(named: "broadwell-de")
    #expect(throws: VFIOUserServerError.noRoomForDoorbells(path: path)) {
      try VFIOUserServer(path: path, profile: profile, mapsDoorbells: true, logger: Emulator.log)
    }
    #expect(access(path, F_OK) != 0)
  }

  @Test("every store is found, whether the engine runs, looks or sleeps")
  func stores() throws {
    let ring = try Ring(Emulator(mapsDoorbells: true))
    ring.file.write((0..<512).map { UInt8($0 % 255) }, at: 4096)
    for count: UInt16 in [1, 2, 10, 33, 64] {
      ring.ring(count)
      #expect(try ring.isDone(UInt64(count) - 1))
      // Past the time in which it looks without a pause, and past the one of short sleeps.
      usleep(count == 10 ? 250_000 : 2000)
    }
    #expect(ring.file.read(512, at: 8192) == (0..<512).map { UInt8($0 % 255) })
  }

  @Test("a store and the registers stay in order, either way round")
  func order() throws {
    let ring = try Ring(Emulator(mapsDoorbells: true))
    for round in 0..<200 {
      let count = UInt16(round % 3 + 1)
      ring.ring(count)
      #expect(try ring.client.read(.bar0, at: Self.count, width: .word) == UInt64(count))
      #expect(try ring.isDone(UInt64(count) - 1))
      // After a reset the same count asks for something new.
      try ring.arm()
      #expect(ring.stored == 0)
      #expect(try ring.client.read(.bar0, at: 0x88, width: .qword) & 7 == 4)
    }
    // A count that comes by message is in memory afterwards, so the next one in memory differs.
    try ring.client.write(.bar0, at: Self.count, width: .word, value: 5)
    #expect(ring.stored == 5)
    #expect(try ring.isDone(4))
    ring.ring(7)
    #expect(try ring.isDone(6))
    // The page by message, for a client that does not map it.
    try ring.client.write(.bar0, at: 0x1086, width: .word, value: 8)
    #expect(try ring.isDone(7))
    #expect(try ring.client.read(.bar0, at: 0x1086, width: .word) == 8)
  }

  @Test("a reset of the function empties the page")
  func reset() throws {
    let ring = try Ring(Emulator(mapsDoorbells: true))
    ring.ring(3)
    #expect(try ring.isDone(2))
    try ring.client.reset()
    #expect(ring.stored == 0)
    try ring.client.write(.configuration, at: 4, width: .word, value: 6)
    try ring.arm()
    ring.ring(3)
    #expect(try ring.isDone(2))
  }

  @Test("a client that left rings nobody's doorbell any more")
  func formerClient() throws {
    let emulator = try Emulator(mapsDoorbells: true)
    let old: MemoryMapping
    do {
      let client = try emulator.client()
      old = try client.map(.bar0, range: 0x1000..<0x2000)
    }
    let ring = try Ring(emulator)
    netdma_doorbell16(old.address + Int(Self.count), 9)
    usleep(20_000)
    #expect(try ring.client.read(.bar0, at: Self.count, width: .word) == 0)
    ring.ring(1)
    #expect(try ring.isDone(0))
  }

  @Test("a client that scribbles over the page harms nobody")
  func scribbling() throws {
    let emulator = try Emulator(
      ModelConfiguration(channelCount: 4, timing: .fast), mapsDoorbells: true)
    do {
      let ring = try Ring(emulator)
      let words = ring.doorbells.address.assumingMemoryBound(to: UInt16.self)
      for value in 0..<2000 as Range<UInt16> {
        for index in 0..<2048 { words[index] = value &* 31 &+ UInt16(index) }
        if value % 100 == 0 { try ring.arm() }
      }
      try ring.client.reset()
    }
    let ring = try Ring(emulator)
    ring.ring(2)
    #expect(try ring.isDone(1))
  }
}

// SPDX-License-Identifier: Apache-2.0

import Glibc
import NetDmaMock
import NetDmaVFIO
import SystemPackage
import Testing

@Suite("vfio-user: the device behind the socket")
struct DeviceTests {
  @Test(
    "copies go through shared memory, and their interrupts come back, with either doorbell",
    arguments: [true, false], [false, true])
  func copies(usesInterrupts: Bool, mapsDoorbells: Bool) async throws {
    let emulator = try Emulator(mapsDoorbells: mapsDoorbells)
    var options = DMAEngine.Options()
    options.usesInterrupts = usesInterrupts
    let engine = try DMAEngine(
      transport: emulator.client(), options: options, logger: Emulator.log)
    var source = try engine.allocate(byteCount: 3 << 20)
    let target = try engine.allocate(byteCount: 3 << 20)
    source.withMutableBytes { bytes in
      for index in 0..<bytes.byteCount / 8 {
        bytes.storeBytes(
          of: UInt64(index) &* 0x9e37_79b9_7f4a_7c15, toByteOffset: index * 8, as: UInt64.self)
      }
    }
    if usesInterrupts {
      try await engine.copy(from: source.slice(0..<1 << 20), to: target.slice(0..<1 << 20))
      try await engine.copy(
        from: source.slice((1 << 20) + 1..<2 << 20), to: target.slice((1 << 20) + 1..<2 << 20))
    } else {
      var channel = try engine.openChannel(mode: .polled)
      for part in [0..<1 << 20, (1 << 20) + 1..<2 << 20] {
        let isTaken = channel.enqueueCopy(
          from: source.slice(part), to: target.slice(part), token: 1)
        #expect(isTaken)
      }
      try channel.submit()
      let deadline = Deadline(after: .seconds(30))
      var done = 0
      while done < 2, !deadline.hasPassed { done += try channel.poll().completed }
      #expect(done == 2)
    }
    let differences = source.withBytes { from in
      target.withBytes { to in
        (0..<2 << 20).count { index in
          let expected: UInt8 =
            index == 1 << 20 ? 0 : from.unsafeLoad(fromByteOffset: index, as: UInt8.self)
          return to.unsafeLoad(fromByteOffset: index, as: UInt8.self) != expected
        }
      }
    }
    #expect(differences == 0)
    try engine.close()
  }

  @Test("memory that was unmapped is out of the device's reach, and the rest is not")
  func unmapped() async throws {
    let emulator = try Emulator()
    let engine = try DMAEngine(transport: emulator.client(), logger: Emulator.log)
    let source = try engine.allocate(byteCount: 4096)
    let target = try engine.allocate(byteCount: 4096)
    let stale: DMASlice
    do {
      let ended = try engine.allocate(byteCount: 4096)
      stale = ended.slice
    }
    await #expect(throws: DMAOperationError.self) {
      try await engine.copy(from: source.slice, to: stale)
    }
    #expect(emulator.server.model.statistics.channels[0].errors == 1)
    withExtendedLifetime(target) {}
    try engine.close()
  }

  @Test("an unmap that brings the file along is carried out, and 16 vectors come in one message")
  func strangersHabits() throws {
    let emulator = try Emulator(
      ModelConfiguration(channelCount: 16, timing: .fast))
    let peer = try emulator.peer().greeted()
    let file = try MemoryFile(size: 4096)
    // As SPDK's client does it.
    for _ in 0..<2 {
      let map = Wire.map(at: 0x10000, size: 4096)
      #expect(try peer.errno(of: .dmaMap, map, descriptors: [file.fd]) == 0)
      let unmap = Wire.unmap(at: 0x10000, size: 4096)
      #expect(try peer.errno(of: .dmaUnmap, unmap, descriptors: [file.fd]) == 0)
    }
    // As rust-vmm's client does it, whatever was announced.
    let event = try EventFD()
    let vectors = Wire.setIRQs(flags: 0x24, count: 16)
    let events = [CInt](repeating: event.rawValue, count: 16)
    #expect(try peer.errno(of: .deviceSetIRQs, vectors, descriptors: events) == 0)
    let trigger = Wire.setIRQs(flags: 0x21, start: 15)
    #expect(try peer.errno(of: .deviceSetIRQs, trigger) == 0)
    let drained = event.drain()
    #expect(drained == 1)
  }

  @Test("an overlapping mapping is refused with its own error, and an unmap must match a map")
  func mappings() throws {
    let emulator = try Emulator()
    let client = try emulator.client()
    let file = try MemoryFile(size: 16384)
    func region(_ size: UInt64) -> DMARegion {
      DMARegion(address: 0x1000, size: size, file: (file.fd, 0))
    }
    try client.mapDMA(region(8192), at: 0x10_0000, permissions: .readWrite)
    #expect(
      throws: VFIOError.mappingOverlaps(device: emulator.path, iova: 0x10_1000, size: 4096)
    ) { try client.mapDMA(region(4096), at: 0x10_1000, permissions: .read) }
    #expect(
      throws: VFIOError.unmapMismatch(
        device: emulator.path, iova: 0x10_0000, expected: 4096, unmapped: 8192)
    ) { try client.unmapDMA(iova: 0x10_0000, size: 4096) }
    try client.mapDMA(region(4096), at: 0x20_0000, permissions: .read)
    try client.unmapDMA(iova: 0x20_0000, size: 4096)
    try client.mapDMA(region(4096), at: 0x20_0000, permissions: .read)
  }

  @Test("an interrupt that software triggers arrives at its vector's eventfd and no other")
  func trigger() throws {
    let emulator = try Emulator(ModelConfiguration(channelCount: 3, timing: .fast))
    let client = try emulator.client()
    #expect(try client.interruptCount(.msix) == 3)
    #expect(try client.interruptCount(.error) == 1)
    let first = try EventFD()
    let third = try EventFD()
    try client.enableInterrupts(.msix, eventFDs: [first.rawValue, -1, third.rawValue])
    try client.triggerInterrupt(.msix, vector: 2)
    let counts = [first.drain(), third.drain()]
    #expect(counts == [0, 1])
    #expect(
      throws: VFIOError.refused(
        device: emulator.path, command: "DEVICE_SET_IRQS", errno: .noSuchFileOrDirectory)
    ) { try client.triggerInterrupt(.msix, vector: 1) }
    try client.disableInterrupts(.msix)
    #expect(throws: VFIOError.self) { try client.triggerInterrupt(.msix, vector: 0) }
    let rest = [first.drain(), third.drain()]
    #expect(rest == [0, 0])
  }

  @Test("a reset leaves mappings and eventfds, and takes registers back to power-on")
  func reset() throws {
    let emulator = try Emulator()
    let client = try emulator.client()
    let file = try MemoryFile(size: 4096)
    let event = try EventFD()
    try client.mapDMA(
      DMARegion(address: 0x1000, size: 4096, file: (file.fd, 0)), at: 0x1000,
      permissions: .readWrite)
    try client.enableInterrupts(.msix, eventFDs: [event.rawValue])
    try client.write(.bar0, at: 0x98, width: .qword, value: 0xabc0)
    #expect(client.supportsReset)
    try client.reset()
    #expect(try client.read(.bar0, at: 0x98, width: .qword) == 0)
    try client.triggerInterrupt(.msix, vector: 0)
    let count = event.drain()
    #expect(count == 1)
    #expect(throws: VFIOError.mappingOverlaps(device: emulator.path, iova: 0x1000, size: 4096)) {
      try client.mapDMA(
        DMARegion(address: 0x1000, size: 4096, file: (file.fd, 0)), at: 0x1000,
        permissions: .readWrite)
    }
  }

  @Test("memory without a file is reached by messages")
  func messages() throws {
    let emulator = try Emulator()
    let client = try emulator.client()
    let pages = UnsafeMutableRawPointer.allocate(byteCount: 3 * 4096, alignment: 4096)
    pages.initializeMemory(as: UInt8.self, repeating: 0x5a, count: 3 * 4096)
    defer { pages.deallocate() }
    let base: UInt64 = 0x40_0000
    try client.mapDMA(
      DMARegion(address: UInt(bitPattern: pages), size: 3 * 4096), at: base,
      permissions: .readWrite)
    let slot = pages.assumingMemoryBound(to: UInt64.self)
    let descriptor: [UInt64] = [4096 | 0x8 << 32, base + 4096, base + 8192, base]
    for (index, word) in descriptor.enumerated() {
      slot[index] = word
    }
    for index in 0..<512 { slot[512 + index] = UInt64(index) }
    try client.write(.configuration, at: 4, width: .word, value: 6)
    try client.write(.bar0, at: 0x98, width: .qword, value: base + 64)
    try client.write(.bar0, at: 0x90, width: .qword, value: base)
    try client.write(.bar0, at: 0x86, width: .word, value: 1)
    #expect(try eventually { try client.read(.bar0, at: 0x88, width: .qword) & 7 == 1 })
    #expect(memcmp(pages + 4096, pages + 8192, 4096) == 0)
    #expect(slot[8] == base | 1)
    try client.unmapDMA(iova: base, size: 3 * 4096)
  }

  @Test("descriptors of client and server are as many after many connections as before")
  func descriptors() async {
    await #expect(processExitsWith: .success) {
      try await expectBalancedDescriptors {
        let emulator = try Emulator()
        for _ in 0..<5 {
          let engine = try DMAEngine(transport: emulator.client(), logger: Emulator.log)
          let source = try engine.allocate(byteCount: 8192)
          let target = try engine.allocate(byteCount: 8192)
          try await engine.copy(from: source.slice, to: target.slice)
          #expect(throws: VFIOError.serverBusy(device: emulator.path)) { try emulator.client() }
          try engine.close()
        }
      }
    }
  }
}

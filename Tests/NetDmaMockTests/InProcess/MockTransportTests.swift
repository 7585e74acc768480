// SPDX-License-Identifier: Apache-2.0

import CNetDma
import Glibc
import NetDmaMock
import NetDmaVFIO
import Testing

@Suite("Mock transport")
struct MockTransportTests {
  /// Page-aligned memory of the test's own.
  final class Pages {
    let address: UnsafeMutableRawPointer
    let count: Int
    init(_ count: Int) {
      self.count = count
      address = .allocate(byteCount: count, alignment: 4096)
      address.initializeMemory(as: UInt8.self, repeating: 0, count: count)
    }
    deinit { address.deallocate() }
    func region(_ offset: Int = 0, _ size: Int? = nil) -> DMARegion {
      DMARegion(address: UInt(bitPattern: address + offset), size: UInt64(size ?? count - offset))
    }
  }

  static let iova: UInt64 = 0x4000_0000

  /// Rings for one copy of the page behind the first into the one behind that.
  private func copy(_ transport: MockTransport, _ pages: Pages, control: UInt64 = 0x9) throws {
    let slot = pages.address.assumingMemoryBound(to: UInt64.self)
    slot[0] = 4096 | control << 32
    slot[1] = Self.iova + 4096
    slot[2] = Self.iova + 8192
    slot[3] = Self.iova
    netdma_fence_release()
    try transport.write(.bar0, at: 0x80, width: .word, value: 0x1d)
    try transport.write(.bar0, at: 0x98, width: .qword, value: Self.iova + 64)
    try transport.write(.bar0, at: 0x90, width: .qword, value: Self.iova)
    try transport.write(.bar0, at: 0x86, width: .word, value: 1)
  }

  private func waitWhileActive(_ transport: MockTransport) throws -> UInt64 {
    let deadline = Deadline(after: .seconds(20))
    while try transport.read(.bar0, at: 0x88, width: .qword) & 7 == 0, !deadline.hasPassed {
      usleep(50)
    }
    return try transport.read(.bar0, at: 0x88, width: .qword) & 7
  }

  private func ready() throws -> (MockTransport, Pages) {
    let transport = try MockTransport()
    let pages = Pages(3 * 4096)
    try transport.mapDMA(pages.region(), at: Self.iova, permissions: .readWrite)
    try transport.write(.configuration, at: 4, width: .word, value: 6)
    return (transport, pages)
  }

  @Test("BAR0 and configuration space exist, nothing else; nothing can be mapped")
  func regions() throws {
    let transport = try MockTransport()
    #expect(try transport.regionInfo(.bar0).size == 0x4000)
    #expect(try transport.regionInfo(.configuration).size == 4096)
    #expect(try transport.regionInfo(RegionIndex(rawValue: 2)).size == 0)
    #expect(throws: VFIOError.self) { _ = try transport.map(.bar0, range: 0..<4096) }
    #expect(try transport.read(.configuration, at: 0, width: .dword) == 0x2021_8086)
  }

  @Test(
    "an access outside, misaligned or to a missing region is refused",
    arguments: [
      (0, 0x4000, AccessWidth.byte), (0, 0x3ffe, .dword), (0, 1, .word), (0, 4, .qword),
      (7, 4096, .byte), (7, .max, .qword), (3, 0, .byte),
    ])
  func badAccess(region: UInt32, offset: UInt64, width: AccessWidth) throws {
    let transport = try MockTransport()
    let index = RegionIndex(rawValue: region)
    #expect(
      throws: VFIOError.invalidAccess(
        device: "mock", region: region, offset: offset, width: width.rawValue)
    ) { try transport.read(index, at: offset, width: width) }
    #expect(throws: VFIOError.self) {
      try transport.write(index, at: offset, width: width, value: 0)
    }
  }

  @Test("a copy reaches memory only through what was mapped")
  func copyThroughMapping() throws {
    let (transport, pages) = try ready()
    for index in 0..<4096 {
      (pages.address + 4096 + index).storeBytes(of: UInt8(index & 0xff), as: UInt8.self)
    }
    try copy(transport, pages)
    #expect(try waitWhileActive(transport) == 1)
    #expect(memcmp(pages.address + 4096, pages.address + 8192, 4096) == 0)
    transport.model.stop()
    withExtendedLifetime(pages) {}
  }

  @Test("an overlap is refused and changes nothing; an unmap must match exactly")
  func mappings() throws {
    let (transport, pages) = try ready()
    let other = Pages(8192)
    for (at, size) in [(Self.iova, 4096), (Self.iova + 8192, 8192), (Self.iova - 4096, 8192)] {
      #expect(
        throws: VFIOError.mappingOverlaps(device: "mock", iova: at, size: UInt64(size))
      ) {
        try transport.mapDMA(other.region(0, size), at: at, permissions: .readWrite)
      }
    }
    for (at, size) in [
      (Self.iova, UInt64(4096)), (Self.iova, 16384), (Self.iova + 4096, 8192), (0, 4096),
    ] {
      #expect(
        throws: VFIOError.unmapMismatch(device: "mock", iova: at, expected: size, unmapped: 0)
      ) { try transport.unmapDMA(iova: at, size: size) }
    }
    try transport.unmapDMA(iova: Self.iova, size: 12288)
    try transport.mapDMA(pages.region(), at: Self.iova, permissions: .readWrite)
  }

  @Test("a mapping must be aligned, in range, and of some memory")
  func badMappings() throws {
    let transport = try MockTransport()
    let pages = Pages(8192)
    let bad: [(DMARegion, UInt64)] = [
      (pages.region(), Self.iova + 1), (pages.region(1, 4096), Self.iova),
      (pages.region(0, 100), Self.iova), (pages.region(0, 0), Self.iova),
      (pages.region(), 0xfee0_0000), (pages.region(), .max - 4095),
      (pages.region(), 0x1_0000_0000_0000), (DMARegion(address: 0, size: 4096), Self.iova),
    ]
    for (region, iova) in bad {
      #expect {
        try transport.mapDMA(region, at: iova, permissions: .readWrite)
      } throws: {
        guard case VFIOError.invalidMapping = $0 else { return false }
        return true
      }
    }
  }

  @Test("permissions hold: memory that the device may only read is not written")
  func permissions() throws {
    let transport = try MockTransport()
    let pages = Pages(3 * 4096)
    try transport.mapDMA(pages.region(0, 8192), at: Self.iova, permissions: .readWrite)
    try transport.mapDMA(pages.region(8192), at: Self.iova + 8192, permissions: .read)
    try transport.write(.configuration, at: 4, width: .word, value: 6)
    try copy(transport, pages)
    #expect(try waitWhileActive(transport) == 3)
    #expect(try transport.read(.bar0, at: 0xa8, width: .dword) == 0x200)
  }

  // MARK: Interrupts

  @Test("an MSI-X vector reaches its eventfd; unconnected and -1 vectors reach nobody")
  func interrupts() throws {
    let (transport, pages) = try ready()
    let event = try EventFD()
    try transport.write(.bar0, at: 0x03, width: .byte, value: 0x09)
    try transport.enableInterrupts(.msix, eventFDs: [event.rawValue])
    try copy(transport, pages)
    #expect(try waitWhileActive(transport) == 1)
    let deadline = Deadline(after: .seconds(20))
    var count: UInt64 = 0
    while count == 0, !deadline.hasPassed { count = event.drain() }
    #expect(count == 1)
    try transport.triggerInterrupt(.msix, vector: 0)
    #expect(event.drain() == 1)
    try transport.enableInterrupts(.msix, eventFDs: [-1])
    #expect(throws: VFIOError.self) { try transport.triggerInterrupt(.msix, vector: 0) }
    try transport.disableInterrupts(.msix)
    try transport.disableInterrupts(.msix)
    #expect(throws: VFIOError.self) { try transport.triggerInterrupt(.msix, vector: 0) }
    #expect(throws: VFIOError.self) {
      try transport.enableInterrupts(.msix, eventFDs: [event.rawValue, event.rawValue])
    }
    transport.model.stop()
    withExtendedLifetime(pages) {}
  }

  @Test("the host's notifiers for removal and errors can be fired, and survive a reset")
  func notifiers() throws {
    let transport = try MockTransport()
    let request = try EventFD()
    let error = try EventFD()
    transport.simulateRemovalRequest()
    transport.simulateFatalError()
    try transport.enableInterrupts(.request, eventFDs: [request.rawValue])
    try transport.enableInterrupts(.error, eventFDs: [error.rawValue])
    try transport.reset()
    transport.simulateRemovalRequest()
    #expect(request.drain() == 1)
    #expect(error.drain() == 0)
    transport.simulateFatalError()
    #expect(error.drain() == 1)
  }

  // MARK: Reset

  @Test("a reset takes bus mastering, interrupts and registers back to power-on; mappings stay")
  func reset() throws {
    let (transport, pages) = try ready()
    let event = try EventFD()
    try transport.enableInterrupts(.msix, eventFDs: [event.rawValue])
    try copy(transport, pages)
    #expect(try waitWhileActive(transport) == 1)
    try transport.reset()
    #expect(try transport.read(.bar0, at: 0x88, width: .qword) == 3)
    #expect(try transport.read(.configuration, at: 4, width: .word) & 4 == 0)
    #expect(throws: VFIOError.self) { try transport.triggerInterrupt(.msix, vector: 0) }
    // Without bus mastering the engine reaches nothing.
    try copy(transport, pages)
    #expect(try waitWhileActive(transport) == 3)
    #expect(try transport.read(.bar0, at: 0xa8, width: .dword) != 0)
    try transport.reset()
    try transport.write(.configuration, at: 4, width: .word, value: 6)
    try copy(transport, pages)
    #expect(try waitWhileActive(transport) == 1)
    transport.model.stop()
  }

  @Test("resets can be made to fail")
  func failingReset() throws {
    let transport = try MockTransport()
    transport.failNextResets(2)
    #expect(throws: VFIOError.self) { try transport.reset() }
    #expect(throws: VFIOError.self) { try transport.reset() }
    try transport.reset()
  }

  @Test("a removed device reads all ones everywhere and cannot be reset")
  func removal() throws {
    let transport = try MockTransport()
    transport.model.install(FaultPlan(isRemoved: true))
    #expect(try transport.read(.bar0, at: 0x88, width: .qword) == .max)
    #expect(try transport.read(.configuration, at: 0, width: .dword) == 0xffff_ffff)
    #expect(throws: VFIOError.deviceGone(device: "mock")) { try transport.reset() }
    transport.model.install(.none)
    #expect(try transport.read(.configuration, at: 0, width: .dword) == 0x2021_8086)
  }

  @Test("CHANERR_INT in configuration space mirrors errors and is cleared by writing ones")
  func channelErrorInt() throws {
    let (transport, pages) = try ready()
    try transport.unmapDMA(iova: Self.iova, size: 12288)
    try copy(transport, pages)
    #expect(try waitWhileActive(transport) == 3)
    #expect(try transport.read(.configuration, at: 0x180, width: .dword) == 0x10)
    #expect(try transport.read(.configuration, at: 0x180, width: .byte) == 0x10)
    try transport.write(.configuration, at: 0x180, width: .byte, value: 0x10)
    #expect(try transport.read(.configuration, at: 0x180, width: .dword) == 0)
  }

  @Test("a transport that ends with its engine at work leaves nothing behind")
  func lifetime() throws {
    for _ in 0..<20 {
      let (transport, pages) = try ready()
      try copy(transport, pages)
      transport.model.stop()
      withExtendedLifetime(pages) {}
    }
  }
}

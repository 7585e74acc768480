// SPDX-License-Identifier: Apache-2.0

import CNetDma
import Glibc
import NetDmaVFIO
import Synchronization
import SystemPackage
import Testing

@Suite("vfio-user client: hostile servers")
struct HostileServerTests {
  /// Whether an error is the client's verdict on a broken protocol.
  private func isViolation(_ error: any Error) -> Bool {
    if case VFIOError.protocolViolation = error { true } else { false }
  }

  /// A server that answers one command with `payload`, all others rightly.
  private func server(
    answering command: VFIOUserCommand, with payload: [UInt8]
  ) throws -> ScriptedServer {
    try ScriptedServer { peer, message in
      guard message.header.command == command else { return false }
      peer.reply(to: message, payload)
      return true
    }
  }

  @Test("a VERSION answer that is not one is refused")
  func badVersions() throws {
    func capabilities(_ text: String) -> [UInt8] {
      Wire.version(json: "{\"capabilities\":{\(text)}}")
    }
    let payloads = [
      [], [0, 0, 0], Wire.version(major: 1), Wire.version(minor: 1), Wire.version(json: ""),
      Wire.version(json: "{}", nul: false), Wire.version(json: "[]"), Wire.version(json: "{"),
      capabilities("\"max_msg_fds\":-1"), capabilities("\"max_data_xfer_size\":0"),
      capabilities("\"max_dma_maps\":0"), capabilities("\"pgsizes\":1"),
      capabilities("\"x\":\"" + String(repeating: "y", count: 5000) + "\""),
    ]
    for payload in payloads {
      let server = try self.server(answering: .version, with: payload)
      #expect { try server.client() } throws: { isViolation($0) }
    }
    for payload in [[0, 0, 0, 0], Wire.version(json: "{}")] {
      let server = try self.server(answering: .version, with: payload)
      _ = try server.client()
    }
  }

  @Test("a device that is no PCI device, or an impossible one, is refused")
  func badDevices() throws {
    let payloads = [
      [], Wire.u32s(16, 3, 9), Wire.u32s(16, 1, 9, 5), Wire.u32s(16, 3, 7, 5),
      Wire.u32s(16, 3, 101, 5), Wire.u32s(16, 3, .max, 5), Wire.u32s(16, 3, 9, 2),
      Wire.u32s(16, 3, 9, .max),
    ]
    for payload in payloads {
      let server = try self.server(answering: .deviceGetInfo, with: payload)
      #expect { try server.client() } throws: { isViolation($0) }
    }
  }

  @Test("an answer with a wrong header ends the connection with its reason")
  func badHeaders() throws {
    func header(
      id: UInt16 = 1, _ command: VFIOUserCommand = .version, size: UInt32 = 16, flags: UInt32 = 1
    ) -> [UInt8] {
      VFIOUserHeader(id: id, command: command, size: size, flags: flags).bytes
    }
    let headers = [
      header(id: 9), header(.deviceGetInfo), header(flags: 2), header(flags: 15), header(size: 15),
      header(size: 0), header(size: .max), header(size: UInt32(VFIOUser.maximumMessage + 1)),
    ]
    for bytes in headers {
      let server = try ScriptedServer { peer, _ in
        peer.send(bytes)
        return true
      }
      #expect { try server.client() } throws: { isViolation($0) }
    }
  }

  @Test(
    "an errno that is none counts as EINVAL, never as success",
    arguments: [(0, 22), (4096, 22), (.max, 22), (13, 13)] as [(UInt32, CInt)])
  func errnos(code: UInt32, expected: CInt) throws {
    let server = try ScriptedServer { peer, message in
      peer.reply(to: message, [1, 2, 3], error: code)
    }
    #expect(
      throws: VFIOError.refused(
        device: server.path, command: "VERSION", errno: Errno(rawValue: expected))
    ) { try server.client() }
  }

  // MARK: - Dying and hanging

  /// The questions that a client can ask, each with the command behind it.
  private static let questions:
    [(VFIOUserCommand, @Sendable (VFIOUserClient) throws(VFIOError) -> Void)] = [
      (.deviceGetRegionInfo, { (client) throws(VFIOError) in _ = try client.regionInfo(.bar0) }),
      (.deviceGetIRQInfo, { (client) throws(VFIOError) in _ = try client.interruptCount(.msix) }),
      (
        .regionRead,
        { (client) throws(VFIOError) in _ = try client.read(.bar0, at: 8, width: .qword) }
      ),
      (
        .regionWrite,
        { (client) throws(VFIOError) in
          try client.write(.configuration, at: 4, width: .word, value: 6)
        }
      ),
      (
        .deviceSetIRQs,
        { (client) throws(VFIOError) in try client.triggerInterrupt(.msix, vector: 0) }
      ),
      (
        .dmaMap,
        { (client) throws(VFIOError) in
          try client.mapDMA(
            DMARegion(address: 4096, size: 4096), at: 4096, permissions: .readWrite)
        }
      ),
      (.deviceReset, { (client) throws(VFIOError) in try client.reset() }),
    ]

  @Test("a server that dies at any byte of any answer is a lost connection", arguments: 0..<7)
  func dying(question: Int) throws {
    let (command, ask) = Self.questions[question]
    for length in 0..<40 {
      let isCut = Mutex(false)
      let server = try ScriptedServer { peer, message in
        guard message.header.command == command else { return false }
        let payload = message.payload + [UInt8](repeating: 0, count: 8)
        let header = VFIOUserHeader(
          id: message.header.id, command: command, size: UInt32(16 + payload.count), flags: 1)
        let bytes = header.bytes + payload
        guard length < bytes.count else { return false }
        isCut.withLock { $0 = true }
        peer.send(Array(bytes.prefix(length)))
        peer.close()
        return true
      }
      let client = try server.client()
      do throws(VFIOError) {
        try ask(client)
        // Only an answer shorter than that was given whole.
        #expect(isCut.withLock { !$0 })
      } catch {
        #expect(error == .disconnected(device: server.path))
        // And it stays so.
        #expect(throws: error) { try client.regionInfo(.bar0) }
      }
    }
  }

  @Test("a server that falls silent is a time-out that names the command, for everybody")
  func hanging() throws {
    let server = try ScriptedServer { _, message in message.header.command == .regionRead }
    let client = try server.client()
    let expected = VFIOError.timedOut(device: server.path, command: "REGION_READ", seconds: 5)
    #expect(throws: expected) { try client.read(.bar0, at: 0, width: .byte) }
    #expect(throws: expected) { try client.regionInfo(.bar0) }
  }

  // MARK: - Regions

  /// A BAR0 of 16 KiB with a file, and capabilities after the fixed part.
  private func region(
    flags: UInt32 = 0xf, index: UInt32 = 0, capabilityAt: UInt32 = 32, size: UInt64 = 0x4000,
    offset: UInt64 = 0, capabilities: [UInt8] = [], argsz: UInt32? = nil
  ) -> [UInt8] {
    Wire.u32s(argsz ?? UInt32(32 + capabilities.count), flags, index, capabilityAt)
      + Wire.u64s(size, offset) + capabilities
  }

  private func sparse(
    _ areas: [(UInt64, UInt64)], count: UInt32? = nil, next: UInt32 = 0
  ) -> [UInt8] {
    Wire.u32s(1 | 1 << 16, next, count ?? UInt32(areas.count), 0)
      + areas.flatMap { Wire.u64s($0.0, $0.1) }
  }

  private func regionServer(_ reply: [UInt8], _ file: MemoryFile?) throws -> ScriptedServer {
    try ScriptedServer { peer, message in
      guard message.header.command == .deviceGetRegionInfo else { return false }
      peer.reply(to: message, reply, descriptors: file.map { [$0.fd] } ?? [])
      return true
    }
  }

  @Test("a region whose description makes no sense is refused")
  func badRegions() throws {
    let file = try MemoryFile(size: 0x4000)
    let good: [(UInt64, UInt64)] = [(0, 4096), (8192, 4096)]
    let replies = [
      [], Array(region().prefix(31)), region(index: 1), region(size: 1 << 49), region(argsz: 65537),
      region(argsz: 4096), region(capabilityAt: 31, capabilities: sparse(good)),
      region(capabilityAt: 0xffff_fff0, capabilities: sparse(good)),
      region(capabilityAt: 81, capabilities: sparse(good)),
      region(capabilities: sparse(good, count: 3)),
      region(capabilities: sparse(good, count: .max)), region(capabilities: sparse(good, next: 32)),
      region(capabilities: sparse(good, next: 8)), region(capabilities: sparse(good, next: .max)),
      region(capabilities: sparse([(1, 4096)])), region(capabilities: sparse([(0, 4095)])),
      region(capabilities: sparse([(0, 8192), (4096, 4096)])),
      region(capabilities: sparse([(0x4000, 4096)])),
      region(capabilities: sparse([(0x3000, 8192)])),
      region(capabilities: sparse([(.max & ~0xfff, 4096)])),
      region(capabilities: sparse([(0x1000, .max & ~0xfff)])),
    ]
    for reply in replies {
      let server = try regionServer(reply, file)
      defer { withExtendedLifetime(server) {} }
      let client = try server.client()
      #expect("\(reply)") { try client.regionInfo(.bar0) } throws: { isViolation($0) }
    }
  }

  @Test("sparse areas of a sealed file are mapped, and show the server's bytes")
  func sparseAreas() throws {
    let file = try MemoryFile(size: 0x8000)
    file.write([1, 2, 3, 4], at: 0x4000 + 0x2000 + 8)
    let unknown = Wire.u32s(0x7777 | 1 << 16, 32 + 16, 5, 5)
    let reply = region(
      offset: 0x4000, capabilities: unknown + sparse([(0, 4096), (0x2000, 0x1000), (0x3000, 0)]))
    let server = try regionServer(reply, file)
    // The first answer is too long for the question, the second is not.
    let client = try server.client()
    #expect(try client.regionInfo(.bar0).mappableAreas == [0..<4096, 0x2000..<0x3000])
    let mapping = try client.map(.bar0, range: 0x2000..<0x3000)
    let value = mapping.address.load(fromByteOffset: 8, as: UInt32.self)
    #expect(value == 0x0403_0201)
    for range in [0x1000..<0x2000, 0..<0x3000, 0x2000..<0x2000] as [Range<UInt64>] {
      #expect(
        throws: VFIOError.missingFeature(device: server.path, feature: "mappable region 0")
      ) { _ = try client.map(.bar0, range: range) }
    }
  }

  @Test("a file that could be cut off under the driver is not mapped")
  func unsafeFiles() throws {
    let short = try MemoryFile(size: 0x3000)
    let unsealed = try MemoryFile(size: 0x4000, sealed: false)
    let whole = try MemoryFile(size: 0x4000)
    for (reply, file) in [
      (region(flags: 7), unsealed), (region(flags: 7), short), (region(flags: 7), nil),
      (region(flags: 7, offset: 0x1000), whole), (region(flags: 7, offset: .max), whole),
      (region(flags: 7, offset: .max & ~0xfff), whole),
    ] {
      let server = try regionServer(reply, file)
      defer { withExtendedLifetime(server) {} }
      let client = try server.client()
      #expect(try client.regionInfo(.bar0).mappableAreas == [])
      #expect(throws: VFIOError.self) { _ = try client.map(.bar0, range: 0..<4096) }
    }
    let server = try regionServer(region(flags: 7), whole)
    defer { withExtendedLifetime(server) {} }
    let client = try server.client()
    #expect(try client.regionInfo(.bar0).mappableAreas == [0..<0x4000])
  }

  // MARK: - Other answers

  @Test("data that was not asked for is not taken")
  func badReads() throws {
    for payload in [
      [], Wire.read(8, 8), Wire.read(8, 8) + [1, 2, 3],
      Wire.read(8, 8) + [UInt8](repeating: 1, count: 9),
      Wire.read(8, 4) + [UInt8](repeating: 1, count: 8), Wire.read(8, 4) + [1, 2, 3, 4],
    ] {
      let server = try self.server(answering: .regionRead, with: payload)
      defer { withExtendedLifetime(server) {} }
      let client = try server.client()
      #expect { try client.read(.bar0, at: 8, width: .qword) } throws: { isViolation($0) }
    }
  }

  @Test("interrupts that cannot be are refused")
  func badInterrupts() throws {
    for payload in [
      [], Wire.u32s(16, 1, 2), Wire.u32s(16, 1, 1, 1), Wire.u32s(16, 1, 2, 2049),
      Wire.u32s(16, 1, 2, .max),
    ] {
      let server = try self.server(answering: .deviceGetIRQInfo, with: payload)
      defer { withExtendedLifetime(server) {} }
      let client = try server.client()
      #expect { try client.interruptCount(.msix) } throws: { isViolation($0) }
    }
    let silentServer = try server(answering: .deviceGetIRQInfo, with: Wire.u32s(16, 0, 2, 5))
    defer { withExtendedLifetime(silentServer) {} }
    let silent = try silentServer.client()
    #expect(try silent.interruptCount(.msix) == 0)
  }

  @Test("an unmap that did less or more than was asked keeps the memory out of use")
  func badUnmaps() throws {
    for (payload, expected) in [
      (Wire.unmap(at: 4096, size: 4096), 4096), (Wire.unmap(at: 4096, size: 0), 0),
    ] as [([UInt8], UInt64)] {
      let server = try self.server(answering: .dmaUnmap, with: payload)
      let client = try server.client()
      try client.mapDMA(
        DMARegion(address: 4096, size: 8192), at: 4096, permissions: .readWrite)
      #expect(
        throws: VFIOError.unmapMismatch(
          device: server.path, iova: 4096, expected: 8192, unmapped: expected)
      ) { try client.unmapDMA(iova: 4096, size: 8192) }
    }
    let shortServer = try server(answering: .dmaUnmap, with: [1, 2, 3])
    defer { withExtendedLifetime(shortServer) {} }
    let short = try shortServer.client()
    try short.mapDMA(DMARegion(address: 4096, size: 4096), at: 4096, permissions: .readWrite)
    #expect { try short.unmapDMA(iova: 4096, size: 4096) } throws: { isViolation($0) }
  }

  @Test("limits that the server sets are kept")
  func limits() throws {
    let largest = Mutex(0)
    let server = try ScriptedServer { peer, message in
      largest.withLock { $0 = max($0, message.descriptors.count) }
      guard message.header.command == .version else { return false }
      peer.reply(
        to: message,
        Wire.version(json: "{\"capabilities\":{\"max_msg_fds\":2,\"max_dma_maps\":1}}"))
      return true
    }
    let client = try server.client()
    let event = try EventFD()
    let list = [CInt](repeating: event.rawValue, count: 5)
    try client.enableInterrupts(.msix, eventFDs: list)
    #expect(largest.withLock { $0 } == 2)
    try client.mapDMA(DMARegion(address: 4096, size: 4096), at: 4096, permissions: .readWrite)
    #expect(throws: VFIOError.mappingCountExhausted(device: server.path)) {
      try client.mapDMA(DMARegion(address: 4096, size: 4096), at: 8192, permissions: .read)
    }
    try client.disableInterrupts(.msix)
  }

  @Test("a flood of answers to nothing ends the connection")
  func replyFlood() throws {
    let server = try ScriptedServer { peer, message in
      guard message.header.command == .regionRead else { return false }
      let stray = VFIOUserHeader(id: 4242, command: .regionRead, size: 16, flags: 1).bytes
      for _ in 0..<10_000 {
        if !peer.send(stray) { break }
      }
      return true
    }
    let client = try server.client()
    #expect { try client.read(.bar0, at: 0, width: .byte) } throws: { isViolation($0) }
  }

  @Test("a server reaches shared memory by messages within its mapping and its rights, else EFAULT")
  func memoryRequests() throws {
    let page = UnsafeMutableRawPointer.allocate(byteCount: 8192, alignment: 4096)
    defer { page.deallocate() }
    page.initializeMemory(as: UInt8.self, repeating: 0x11, count: 8192)
    let results = Mutex<[String: CInt]>([:])
    let server = try ScriptedServer { peer, message in
      guard message.header.command == .regionRead else { return false }
      let write = [UInt8](repeating: 9, count: 8)
      let requests: [(String, VFIOUserCommand, [UInt8])] = [
        ("read", .dmaRead, Wire.u64s(0x1000, 4096)),
        ("write", .dmaWrite, Wire.u64s(0x1008, 8) + write),
        ("read-only", .dmaWrite, Wire.u64s(0x8000, 8) + write),
        ("outside", .dmaRead, Wire.u64s(0x2000, 1)),
        ("across the end", .dmaRead, Wire.u64s(0x1fff, 2)),
        ("wraps", .dmaRead, Wire.u64s(.max, 2)),
        ("too much", .dmaRead, Wire.u64s(0x1000, (1 << 20) + 1)),
        ("far too much", .dmaRead, Wire.u64s(0x1000, .max)),
        ("data short", .dmaWrite, Wire.u64s(0x1000, 9) + write),
        ("data long", .dmaWrite, Wire.u64s(0x1000, 7) + write),
        ("no payload", .dmaRead, []),
        ("a client's command", .regionRead, Wire.read(0, 8)),
        ("unknown", VFIOUserCommand(rawValue: 999), [1]),
      ]
      for (name, command, payload) in requests {
        let errno = (try? peer.errno(of: command, payload)) ?? -1
        results.withLock { $0[name] = errno }
      }
      return false
    }
    let client = try server.client()
    let address = UInt(bitPattern: page)
    try client.mapDMA(
      DMARegion(address: address, size: 4096), at: 0x1000, permissions: .readWrite)
    try client.mapDMA(
      DMARegion(address: address + 4096, size: 4096), at: 0x8000, permissions: .read)
    _ = try client.read(.bar0, at: 0, width: .byte)
    #expect(
      results.withLock { $0 } == [
        "read": 0, "write": 0, "read-only": EFAULT, "outside": EFAULT, "across the end": EFAULT,
        "wraps": EFAULT, "too much": EINVAL, "far too much": EINVAL, "data short": EFAULT,
        "data long": EFAULT, "no payload": EINVAL, "a client's command": ENOSYS, "unknown": ENOSYS,
      ])
    #expect(
      (0..<24).map { page.load(fromByteOffset: $0, as: UInt8.self) }
        == [UInt8](repeating: 0x11, count: 8) + [UInt8](repeating: 9, count: 8)
        + [UInt8](repeating: 0x11, count: 8))
    #expect(page.load(fromByteOffset: 4096, as: UInt8.self) == 0x11)
  }

  @Test("descriptors that a server smuggles in are closed, and its own end leaves nothing open")
  func smuggling() async {
    await #expect(processExitsWith: .success) {
      try await expectBalancedDescriptors {
        let file = try MemoryFile(size: 4096)
        let server = try ScriptedServer { peer, message in
          guard message.header.command != .version else { return false }
          let payload =
            message.header.command == .deviceGetInfo
            ? Wire.u32s(16, 3, 9, 5) : message.payload + [UInt8](repeating: 0, count: 8)
          peer.reply(
            to: message, payload, descriptors: [CInt](repeating: file.fd, count: 8))
          return true
        }
        let client = try server.client()
        let during = openDescriptors()
        for _ in 0..<50 {
          _ = try? client.read(.bar0, at: 8, width: .qword)
          _ = try? client.interruptCount(.msix)
          try? client.mapDMA(
            DMARegion(address: 4096, size: 4096), at: 4096, permissions: .readWrite)
        }
        #expect(eventually { openDescriptors() <= during })
      }
    }
  }
}

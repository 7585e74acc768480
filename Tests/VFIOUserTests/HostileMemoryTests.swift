// SPDX-License-Identifier: Apache-2.0

import CNetDma
import Glibc
import NetDmaVFIO
import Testing

@testable import NetDmaMock

@Suite("vfio-user server: hostile memory and descriptors")
struct HostileMemoryTests {
  private static let base: UInt64 = 0x10_0000

  /// Writes one descriptor, a copy of `count` bytes, where `MemoryFile` begins.
  private static func descriptor(
    count: UInt64 = 4096, from: UInt64 = base + 4096, to: UInt64 = base + 8192
  ) -> [UInt8] {
    Wire.u64s(count | 0x8 << 32, from, to, base) + [UInt8](repeating: 0, count: 32)
  }

  /// Starts channel 0 on the chain at `base`; gives CHANSTS's state and CHANERR when it has stopped.
  private static func run(
    _ peer: RawPeer, completion: UInt64 = base + 64
  ) throws -> (state: UInt8, errors: UInt32) {
    for (offset, value, width, region) in [
      (4, 6, 2, 7), (0xb0, 0x20, 1, 0), (0x98, completion, 8, 0), (0x90, base, 8, 0),
      (0x86, 1, 2, 0),
    ] as [(UInt64, UInt64, Int, UInt32)] {
      _ = try peer.errno(
        of: .regionWrite, Wire.write(offset, value, width: width, region: region))
    }
    var state: UInt8 = 0
    _ = try eventually {
      state = try peer.ask(.regionRead, Wire.read(0x88, 8))?.payload[16] ?? 0xff
      return state & 7 != 0
    }
    let errors = try peer.ask(.regionRead, Wire.read(0xa8, 4))?.payload.dropFirst(16) ?? []
    return (state & 7, errors.reversed().reduce(0) { $0 << 8 | UInt32($1) })
  }

  @Test("a copy through files that are not sealed works, one right behind the other")
  func unsealed() throws {
    let emulator = try Emulator()
    let peer = try emulator.peer().greeted()
    let first = try MemoryFile(size: 4096, sealed: false)
    let second = try MemoryFile(size: 8192, sealed: false)
    let map = Wire.map(at: Self.base, size: 4096)
    #expect(try peer.errno(of: .dmaMap, map, descriptors: [first.fd]) == 0)
    let rest = Wire.map(at: Self.base + 4096, size: 8192)
    #expect(try peer.errno(of: .dmaMap, rest, descriptors: [second.fd]) == 0)
    first.write(Self.descriptor(count: 4000, to: Self.base + 8192 - 8), at: 0)
    second.write((0..<4000).map { UInt8($0 % 251) }, at: 0)
    #expect(try Self.run(peer).state == 1)
    #expect(second.read(4000, at: 4088) == (0..<4000).map { UInt8($0 % 251) })
    #expect(first.read(8, at: 64) == Wire.u64s(Self.base | 1))
  }

  @Test("memory that its owner cuts off under a mapping is a device error, never the server's end")
  func truncated() async {
    await #expect(processExitsWith: .success) {
      let emulator = try Emulator()
      // What is cut off: everything, source and target, target, nothing but the completion word.
      for length in [0, 4096, 8192] {
        let peer = try emulator.peer().greeted()
        let file = try MemoryFile(size: 12288, sealed: false)
        let map = Wire.map(at: Self.base, size: 12288)
        #expect(try peer.errno(of: .dmaMap, map, descriptors: [file.fd]) == 0)
        file.write(Self.descriptor(), at: 0)
        try file.truncate(to: length)
        let (state, errors) = try Self.run(peer)
        #expect(state == 3)
        #expect(errors != 0)
        // It must not be made longer again by the device either.
        #expect(file.read(1, at: length) == [])
        peer.close()
      }
      do {
        let peer = try emulator.peer().greeted()
        let file = try MemoryFile(size: 12288, sealed: false)
        let word = try MemoryFile(size: 4096, sealed: false)
        for (at, size, fd) in [
          (Self.base, 12288, file.fd), (Self.base + 0x10000, 4096, word.fd),
        ] as [(UInt64, UInt64, CInt)] {
          #expect(try peer.errno(of: .dmaMap, Wire.map(at: at, size: size), descriptors: [fd]) == 0)
        }
        file.write(Self.descriptor(), at: 0)
        try word.truncate(to: 0)
        #expect(try Self.run(peer, completion: Self.base + 0x10000).errors != 0)
        peer.close()
      }
      #expect(try emulator.peer().greet())
    }
  }

  @Test("a file that grew is mapped anew: nothing is reached beyond what is mapped")
  func grown() async {
    await #expect(processExitsWith: .success) {
      let emulator = try Emulator()
      let peer = try emulator.peer().greeted()
      let file = try MemoryFile(size: 4096, sealed: false)
      // Cannot shrink, but grow.
      #expect(fcntl(file.fd, 1033, netdma_seal_shrink_flag()) == 0)
      let low = Wire.map(at: Self.base, size: 4096)
      #expect(try peer.errno(of: .dmaMap, low, descriptors: [file.fd]) == 0)
      let far: UInt64 = 1 << 30
      try file.truncate(to: Int(far) + 8192)
      let high = Wire.map(at: Self.base + 4096, size: 8192, offset: far)
      #expect(try peer.errno(of: .dmaMap, high, descriptors: [file.fd]) == 0)
      file.write(Self.descriptor(), at: 0)
      file.write([7, 8, 9], at: Int(far))
      #expect(try Self.run(peer).state == 1)
      #expect(file.read(4, at: Int(far) + 4096) == [7, 8, 9, 0])
    }
  }

  @Test("a range that a client may only read is not written")
  func readOnly() throws {
    let emulator = try Emulator()
    let peer = try emulator.peer().greeted()
    let file = try MemoryFile(size: 8192)
    let target = try MemoryFile(size: 4096)
    for (at, size, flags, fd) in [
      (Self.base, 8192, 3, file.fd), (Self.base + 8192, 4096, 1, target.fd),
    ] as [(UInt64, UInt64, UInt32, CInt)] {
      #expect(
        try peer.errno(
          of: .dmaMap, Wire.map(at: at, size: size, flags: flags), descriptors: [fd]) == 0)
    }
    file.write(Self.descriptor(), at: 0)
    file.write([1, 2, 3], at: 4096)
    #expect(try Self.run(peer).state == 3)
    #expect(target.read(4, at: 0) == [0, 0, 0, 0])
  }

  @Test("what is no memory is refused, and rights that the descriptor lacks")
  func wrongDescriptors() throws {
    let emulator = try Emulator()
    let peer = try emulator.peer().greeted()
    func errno(_ fd: CInt, _ size: UInt64 = 4096, offset: UInt64 = 0, flags: UInt32 = 3) throws
      -> CInt?
    {
      let payload = Wire.map(at: Self.base, size: size, offset: offset, flags: flags)
      return try peer.errno(of: .dmaMap, payload, descriptors: [fd])
    }
    let event = try EventFD()
    let eventError = try errno(event.rawValue)
    #expect(eventError == EINVAL)
    for path in ["/", "/dev/null", "/dev/zero", "/proc/self/maps", "/proc/self/mem"] {
      let file = OwnedDescriptorBox(try OwnedFileDescriptor.open(path, flags: O_RDONLY))
      #expect(try errno(file.rawValue, flags: 1) == EINVAL, "\(path)")
    }
    #expect(try errno(peer.rawValue) == EINVAL)
    let file = try MemoryFile(size: 8192)
    #expect(try errno(file.fd, 12288) == EINVAL)
    #expect(try errno(file.fd, offset: 8192) == EINVAL)
    #expect(try errno(file.fd, offset: 1) == EINVAL)
    #expect(try errno(file.fd, offset: .max & ~0xfff) == EINVAL)
    #expect(try errno(file.fd, 1 << 63, offset: 1 << 63) == EINVAL)
    let link = "/proc/self/fd/\(file.fd)"
    let readable = OwnedDescriptorBox(try OwnedFileDescriptor.open(link, flags: O_RDONLY))
    #expect(try errno(readable.rawValue) == EACCES)
    #expect(try errno(readable.rawValue, flags: 2) == EACCES)
    let writable = OwnedDescriptorBox(try OwnedFileDescriptor.open(link, flags: O_WRONLY))
    #expect(try errno(writable.rawValue, flags: 2) == EACCES)
    #expect(try errno(readable.rawValue, flags: 1) == 0)
    // The same file with more rights, next to its read-only mapping.
    let more = Wire.map(at: Self.base + 0x10000, size: 4096)
    #expect(try peer.errno(of: .dmaMap, more, descriptors: [file.fd]) == 0)
  }

  @Test("mappings, files and address space that one client can take are bounded, descriptors flat")
  func bounds() async {
    await #expect(processExitsWith: .success) {
      let emulator = try Emulator()
      let peer = try emulator.peer().greeted()
      let file = try MemoryFile(size: 4096)
      let before = openDescriptors()
      for index: UInt64 in 0..<65535 {
        let payload = Wire.map(at: index * 8192, size: 4096)
        peer.send(
          .dmaMap, payload, flags: VFIOUserHeader.noReply,
          descriptors: index % 16 == 0 ? [file.fd] : [])
      }
      let next = Wire.map(at: 1 << 40, size: 4096)
      #expect(try peer.errno(of: .dmaMap, next) == ENOSPC)
      #expect(openDescriptors() == before)
      #expect(try peer.errno(of: .dmaUnmap, Wire.unmap(at: 8192, size: 4096)) == 0)
      #expect(try peer.errno(of: .dmaMap, next) == 0)
      #expect(try peer.errno(of: .dmaUnmap, Wire.unmap(at: 0, size: 0, flags: 2)) == 0)
      // Each of 100 files takes 2 TiB of addresses, without a byte of memory.
      let files = try (0..<100).map { _ in try MemoryFile(size: 2 << 40) }
      let errors = try files.enumerated().map { index, file in
        try peer.errno(
          of: .dmaMap, Wire.map(at: UInt64(index) * 4096, size: 4096), descriptors: [file.fd])
      }
      #expect(errors.count { $0 == 0 } == 8)
      #expect(errors.count { $0 == ENOSPC } == 92)
    }
  }

  @Test("holes that a client unmaps in one mapping make a bounded number of it, and stay holes")
  func holes() throws {
    let memory = ClientMemory(limit: 8)
    try memory.map(first: 0, size: 1 << 30, permissions: .readWrite, file: nil, offset: 0)
    for index: UInt64 in 0..<100 {
      let hole = (2 * index + 1) * 4096
      memory.remove(first: hole, last: hole + 4095)
    }
    #expect(memory.mappingCount <= 17)
    var byte: UInt8 = 0
    for index: UInt64 in 0..<100 {
      #expect(throws: BusFault(address: (2 * index + 1) * 4096, direction: .read)) {
        try withUnsafeMutableBytes(of: &byte) {
          try memory.read((2 * index + 1) * 4096, into: $0)
        }
      }
    }
  }

  @Test("descriptors that belong nowhere are closed, whatever message they came with")
  func smuggling() async {
    await #expect(processExitsWith: .success) {
      try await expectBalancedDescriptors {
        let emulator = try Emulator()
        let file = try MemoryFile(size: 4096)
        do {
          let peer = try emulator.peer().greeted()
          for (command, payload) in Wire.everyCommand where command != .dmaMap {
            let errno = try peer.errno(of: command, payload, descriptors: [file.fd, file.fd])
            // DMA_UNMAP is carried out all the same.
            #expect((errno == 0) == (command == .dmaUnmap), "\(command)")
            peer.send(
              command, payload, flags: VFIOUserHeader.noReply, descriptors: [file.fd, file.fd])
          }
          let map = Wire.map(at: 0x1000, size: 4096)
          #expect(
            try peer.errno(of: .dmaMap, map, descriptors: [file.fd, file.fd]) == EINVAL)
          // No eventfd, and eventfds in another number than was said.
          #expect(
            try peer.errno(of: .deviceSetIRQs, Wire.setIRQs(flags: 0x24), descriptors: [file.fd])
              == EINVAL)
          let event = try EventFD()
          let fds = [event.rawValue, event.rawValue]
          let errors = try [
            peer.errno(of: .deviceSetIRQs, Wire.setIRQs(flags: 0x24), descriptors: fds),
            peer.errno(of: .deviceSetIRQs, Wire.setIRQs(flags: 0x21), descriptors: fds),
            peer.errno(
              of: .deviceSetIRQs, Wire.setIRQs(flags: 0x22, data: [1]), descriptors: fds),
          ]
          #expect(errors == [EINVAL, EINVAL, EINVAL])
        }
        do {
          let peer = try emulator.peer()
          #expect(try peer.errno(of: .version, Wire.version(), descriptors: [file.fd]) == EINVAL)
        }
        // In the middle of a message, and more than was ever agreed.
        let message = VFIOUserHeader(id: 1, command: .regionRead, size: 32, flags: 0).bytes
        do {
          let peer = try emulator.peer().greeted()
          peer.send(message)
          peer.send(Wire.read(0, 4), descriptors: [file.fd])
          #expect(try peer.receive() == nil)
        }
        do {
          let peer = try emulator.peer().greeted()
          peer.send(message, descriptors: [CInt](repeating: file.fd, count: 200))
          #expect(try peer.receive() == nil)
        }
        do {
          let peer = try emulator.peer().greeted()
          for byte in message { peer.send([byte], descriptors: [file.fd, file.fd, file.fd]) }
          #expect(try peer.receive() == nil)
        }
        #expect(try emulator.peer().greet())
      }
    }
  }

  @Test("an eventfd that is full, and would block, holds nobody up")
  func fullEventFD() throws {
    let emulator = try Emulator()
    let peer = try emulator.peer().greeted()
    let event = OwnedDescriptorBox(OwnedFileDescriptor(owning: netdma_eventfd_blocking()))
    var full = UInt64.max - 1
    #expect(write(event.rawValue, &full, 8) == 8)
    let assign = Wire.setIRQs(flags: 0x24)
    #expect(try peer.errno(of: .deviceSetIRQs, assign, descriptors: [event.rawValue]) == 0)
    #expect(try peer.errno(of: .deviceSetIRQs, Wire.setIRQs(flags: 0x21)) == 0)
  }

  @Test(
    "a wrong answer to a request for memory is a device error",
    arguments: ["error", "short", "long", "elsewhere", "other command", "none, and a reset"])
  func wrongAnswers(kind: String) throws {
    let emulator = try Emulator()
    let peer = try emulator.peer().greeted()
    #expect(try peer.errno(of: .dmaMap, Wire.map(at: Self.base, size: 12288)) == 0)
    for (offset, value, width, region) in [
      (4, 6, 2, 7), (0x98, Self.base + 64, 8, 0), (0x90, Self.base, 8, 0), (0x86, 1, 2, 0),
    ] as [(UInt64, UInt64, Int, UInt32)] {
      peer.send(
        .regionWrite, Wire.write(offset, value, width: width, region: region),
        flags: VFIOUserHeader.noReply)
    }
    let request = try #require(try peer.receive())
    #expect(request.header.command == .dmaRead)
    let data = [UInt8](repeating: 1, count: 64)
    switch kind {
    case "error": peer.reply(to: request, [], error: UInt32(EFAULT))
    case "short": peer.reply(to: request, request.payload + data.dropLast())
    case "long": peer.reply(to: request, request.payload + data + [0])
    case "elsewhere": peer.reply(to: request, Wire.u64s(0, 64) + data)
    case "other command":
      var other = request
      other.header.command = .regionRead
      peer.reply(to: other, request.payload + data)
    default:
      #expect(try peer.errno(of: .deviceReset) == 0)
      #expect(try peer.errno(of: .deviceGetInfo, Wire.u32s(16, 0, 0, 0)) == 0)
      return
    }
    #expect(
      try eventually {
        try peer.ask(.regionRead, Wire.read(0x88, 8))?.payload[16] ?? 0 & 7 == 3
      })
    #expect(try peer.errno(of: .deviceGetInfo, Wire.u32s(16, 0, 0, 0)) == 0)
  }

  @Test("a client that stalls in a message, or takes no answers, is dropped in the end")
  func stalling() async throws {
    try await withThrowingTaskGroup(of: Void.self) { group in
      for floods in [false, true] {
        group.addTask {
          let emulator = try Emulator()
          let peer = try emulator.peer().greeted()
          if floods {
            let flags = fcntl(peer.rawValue, F_GETFL)
            _ = fcntl(peer.rawValue, F_SETFL, flags | O_NONBLOCK)
            let message = VFIOUserHeader(id: 1, command: .regionRead, size: 32, flags: 0).bytes
            // Until neither side takes any more.
            while Glibc.send(
              peer.rawValue, message + Wire.read(0, 0x4000), 32, CInt(MSG_NOSIGNAL)) == 32
            {}
          } else {
            peer.send(Array(Wire.version().prefix(9)))
          }
          #expect(eventually { (try? emulator.client()) != nil })
          withExtendedLifetime(peer) {}
        }
      }
      try await group.waitForAll()
    }
  }

  @Test("random messages leave the server as it was", arguments: [1, 2, 3, 4] as [UInt64])
  func noise(seed: UInt64) throws {
    var state = seed &* 0x9e37_79b9_7f4a_7c15
    func random(_ bound: UInt64) -> UInt64 {
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return (state >> 33) % bound
    }
    let emulator = try Emulator()
    let file = try MemoryFile(size: 1 << 20)
    var peer = try emulator.peer().greeted()
    for _ in 0..<1500 {
      var (command, payload) = Wire.everyCommand[Int(random(16))]
      for _ in 0..<random(4) where !payload.isEmpty {
        payload[Int(random(UInt64(payload.count)))] = UInt8(
          [0, 1, 0xff, random(256)][Int(random(4))])
      }
      if random(20) == 0 { payload += [UInt8](repeating: 0xff, count: Int(random(64))) }
      if random(50) == 0 { command = VFIOUserCommand(rawValue: UInt16(random(30))) }
      let descriptors = [CInt](repeating: file.fd, count: random(5) == 0 ? Int(random(4)) : 0)
      if try peer.ask(command, payload, descriptors: descriptors) == nil {
        peer = try emulator.peer().greeted()
      }
    }
    peer.close()
    #expect(try emulator.client().read(.configuration, at: 0, width: .dword) == 0x2021_8086)
  }
}

// SPDX-License-Identifier: Apache-2.0

import Glibc
import NetDmaMock
import NetDmaVFIO
import Testing

/// A command that a server has to refuse, and how.
struct BadCommand: CustomTestStringConvertible, Sendable {
  let testDescription: String
  let command: VFIOUserCommand
  let payload: [UInt8]
  let errno: CInt

  init(_ what: String, _ command: VFIOUserCommand, _ payload: [UInt8], _ errno: CInt = EINVAL) {
    testDescription = what
    self.command = command
    self.payload = payload
    self.errno = errno
  }

  static let all = mappings + information + interrupts + accesses + unknown

  private static let mappings = [
    BadCommand("map: no bytes", .dmaMap, Wire.map(at: 0x1000, size: 0)),
    BadCommand("map: size no pages", .dmaMap, Wire.map(at: 0x1000, size: 4097)),
    BadCommand("map: address no page", .dmaMap, Wire.map(at: 0x1001, size: 4096)),
    BadCommand("map: wraps", .dmaMap, Wire.map(at: 0xffff_ffff_ffff_f000, size: 8192)),
    BadCommand("map: no rights", .dmaMap, Wire.map(at: 0x1000, size: 4096, flags: 0)),
    BadCommand("map: unknown flag", .dmaMap, Wire.map(at: 0x1000, size: 4096, flags: 0x13)),
    BadCommand("map: argsz", .dmaMap, Wire.map(at: 0x1000, size: 4096, argsz: 31)),
    BadCommand("map: longer", .dmaMap, Wire.map(at: 0x1000, size: 4096) + [0]),
    BadCommand("map: overlap", .dmaMap, Wire.map(at: 0x8000_0000, size: 4096), EEXIST),
    BadCommand("map: overlap around", .dmaMap, Wire.map(at: 0, size: 1 << 40), EEXIST),
    BadCommand("map: overlap tail", .dmaMap, Wire.map(at: 0x8000_1000, size: 1 << 30), EEXIST),
    BadCommand("unmap: no bytes", .dmaUnmap, Wire.unmap(at: 0x1000, size: 0)),
    BadCommand("unmap: wraps", .dmaUnmap, Wire.unmap(at: 0x1000, size: .max)),
    BadCommand("unmap: argsz", .dmaUnmap, Wire.unmap(at: 0x1000, size: 4096, argsz: 23)),
    BadCommand("unmap: flag", .dmaUnmap, Wire.unmap(at: 0x1000, size: 4096, flags: 1)),
    BadCommand("unmap: all of part", .dmaUnmap, Wire.unmap(at: 0x1000, size: 0, flags: 2)),
    BadCommand("unmap: all and more", .dmaUnmap, Wire.unmap(at: 0, size: 0, flags: 3)),
  ]

  private static let information = [
    BadCommand("info: argsz", .deviceGetInfo, Wire.u32s(15, 0, 0, 0)),
    BadCommand("region: none", .deviceGetRegionInfo, Wire.regionInfo(9)),
    BadCommand("region: -1", .deviceGetRegionInfo, Wire.regionInfo(.max)),
    BadCommand("region: argsz", .deviceGetRegionInfo, Wire.regionInfo(0, argsz: 31)),
    BadCommand("io fds: index", .deviceGetRegionIOFDs, Wire.u32s(16, 0, 9, 0)),
    BadCommand("io fds: flags", .deviceGetRegionIOFDs, Wire.u32s(16, 1, 0, 0)),
    BadCommand("io fds: count", .deviceGetRegionIOFDs, Wire.u32s(16, 0, 0, 1)),
    BadCommand("irq: none", .deviceGetIRQInfo, Wire.irqInfo(5)),
    BadCommand("irq: -1", .deviceGetIRQInfo, Wire.irqInfo(.max)),
    BadCommand("irq: argsz", .deviceGetIRQInfo, Wire.irqInfo(2, argsz: 15)),
    BadCommand("reset: with payload", .deviceReset, [0]),
  ]

  private static let interrupts = [
    BadCommand("irqs: no data kind", .deviceSetIRQs, Wire.setIRQs(flags: 0x20)),
    BadCommand("irqs: two data kinds", .deviceSetIRQs, Wire.setIRQs(flags: 0x23)),
    BadCommand("irqs: no action", .deviceSetIRQs, Wire.setIRQs(flags: 0x01)),
    BadCommand("irqs: two actions", .deviceSetIRQs, Wire.setIRQs(flags: 0x31)),
    BadCommand("irqs: unknown flag", .deviceSetIRQs, Wire.setIRQs(flags: 0x61)),
    BadCommand("irqs: index", .deviceSetIRQs, Wire.setIRQs(flags: 0x21, index: 5)),
    BadCommand("irqs: argsz", .deviceSetIRQs, Wire.setIRQs(flags: 0x21, argsz: 19)),
    BadCommand("irqs: start", .deviceSetIRQs, Wire.setIRQs(flags: 0x21, start: 2)),
    BadCommand("irqs: start wraps", .deviceSetIRQs, Wire.setIRQs(flags: 0x21, start: .max)),
    BadCommand("irqs: count", .deviceSetIRQs, Wire.setIRQs(flags: 0x21, count: 3)),
    BadCommand("irqs: count wraps", .deviceSetIRQs, Wire.setIRQs(flags: 0x22, count: .max)),
    BadCommand(
      "irqs: sum wraps", .deviceSetIRQs, Wire.setIRQs(flags: 0x24, start: 1, count: .max)),
    BadCommand(
      "irqs: disable from 1", .deviceSetIRQs, Wire.setIRQs(flags: 0x21, start: 1, count: 0)),
    BadCommand("irqs: mask none", .deviceSetIRQs, Wire.setIRQs(flags: 0x09, count: 0)),
    BadCommand("irqs: fds of none", .deviceSetIRQs, Wire.setIRQs(flags: 0x24, count: 0)),
    BadCommand("irqs: mask by fd", .deviceSetIRQs, Wire.setIRQs(flags: 0x0c)),
    BadCommand("irqs: bool short", .deviceSetIRQs, Wire.setIRQs(flags: 0x22, count: 2, data: [1])),
    BadCommand("irqs: bool long", .deviceSetIRQs, Wire.setIRQs(flags: 0x22, data: [1, 1])),
    BadCommand("irqs: none with data", .deviceSetIRQs, Wire.setIRQs(flags: 0x21, data: [1])),
    BadCommand("irqs: fd with data", .deviceSetIRQs, Wire.setIRQs(flags: 0x24, data: [1])),
    BadCommand("irqs: error masked", .deviceSetIRQs, Wire.setIRQs(flags: 0x09, index: 3)),
    BadCommand("irqs: error twice", .deviceSetIRQs, Wire.setIRQs(flags: 0x21, index: 3, count: 2)),
    BadCommand("irqs: no eventfd", .deviceSetIRQs, Wire.setIRQs(flags: 0x21), ENOENT),
  ]

  private static let accesses = [
    BadCommand("read: region", .regionRead, Wire.read(0, 4, region: 9)),
    BadCommand("read: absent region", .regionRead, Wire.read(0, 4, region: 3)),
    BadCommand("read: beyond", .regionRead, Wire.read(0x4000, 1)),
    BadCommand("read: across the end", .regionRead, Wire.read(0x3ffc, 8)),
    BadCommand("read: wraps", .regionRead, Wire.read(.max, 256)),
    BadCommand("read: count", .regionRead, Wire.read(0, .max)),
    BadCommand("read: with data", .regionRead, Wire.read(0, 1) + [0]),
    BadCommand("write: region", .regionWrite, Wire.write(0, [1], region: .max)),
    BadCommand("write: beyond", .regionWrite, Wire.write(4096, [1], region: 7)),
    BadCommand("write: wraps", .regionWrite, Wire.write(.max, [1, 2])),
    BadCommand("write: data short", .regionWrite, Wire.write(0x98, [1, 2], count: 3)),
    BadCommand("write: data long", .regionWrite, Wire.write(0x98, [1, 2], count: 1)),
    BadCommand("write: count", .regionWrite, Wire.write(0x98, [1, 2], count: .max)),
    BadCommand("writes: too many", .regionWriteMulti, Wire.u64s(201)),
    BadCommand("writes: product wraps", .regionWriteMulti, Wire.u64s(1 << 61)),
    BadCommand("writes: -1", .regionWriteMulti, Wire.u64s(.max)),
    BadCommand("writes: missing", .regionWriteMulti, Wire.u64s(2, 0) + Wire.u32s(0, 4)),
    BadCommand(
      "writes: width", .regionWriteMulti, Wire.u64s(1, 0x98) + Wire.u32s(0, 9) + Wire.u64s(0)),
    BadCommand(
      "writes: beyond", .regionWriteMulti,
      Wire.u64s(1, 0x4000) + Wire.u32s(0, 4) + Wire.u64s(0)),
  ]

  private static let unknown = [
    BadCommand("a second VERSION", .version, Wire.version()),
    BadCommand("command 0", VFIOUserCommand(rawValue: 0), [], ENOSYS),
    BadCommand("command 14", VFIOUserCommand(rawValue: 14), [], ENOSYS),
    BadCommand("command 65535", VFIOUserCommand(rawValue: .max), [1, 2, 3], ENOSYS),
    BadCommand("a server's command", .dmaRead, Wire.u64s(0, 4096), ENOSYS),
    BadCommand("a server's other command", .dmaWrite, Wire.u64s(0, 0), ENOSYS),
    BadCommand("a feature", .deviceFeature, Wire.u32s(8, 0x10001), ENOTTY),
    BadCommand("migration", .migrationDataRead, Wire.u32s(8, .max), ENOTTY),
  ]
}

@Suite("vfio-user server: malformed messages")
struct HostileMessageTests {
  private static let configuration = ModelConfiguration(channelCount: 2, timing: .fast)

  @Test("a command that makes no sense is refused with its errno, and the next one is answered")
  func refusals() throws {
    let emulator = try Emulator(Self.configuration)
    let peer = try emulator.peer().greeted()
    #expect(try peer.errno(of: .dmaMap, Wire.map(at: 0x8000_0000, size: 8192)) == 0)
    for bad in BadCommand.all {
      #expect(try peer.errno(of: bad.command, bad.payload) == bad.errno, "\(bad.testDescription)")
      #expect(try peer.errno(of: .deviceGetInfo, Wire.u32s(16, 0, 0, 0)) == 0)
    }
  }

  @Test("the same without a wish for a reply gets none")
  func noReply() throws {
    let emulator = try Emulator(Self.configuration)
    let peer = try emulator.peer().greeted()
    for bad in BadCommand.all {
      peer.send(bad.command, bad.payload, id: 99, flags: VFIOUserHeader.noReply)
    }
    let reply = try peer.ask(.deviceGetInfo, Wire.u32s(16, 0, 0, 0))
    #expect(reply?.header.id == 7)
    #expect(reply?.header.command == .deviceGetInfo)
  }

  @Test("a command cut anywhere, with a size that says so, is refused")
  func shortPayloads() throws {
    let emulator = try Emulator(Self.configuration)
    let peer = try emulator.peer().greeted()
    for (command, payload) in Wire.everyCommand {
      for length in 0..<payload.count {
        let errno = try peer.errno(of: command, Array(payload.prefix(length)))
        #expect(errno ?? 0 != 0, "\(command) with \(length) bytes")
      }
    }
  }

  @Test("a stream that cannot be trusted is closed, and the next client is served")
  func brokenFraming() throws {
    let emulator = try Emulator(Self.configuration)
    func header(_ size: UInt32, _ flags: UInt32 = 0) -> [UInt8] {
      VFIOUserHeader(id: 1, command: .deviceGetInfo, size: size, flags: flags).bytes
    }
    let broken = [
      header(0), header(15), header(.max), header(UInt32(VFIOUser.maximumMessage + 1)),
      header(16, 2), header(16, 15), header(16, 1), header(16, 0x21),
    ]
    for bytes in broken {
      let peer = try emulator.peer().greeted()
      peer.send(bytes)
      #expect(try peer.receive() == nil, "\(bytes)")
    }
    #expect(try emulator.peer().greet())
  }

  @Test("a flood of replies to nothing ends the connection of who sends it")
  func replyFlood() throws {
    let emulator = try Emulator(Self.configuration)
    let peer = try emulator.peer().greeted()
    for _ in 0..<10_000 {
      if !peer.send(.regionRead, [1, 2, 3], flags: 1) { break }
    }
    #expect(try peer.receive() == nil)
    #expect(try emulator.peer().greet())
  }

  @Test("messages in single bytes, and a hundred in one piece, are all answered in order")
  func pieces() throws {
    let emulator = try Emulator(Self.configuration)
    let peer = try emulator.peer().greeted()
    let message = VFIOUserHeader(id: 3, command: .regionRead, size: 32, flags: 0).bytes
    for byte in message + Wire.read(0x88, 8) { peer.send([byte]) }
    #expect(try peer.receive()?.payload.count == 24)
    var many: [UInt8] = []
    for id: UInt16 in 0..<100 {
      many += VFIOUserHeader(id: id, command: .regionRead, size: 32, flags: 0).bytes
      many += Wire.read(0x88, 8)
    }
    peer.send(many)
    for id: UInt16 in 0..<100 { #expect(try peer.receive()?.header.id == id) }
  }

  // MARK: - VERSION

  @Test("whoever does not begin with a valid VERSION is refused")
  func badVersions() throws {
    let emulator = try Emulator(Self.configuration)
    let deep = String(repeating: "[", count: 5000) + String(repeating: "]", count: 5000)
    func capabilities(_ text: String) -> String { "{\"capabilities\":{\(text)}}" }
    let texts = [
      "", "[]", "3", "{", "{\"capabilities\":}", "{\"capabilities\":3}", "{\"capabilities\":[]}",
      "{\"capabilities\":{}", "{capabilities:{}}", "{\"capabilities\":{}}x", deep,
      String(repeating: "[", count: 20) + String(repeating: "]", count: 20),
      capabilities("\"max_msg_fds\":\"1\""), capabilities("\"max_msg_fds\":-1"),
      capabilities("\"max_msg_fds\":1e3"), capabilities("\"max_msg_fds\":-99999999999999999999"),
      capabilities("\"max_data_xfer_size\":0"), capabilities("\"x\":1."),
      capabilities("\"x\":\"\\ud83d\""), capabilities("\"x\":01"),
      capabilities("\"max_dma_maps\":0"), capabilities("\"pgsizes\":4095"),
      capabilities("\"pgsizes\":0"), capabilities("\"migration\":1"),
      capabilities("\"migration\":{\"pgsize\":\"x\"}"),
      capabilities("\"migration\":{\"pgsize\":4095}"), capabilities("\"twin_socket\":true"),
      capabilities("\"x\":\"" + String(repeating: "y", count: 5000) + "\""),
    ]
    var payloads = texts.map { Wire.version(json: $0) }
    payloads.append(Wire.version(json: "{}", nul: false))
    payloads.append(Wire.version(major: 1))
    payloads.append([])
    payloads.append([0, 0])
    payloads.append(Wire.version(json: nil) + [0xff, 0xfe, 0])
    for payload in payloads {
      let peer = try emulator.peer()
      #expect(try peer.errno(of: .version, payload) == EINVAL, "\(payload.count) bytes")
      #expect(try peer.receive() == nil)
    }
    for (command, payload) in Wire.everyCommand where command != .version {
      let peer = try emulator.peer()
      peer.send(command, payload)
      #expect(try peer.receive() == nil)
    }
  }

  @Test(
    "what the specification leaves open is taken",
    arguments: [
      nil, "{}", "{\"capabilities\":{}}",
      // What the field's other clients say, and what they might.
      "{\"capabilities\":{\"max_msg_fds\":8,\"max_data_xfer_size\":1024}}",
      "{\"capabilities\":{\"max_msg_fds\":99999999999999999999,\"pgsizes\":18446744073709547520}}",
      "{\"capabilities\":{\"x\":-1.5e+3,\"y\":\"\\ud83d\\ude00\"}}",
      " { \"capabilities\" : { \"x\" : [ 1 , null ] } } ",
      "{\"capabilities\":{\"max_msg_fds\":16,\"max_data_xfer_size\":1048576,\"pgsizes\":4096,"
        + "\"max_dma_maps\":65535,\"migration\":{\"pgsize\":4096,\"max_bitmap_size\":268435456},"
        + "\"write_multiple\":true}}",
    ])
  func goodVersions(json: String?) throws {
    let emulator = try Emulator(Self.configuration)
    let payload = Wire.version(minor: 2, json: json)
    let reply = try emulator.peer().ask(.version, payload)
    #expect(reply?.header.isError == false)
    #expect(reply?.payload.prefix(4) == [0, 0, 0, 0])
    #expect(reply?.payload.last == 0)
    // QEMU has no more room for the reply than its own offer took.
    #expect((reply?.payload.count ?? .max) < 200)
  }
}

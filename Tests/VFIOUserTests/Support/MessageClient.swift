// SPDX-License-Identifier: Apache-2.0

import NetDmaVFIO
import Testing

/// A client that shares no file: the device reaches its memory by asking for it.
///
/// It has one thread, so what it is asked meanwhile it answers while it waits for an answer of its own.
final class MessageClient {
  /// How it lays its own data out.
  enum Layout: String, CaseIterable {
    case specified = "as specified"
    case early = "like QEMU"

    var dataOffset: Int { self == .specified ? 16 : 12 }
  }

  static let base: UInt64 = 0x40_0000
  private let peer: RawPeer
  private let layout: Layout
  /// What is mapped from `base` on.
  var memory: [UInt8]
  /// Stores to memory are not answered while this is true.
  var holdsStores = false
  /// Commands of the server that were answered.
  private(set) var answered = 0
  private var held: [VFIOUserMessage] = []

  init(_ emulator: Emulator, _ layout: Layout, bytes: Int, transfer: Int = 1 << 20) throws {
    peer = try emulator.peer()
    self.layout = layout
    memory = [UInt8](repeating: 0, count: bytes)
    let json = "{\"capabilities\":{\"max_data_xfer_size\":\(transfer)}}"
    try #require(try peer.errno(of: .version, Wire.version(json: json)) == 0)
    _ = try ask(.dmaMap, Wire.map(at: Self.base, size: UInt64(bytes)))
    try write(4, 6, width: 2, region: 7)
  }

  /// Sends a command and gives its answer's payload, serving the device's requests until it comes.
  @discardableResult
  func ask(
    _ command: VFIOUserCommand, _ payload: [UInt8], descriptors: [CInt] = []
  ) throws -> [UInt8] {
    peer.send(command, payload, descriptors: descriptors)
    while true {
      let message = try #require(try peer.receive())
      if message.header.isReply {
        try #require(message.header.command == command && !message.header.isError)
        return message.payload
      }
      serve(message)
    }
  }

  /// Answers the requests of the device until `condition` holds.
  func serve(until condition: () -> Bool) throws {
    while !condition() { serve(try #require(try peer.receive())) }
  }

  /// Answers the stores that were held back.
  func releaseStores() {
    holdsStores = false
    for message in held { serve(message) }
    held = []
  }

  func write(_ offset: UInt64, _ value: UInt64, width: Int, region: UInt32 = 0) throws {
    try ask(.regionWrite, Wire.write(offset, value, width: width, region: region))
  }

  func read(_ offset: UInt64, width: UInt32) throws -> UInt64 {
    let payload = try ask(.regionRead, Wire.read(offset, width))
    return payload.dropFirst(16).reversed().reduce(0) { $0 << 8 | UInt64($1) }
  }

  /// The number at `offset` of the memory.
  func word(_ offset: Int) -> UInt64 {
    memory[offset..<offset + 8].reversed().reduce(0) { $0 << 8 | UInt64($1) }
  }

  func set(_ offset: Int, _ words: UInt64...) {
    for (index, word) in words.enumerated() {
      memory.replaceSubrange(offset + 8 * index..<offset + 8 * index + 8, with: Wire.u64s(word))
    }
  }

  private func serve(_ message: VFIOUserMessage) {
    if holdsStores, message.header.command == .dmaWrite {
      held.append(message)
      return
    }
    answered += 1
    var reader = WireReader(message.payload)
    guard let address = reader.u64(), let count = reader.u32(), address >= Self.base,
      address - Self.base + UInt64(count) <= UInt64(memory.count)
    else {
      peer.reply(to: message, [], error: 14)
      return
    }
    let range = Int(address - Self.base)..<Int(address - Self.base) + Int(count)
    let start = layout.dataOffset
    if message.header.command == .dmaWrite {
      // As QEMU does it, a client of either kind takes what lies where it expects it.
      memory.replaceSubrange(range, with: message.payload[start..<start + range.count])
      peer.reply(to: message, layout == .early ? [] : Array(message.payload.prefix(16)))
      return
    }
    var answer = Wire.u64s(address, UInt64(count)) + [UInt8](repeating: 0, count: range.count)
    answer.replaceSubrange(start..<start + range.count, with: memory[range])
    peer.reply(to: message, answer)
  }
}

// SPDX-License-Identifier: Apache-2.0

import CFuzz
import FuzzSupport
import Glibc
import Logging
import NetDmaVFIO

/// The client's reply decoder: a server that answers with what the input says.
///
/// What is expected: every call returns or throws a `VFIOError`, soon, and nothing that was not shared
/// is reached.
@main
struct FuzzClient {
  static func main() {
    exit(
      runFuzzer { data, size in
        FuzzClient.rig.run(FuzzInput(data, size))
        return 0
      })
  }

  static let rig = Rig()
}

final class Rig: Sendable {
  private struct Memory: @unchecked Sendable {
    // @unchecked: shared with a peer that may touch it at any time, as its nature is.
    let base = UnsafeMutableRawPointer.allocate(byteCount: 8192, alignment: 4096)
  }

  private let path = "netdma-fuzz-\(getpid()).sock"
  private let listener: CInt
  private let files: [CInt]
  private let memory = Memory()
  private let logger = Logger(label: "fuzz") { _ in SwiftLogNoOpLogHandler() }

  init() {
    listener = cfuzz_listen(path)
    guard listener >= 0 else { fatalError("no socket") }
    files = [cfuzz_memory_file(65536, 1), cfuzz_memory_file(65536, 0), cfuzz_memory_file(4096, 1)]
    memory.base.initializeMemory(as: UInt8.self, repeating: 7, count: 8192)
  }

  func run(_ input: FuzzInput) {
    let listener = listener
    let files = files
    guard
      let thread = try? PinnedThread(
        name: "server",
        body: { _ in
          let socket = cfuzz_accept(listener)
          if socket >= 0 { Peer(socket, input, files).serve() }
        })
    else { return }
    drive()
    thread.join()
  }

  /// Every call of the client once.
  private func drive() {
    guard
      let client = try? VFIOUserClient.connect(path: path, timeout: .seconds(2), logger: logger)
    else { return }
    let address = UInt(bitPattern: memory.base)
    let events = [cfuzz_eventfd(), -1, -1]
    defer { close(events[0]) }
    // A page that is shared for reading, next to one that is not shared.
    try? client.mapDMA(DMARegion(address: address, size: 4096), at: 0x1000, permissions: .read)
    for region: UInt32 in [0, 7, 3] {
      guard let info = try? client.regionInfo(RegionIndex(rawValue: region)) else { continue }
      for area in info.mappableAreas.prefix(2) {
        guard
          let mapping = try? client.map(
            RegionIndex(rawValue: region), range: area.lowerBound..<area.lowerBound + 4096)
        else { continue }
        mapping.address.storeBytes(of: 1, toByteOffset: 4095, as: UInt8.self)
      }
    }
    if let window = try? RegisterWindow(client) { try? window.write16(0x86, 1) }
    for index in IRQIndex.allCases { _ = try? client.interruptCount(index) }
    try? client.enableInterrupts(.msix, eventFDs: events)
    for width in AccessWidth.allCases { _ = try? client.read(.bar0, at: 8, width: width) }
    try? client.write(.configuration, at: 4, width: .word, value: 6)
    try? client.disableInterrupts(.msix)
    try? client.unmapDMA(iova: 0x1000, size: 4096)
    guard memory.base.load(fromByteOffset: 0, as: UInt8.self) == 7,
      memory.base.load(fromByteOffset: 4096, as: UInt8.self) == 7
    else { fatalError("memory was written that was not shared for writing") }
  }
}

/// The server's side of one connection: answers from the input until that ends, then hangs up.
final class Peer {
  private let socket: CInt
  private var input: FuzzInput
  private let files: [CInt]

  init(_ socket: CInt, _ input: FuzzInput, _ files: [CInt]) {
    self.socket = socket
    self.input = input
    self.files = files
  }

  deinit { close(socket) }

  func serve() {
    while let (id, command, payload) = receive() {
      // The first byte says whether what follows is right, odd, or nothing of the kind.
      guard !input.isAtEnd else { return }
      let kind = input.u8()
      if kind & 0x80 != 0 { ask() }
      // Silence and half an answer would only have the client wait for its time limit.
      if kind & 0xc1 == 0x40 { return }
      let answer = kind & 1 == 0 ? standard(command, payload) : input.take(Int(input.u8()))
      var changed = answer
      if kind & 2 != 0, !changed.isEmpty {
        changed[Int(input.u8()) % changed.count] = input.u8()
      }
      let flags: UInt32 = kind & 0x0c == 0x0c ? UInt32(input.u8()) : 1
      let size = kind & 0x30 == 0x30 ? Int(input.u16()) : 16 + changed.count
      let bytes = header(id: id, command: command, size: size, flags: flags) + changed
      let file = files[Int(kind >> 4 & 3) % files.count]
      let count: CInt = command == 5 || kind & 0x38 == 0x28 ? 1 : 0
      guard cfuzz_send(socket, bytes, bytes.count, file, count) != 0, size <= bytes.count,
        flags & 0x1f == 1
      else { return }
    }
  }

  /// A request of the server's own.
  private func ask() {
    var payload = littleEndian64(UInt64(input.u16()) << 4, input.u64(bytes: 4))
    payload += input.take(Int(input.u8()))
    let bytes =
      header(id: 77, command: UInt16(input.u8() & 15), size: 16 + payload.count, flags: 0)
      + payload
    _ = cfuzz_send(socket, bytes, bytes.count, -1, 0)
  }

  private func standard(_ command: UInt16, _ payload: [UInt8]) -> [UInt8] {
    switch command {
    case 1: return [0, 0, 0, 0] + Array("{\"capabilities\":{\"max_msg_fds\":4}}".utf8) + [0]
    case 4: return littleEndian32(16, 3, 9, 5)
    case 5:
      // A page that can be mapped, for doorbells.
      let index = payload.dropFirst(8).prefix(4)
      return littleEndian32(80, 15) + index + littleEndian32(32) + littleEndian64(0x4000, 0)
        + littleEndian32(1 | 1 << 16, 64, 1, 0) + littleEndian64(0x1000, 0x1000)
        + littleEndian32(0x4e44 | 1 << 16, 0) + littleEndian64(0x1000)
    case 7: return littleEndian32(16, 1) + payload.dropFirst(8).prefix(4) + littleEndian32(2)
    case 9:
      return payload + [UInt8](repeating: 1, count: Int(payload.dropFirst(12).first ?? 0))
    case 3: return payload
    default: return []
    }
  }

  private func receive() -> (id: UInt16, command: UInt16, payload: [UInt8])? {
    while true {
      guard let head = read(16) else { return nil }
      let size = Int(head[4]) | Int(head[5]) << 8
      guard size >= 16, let payload = read(size - 16) else { return nil }
      // Answers to our own requests, and what wants none.
      if head[8] & 0x1f != 0 { continue }
      return (
        UInt16(head[0]) | UInt16(head[1]) << 8, UInt16(head[2]) | UInt16(head[3]) << 8, payload
      )
    }
  }

  private func read(_ count: Int) -> [UInt8]? {
    var bytes = [UInt8](repeating: 0, count: count)
    var done = 0
    while done < count {
      let result = bytes.withUnsafeMutableBytes { buffer in
        buffer.baseAddress.map { cfuzz_receive(socket, $0 + done, count - done) } ?? 0
      }
      guard result > 0 else { return nil }
      done += result
    }
    return bytes
  }
}

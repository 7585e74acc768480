// SPDX-License-Identifier: Apache-2.0

import CNetDma
import Glibc
import NetDmaMock
import NetDmaVFIO
import Testing

/// A bare register-level user of the device in this process: no driver, only registers and memory.
///
/// Bus addresses start at `base`; the memory is zero at first.
//
// @unchecked: constants; the memory is what tests and engines share by design.
final class ModelBench: @unchecked Sendable {
  static let base: UInt64 = 0x1_0000_0000
  let transport: MockTransport
  let size: Int
  let memory: UnsafeMutableRawPointer
  var model: IOATModel { transport.model }

  /// Where the pieces lie: ring at the base, completion word behind it, data from `data` on.
  static let slots = 1024
  static let completion = base + UInt64(slots * 64)
  static let data = base + 0x2_0000

  init(
    _ configuration: ModelConfiguration = ModelConfiguration(timing: .fast),
    size: Int = 1 << 20, isBusMaster: Bool = true
  ) throws {
    transport = try MockTransport(configuration: configuration)
    self.size = size
    memory = UnsafeMutableRawPointer.allocate(byteCount: size, alignment: 4096)
    memory.initializeMemory(as: UInt8.self, repeating: 0, count: size)
    try transport.mapDMA(
      DMARegion(address: UInt(bitPattern: memory), size: UInt64(size)), at: Self.base,
      permissions: .readWrite)
    if isBusMaster {
      try transport.write(.configuration, at: 4, width: .word, value: 6)
    }
  }

  deinit {
    // The engines must be gone before the memory is.
    transport.model.stop()
    memory.deallocate()
  }

  // MARK: - Registers of channel `channel`

  func read(_ offset: Int, _ width: Int, channel: Int = 0) -> UInt64 {
    model.readRegister(0x80 * (channel + 1) + offset, width: width)
  }
  func write(_ offset: Int, _ width: Int, _ value: UInt64, channel: Int = 0) {
    model.writeRegister(0x80 * (channel + 1) + offset, width: width, value: value)
  }
  func status(_ channel: Int = 0) -> UInt64 { read(0x08, 8, channel: channel) }
  func state(_ channel: Int = 0) -> UInt64 { status(channel) & 7 }
  func error(_ channel: Int = 0) -> UInt64 { read(0x28, 4, channel: channel) }

  /// CHANCTRL, CHANCMP and CHAINADDR as a driver writes them; no doorbell.
  func start(
    control: UInt64 = 0x1d, chain: UInt64 = ModelBench.base,
    completion: UInt64 = ModelBench.completion, channel: Int = 0
  ) {
    write(0x00, 2, control, channel: channel)
    write(0x18, 8, completion, channel: channel)
    write(0x10, 8, chain, channel: channel)
  }
  func ring(_ count: Int, channel: Int = 0) {
    write(0x06, 2, UInt64(count & 0xffff), channel: channel)
  }

  // MARK: - Memory

  func pointer(_ address: UInt64) -> UnsafeMutableRawPointer { memory + Int(address - Self.base) }
  func load(_ address: UInt64) -> UInt64 { netdma_load_acquire64(pointer(address)) }
  func store(_ value: UInt64, to address: UInt64) {
    netdma_store_release64(pointer(address), value)
  }
  func bytes(_ address: UInt64, _ count: Int) -> [UInt8] {
    netdma_fence_acquire()
    return [UInt8](UnsafeRawBufferPointer(start: pointer(address), count: count))
  }
  func put(_ bytes: [UInt8], at address: UInt64) {
    UnsafeMutableRawBufferPointer(start: pointer(address), count: bytes.count).copyBytes(from: bytes)
    netdma_fence_release()
  }
  var word: UInt64 { load(Self.completion) }

  /// Address of ring slot `index`; the ring has `slots` slots.
  static func slot(_ index: Int) -> UInt64 { base + UInt64(index % slots * 64) }

  /// Writes a slot whose `next` is the one behind it. `control` holds options and, in bits 31:24, the
  /// opcode.
  func descriptor(
    _ index: Int, control: UInt32, size: UInt32, source: UInt64 = 0, destination: UInt64 = 0,
    next: UInt64? = nil, word4: UInt64 = 0, word5: UInt64 = 0, word6: UInt64 = 0, word7: UInt64 = 0
  ) {
    let slot = pointer(Self.slot(index)).assumingMemoryBound(to: UInt64.self)
    slot[0] = UInt64(size) | UInt64(control) << 32
    slot[1] = source
    slot[2] = destination
    slot[3] = next ?? Self.slot(index + 1)
    slot[4] = word4
    slot[5] = word5
    slot[6] = word6
    slot[7] = word7
    netdma_fence_release()
  }

  // MARK: - Waiting

  static let limit = Duration.seconds(20)

  /// Waits until `condition` holds; a test fails where it does not in time.
  @discardableResult
  func wait(
    _ what: Comment, sourceLocation: SourceLocation = #_sourceLocation,
    until condition: () throws -> Bool
  ) rethrows -> Bool {
    let deadline = Deadline(after: Self.limit)
    while try !condition() {
      if deadline.hasPassed {
        Issue.record("timed out waiting for: \(what)", sourceLocation: sourceLocation)
        return false
      }
      usleep(50)
    }
    return true
  }

  @discardableResult
  func waitForState(
    _ wanted: UInt64, channel: Int = 0, sourceLocation: SourceLocation = #_sourceLocation
  ) -> Bool {
    wait("channel \(channel) in state \(wanted)", sourceLocation: sourceLocation) {
      state(channel) == wanted
    }
  }
}

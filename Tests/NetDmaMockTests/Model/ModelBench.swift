// SPDX-License-Identifier: Apache-2.0

import CNetDma
import Glibc
import NetDmaMock
import NetDmaVFIO
import Synchronization
import Testing

/// Counts interrupt messages by vector.
final class RecordingLine: InterruptLine {
  private let counts = Mutex<[Int: Int]>([:])
  func signal(vector: Int) { counts.withLock { $0[vector, default: 0] += 1 } }
  func count(_ vector: Int = 0) -> Int { counts.withLock { $0[vector] ?? 0 } }
  var total: Int { counts.withLock { $0.values.reduce(0, +) } }
}

/// Bus memory that can hold back the engine in the middle of a copy, and counts its accesses.
final class GatedMemory: BusMemory {
  let inner = LocalMemory()
  private struct Gate {
    var source: UInt64?
    var isHolding = false
  }
  private let gate = Mutex(Gate())
  private let accesses = Atomic<Int>(0)

  /// Accesses so far.
  var accessCount: Int { accesses.load(ordering: .acquiring) }
  /// The next copy from `source` waits until `open`.
  func close(at source: UInt64) { gate.withLock { $0 = Gate(source: source) } }
  func open() { gate.withLock { $0.source = nil } }
  /// Whether a copy waits now.
  var isHolding: Bool { gate.withLock { $0.isHolding } }

  func read(_ address: UInt64, into buffer: UnsafeMutableRawBufferPointer) throws(BusFault) {
    accesses.add(1, ordering: .acquiringAndReleasing)
    try inner.read(address, into: buffer)
  }
  func write(_ address: UInt64, from buffer: UnsafeRawBufferPointer) throws(BusFault) {
    accesses.add(1, ordering: .acquiringAndReleasing)
    try inner.write(address, from: buffer)
  }
  func copy(from source: UInt64, to destination: UInt64, count: Int) throws(BusFault) {
    accesses.add(1, ordering: .acquiringAndReleasing)
    while true {
      let waits = gate.withLock { gate in
        gate.isHolding = gate.source == source
        return gate.isHolding
      }
      if !waits { break }
      usleep(50)
    }
    try inner.copy(from: source, to: destination, count: count)
  }
  func storeRelease(_ value: UInt64, to address: UInt64) throws(BusFault) {
    accesses.add(1, ordering: .acquiringAndReleasing)
    try inner.storeRelease(value, to: address)
  }
}

/// A bare register-level user of the model: no driver, no transport, only registers and memory.
///
/// Bus addresses start at `base`; the memory is zero at first.
final class ModelBench: @unchecked Sendable {
  // @unchecked: constants; the memory is what tests and engines share by design.
  static let base: UInt64 = 0x1_0000_0000
  let bus = GatedMemory()
  let line = RecordingLine()
  let model: IOATModel
  let size: Int
  let memory: UnsafeMutableRawPointer

  /// Where the pieces lie: ring at the base, completion words behind it, data from `data` on.
  static let slots = 1024
  static let completion = base + UInt64(slots * 64)
  static let data = base + 0x2_0000

  init(
    _ configuration: ModelConfiguration = ModelConfiguration(timing: .fast), size: Int = 1 << 20
  ) throws {
    model = try IOATModel(configuration: configuration, memory: bus, interrupts: line)
    self.size = size
    memory = UnsafeMutableRawPointer.allocate(byteCount: size, alignment: 4096)
    memory.initializeMemory(as: UInt8.self, repeating: 0, count: size)
    try bus.inner.map(iova: Self.base, size: UInt64(size), pointer: memory)
  }

  deinit {
    // The engines must be gone before the memory is.
    bus.open()
    model.stop()
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
  /// DMACOUNT.
  func ring(_ count: Int, channel: Int = 0) {
    write(0x06, 2, UInt64(count & 0xffff), channel: channel)
  }
  /// CHANCMD.
  func command(_ bits: UInt64, channel: Int = 0) { write(0x04, 1, bits, channel: channel) }
  /// INTRCTRL: master enable and a vector per channel, as Linux writes it with MSI-X.
  func enableInterrupts(_ value: UInt64 = 0x09) {
    model.writeRegister(0x03, width: 1, value: value)
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
    UnsafeMutableRawBufferPointer(start: pointer(address), count: bytes.count)
      .copyBytes(from: bytes)
    netdma_fence_release()
  }
  /// The completion word.
  var word: UInt64 { load(Self.completion) }

  /// Address of ring slot `index`; the ring has `slots` slots.
  static func slot(_ index: Int) -> UInt64 { base + UInt64(index % slots * 64) }
  /// A data area of 4 KiB.
  static func page(_ index: Int) -> UInt64 { data + UInt64(index * 4096) }

  /// Writes a slot whose `next` is the one behind it.
  ///
  /// `control` holds options and, in bits 31:24, the opcode.
  func descriptor(
    _ index: Int, control: UInt32, size: UInt32, source: UInt64 = 0, destination: UInt64 = 0,
    next: UInt64? = nil, word4: UInt64 = 0, word5: UInt64 = 0, word6: UInt64 = 0, word7: UInt64 = 0
  ) {
    slot(
      index,
      [
        UInt64(size) | UInt64(control) << 32, source, destination, next ?? Self.slot(index + 1),
        word4, word5, word6, word7,
      ])
  }

  /// Writes the eight words of a slot.
  func slot(_ index: Int, _ words: [UInt64]) {
    let slot = pointer(Self.slot(index)).assumingMemoryBound(to: UInt64.self)
    for (position, word) in words.enumerated() { slot[position] = word }
    netdma_fence_release()
  }

  /// A copy of 64 bytes from page 2 to page 3, each slot its own 64 bytes of them.
  func smallCopy(
    _ index: Int, control: UInt32 = 0x8, source: UInt64? = nil, destination: UInt64? = nil
  ) {
    let offset = UInt64(index % 64 * 64)
    descriptor(
      index, control: control, size: 64, source: source ?? Self.page(2) + offset,
      destination: destination ?? Self.page(3) + offset)
  }

  /// Bytes that differ from place to place.
  static func pattern(_ count: Int, seed: Int = 1) -> [UInt8] {
    (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ $0 >> 8 &* 7 &+ seed &* 101) }
  }

  // MARK: - Waiting

  static let limit = Duration.seconds(20)

  /// Waits until `condition` holds; the test fails where it does not in time.
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
      usleep(20)
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

  /// Waits until the engine is held back in a copy.
  func waitForGate(sourceLocation: SourceLocation = #_sourceLocation) {
    wait("the engine in the middle of a copy", sourceLocation: sourceLocation) { bus.isHolding }
  }

  /// Waits for an interrupt count.
  func waitForInterrupts(
    _ count: Int, vector: Int = 0, sourceLocation: SourceLocation = #_sourceLocation
  ) {
    wait("\(count) interrupts", sourceLocation: sourceLocation) { line.count(vector) >= count }
  }
}

/// CHANSTS codes.
enum State {
  static let active: UInt64 = 0
  static let idle: UInt64 = 1
  static let suspended: UInt64 = 2
  static let halted: UInt64 = 3
  static let armed: UInt64 = 4
}
/// CHANCMD bits.
enum Command {
  static let suspend: UInt64 = 0x04
  static let abort: UInt64 = 0x08
  static let resume: UInt64 = 0x10
  static let reset: UInt64 = 0x20
}

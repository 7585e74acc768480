// SPDX-License-Identifier: Apache-2.0

import Glibc
import NetDmaMock
import NetDmaVFIO

/// What an engine does wrong with memory.
struct MemoryMutation: Sendable {
  /// Changes the eight words of each descriptor that the engine reads.
  var descriptor: (@Sendable (inout [UInt64]) -> Void)?
  /// Bytes that a copy moves instead of `count`.
  var copyCount: (@Sendable (_ count: Int) -> Int)?
  /// Bytes that a fill writes instead of `count`.
  var fillCount: (@Sendable (_ count: Int) -> Int)?
  /// The completion word that is written instead.
  var word: (@Sendable (_ word: UInt64) -> UInt64)?
  /// What becomes of a refused access; nil, nobody hears of it.
  var fault: (@Sendable (BusFault) -> BusFault?)?
  /// A copy's data is read as soon as its descriptor is, fence or not.
  var prefetches = false
  /// A copy's data is written after the completion word.
  var wordOvertakesData = false
}

/// Bus memory as an engine with a mistake uses it.
final class MutantMemory: BusMemory {
  private let inner: any BusMemory
  private let mutation: MemoryMutation

  private struct State {
    /// Data that was read too early, by its address.
    var early: [UInt64: [UInt8]] = [:]
    /// Data that is written too late.
    var late: [(address: UInt64, bytes: [UInt8])] = []
  }
  private let state = Mutex(State())

  init(_ inner: any BusMemory, _ mutation: MemoryMutation) {
    self.inner = inner
    self.mutation = mutation
  }

  /// Reads of whole slots within a page of them are descriptors; data comes in other sizes.
  private func isDescriptorRead(_ address: UInt64, _ count: Int) -> Bool {
    address % 64 == 0 && count % 64 == 0 && count <= 1024
  }

  func read(_ address: UInt64, into buffer: UnsafeMutableRawBufferPointer) throws(BusFault) {
    try inner.read(address, into: buffer)
    guard isDescriptorRead(address, buffer.count) else { return }
    for slot in stride(from: 0, to: buffer.count, by: 64) {
      var words = (0..<8).map { buffer.load(fromByteOffset: slot + 8 * $0, as: UInt64.self) }
      // A slot that this engine knows its own address of, for `next`.
      words.append(address + UInt64(slot))
      mutation.descriptor?(&words)
      for index in 0..<8 {
        buffer.storeBytes(of: words[index], toByteOffset: slot + 8 * index, as: UInt64.self)
      }
      if mutation.prefetches, words[0] >> 56 == 0 {
        prefetch(words[1], Int(words[0] & 0xffff_ffff))
      }
    }
  }

  private func prefetch(_ source: UInt64, _ count: Int) {
    var bytes = [UInt8](repeating: 0, count: count)
    let isRead = bytes.withUnsafeMutableBytes { buffer in
      (try? inner.read(source, into: buffer)) != nil
    }
    if isRead { state.withLock { $0.early[source] = bytes } }
  }

  func write(_ address: UInt64, from buffer: UnsafeRawBufferPointer) throws(BusFault) {
    let count = mutation.fillCount?(buffer.count) ?? buffer.count
    // What lies behind the engine's buffer is not ours: the surplus repeats the end.
    var bytes = [UInt8](buffer)
    while bytes.count < count { bytes.append(bytes.last ?? 0) }
    try refusing { () throws(BusFault) in try put(bytes, at: address) }
  }

  func copy(from source: UInt64, to destination: UInt64, count: Int) throws(BusFault) {
    let count = mutation.copyCount?(count) ?? count
    try refusing { () throws(BusFault) in
      if let bytes = state.withLock({ $0.early.removeValue(forKey: source) }), bytes.count == count
      {
        return try put(bytes, at: destination)
      }
      guard mutation.wordOvertakesData else {
        return try inner.copy(from: source, to: destination, count: count)
      }
      try flush()
      var bytes = [UInt8](repeating: 0, count: count)
      try get(&bytes, from: source)
      state.withLock { $0.late.append((destination, bytes)) }
    }
  }

  func storeRelease(_ value: UInt64, to address: UInt64) throws(BusFault) {
    try inner.storeRelease(mutation.word?(value) ?? value, to: address)
    if mutation.wordOvertakesData {
      usleep(3000)
      try flush()
    }
  }

  private func flush() throws(BusFault) {
    let late = state.withLock { state in
      defer { state.late = [] }
      return state.late
    }
    for (address, bytes) in late { try put(bytes, at: address) }
  }

  private func get(_ bytes: inout [UInt8], from address: UInt64) throws(BusFault) {
    try bytes.withUnsafeMutableBytes { buffer in
      Result { () throws(BusFault) in try inner.read(address, into: buffer) }
    }.get()
  }

  private func put(_ bytes: [UInt8], at address: UInt64) throws(BusFault) {
    try bytes.withUnsafeBytes { buffer in
      Result { () throws(BusFault) in try inner.write(address, from: buffer) }
    }.get()
  }

  private func refusing(_ body: () throws(BusFault) -> Void) throws(BusFault) {
    do throws(BusFault) {
      try body()
    } catch {
      guard let fault = mutation.fault else { throw error }
      if let other = fault(error) { throw other }
    }
  }
}

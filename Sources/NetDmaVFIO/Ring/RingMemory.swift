// SPDX-License-Identifier: Apache-2.0

import CNetDma

/// What a channel shares with its engine, and the tables beside it.
///
/// One DMA buffer holds the descriptors, linked into a circle once and for all, and behind them the
/// completion word. The engine may write any of it at any time, so the tables that the driver
/// trusts (tokens, multi-slot operations) lie in ordinary memory.
@safe package final class RingMemory: @unchecked Sendable {
  // @unchecked: the pointers are constant. Slots at and after the producer's position belong to the
  // producer, those before it to the engine and then to the reaper; the positions are handed over
  // through atomics in ChannelProgress. Tests run this under ThreadSanitizer.
  private let buffer: DMABuffer
  /// Whether a super-extended descriptor block for each slot follows the completion word.
  private let hasExtensions: Bool
  /// Slots, a power of two.
  package let capacity: UInt32
  /// Capacity minus one: turns a position into a slot.
  package let mask: UInt32
  /// The device's address of slot 0.
  package let iova: UInt64
  /// The device's address of the completion word.
  package let completionIOVA: UInt64

  // Valid while this object lives: `buffer` owns the first two, deinit frees the others.
  let descriptors: UnsafeMutablePointer<DmaDescriptor>
  let completion: UnsafeMutablePointer<UInt64>
  let tokens: UnsafeMutablePointer<UInt64>
  let spans: UnsafeMutablePointer<OperationSpan>

  /// The engine counts descriptors in 16 bits, and one slot always stays free.
  package static let capacityRange: ClosedRange<Int> = 8...32768

  /// The number of slots within that range that is next to `wanted`.
  package static func bounded(_ wanted: Int) -> Int {
    min(max(wanted, capacityRange.lowerBound), capacityRange.upperBound)
  }

  /// Allocates and links a ring; `capacity` is rounded up to a power of two in `capacityRange`.
  package init(
    capacity wanted: Int, in space: DMAAddressSpace, hasExtensions: Bool = false
  ) throws(VFIOError) {
    let slots = Self.bounded(wanted).nextPowerOfTwo
    capacity = UInt32(slots)
    mask = UInt32(slots - 1)
    let ringBytes = slots * MemoryLayout<DmaDescriptor>.stride
    let extensionBytes = hasExtensions ? slots * ExtensionBlock.byteCount : 0
    buffer = try space.allocate(byteCount: ringBytes + 64 + extensionBytes)
    self.hasExtensions = hasExtensions
    iova = buffer.iova
    completionIOVA = iova + UInt64(ringBytes)
    // The buffer is page aligned, zeroed and large enough for the slots and the word behind them.
    let base = unsafe buffer.baseAddress
    unsafe descriptors = base.bindMemory(to: DmaDescriptor.self, capacity: slots)
    unsafe completion = (base + ringBytes).bindMemory(to: UInt64.self, capacity: 8)
    unsafe tokens = .allocate(capacity: slots)
    unsafe tokens.initialize(repeating: 0, count: slots)
    unsafe spans = .allocate(capacity: slots / 2)
    unsafe spans.initialize(
      repeating: OperationSpan(start: 0, slots: 0, layout: .pieces), count: slots / 2)
    for slot in 0..<slots {
      // A free slot is harmless if an engine prefetches it: a null transfer of one byte.
      unsafe descriptors[slot].transferSize = 1
      unsafe descriptors[slot].controlFlags = .nullTransfer
      unsafe descriptors[slot].nextDescriptor =
        iova + UInt64((slot + 1) & (slots - 1)) * UInt64(MemoryLayout<DmaDescriptor>.stride)
    }
  }

  deinit {
    // Trivial types; nobody reads the tables after the last reference to this object.
    unsafe tokens.deallocate()
    unsafe spans.deallocate()
  }

  /// The device's address of the descriptor at `position`.
  package func address(of position: UInt32) -> UInt64 {
    iova &+ UInt64(position & mask) &* 64
  }

  /// A copy of the descriptor at `position`, for messages only: the engine may have changed it.
  package func descriptor(at position: UInt32) -> DmaDescriptor {
    unsafe descriptors[Int(position & mask)]
  }

  /// The super-extended descriptor block that belongs to the slot of `position`.
  func extensionBlock(at position: UInt32) throws(NetDmaError) -> ExtensionBlock {
    guard hasExtensions else {
      throw .notSupported(call: "enqueue", detail: "The ring has no super-extended descriptors.")
    }
    let offset =
      Int(capacity) * MemoryLayout<DmaDescriptor>.stride + 64
      + Int(position & mask) * ExtensionBlock.byteCount
    // In bounds by the mask; the buffer has a block for each slot.
    return unsafe ExtensionBlock(
      memory: buffer.baseAddress + offset, iova: iova &+ UInt64(offset))
  }

  /// What the engine last wrote, with acquire.
  @inline(__always)
  package func loadCompletion() -> CompletionWord {
    CompletionWord(rawValue: unsafe netdma_load_acquire64(completion))
  }

  /// Forgets what the engine wrote; only while it is stopped.
  package func clearCompletion() { unsafe netdma_store_release64(completion, 0) }
}

/// The memory of a super-extended descriptor: 16 words besides the ring.
///
/// It is the producer's as long as the slot is.
@safe struct ExtensionBlock {
  static let byteCount = 128
  private let memory: UnsafeMutableRawPointer
  private let iova: UInt64

  init(memory: UnsafeMutableRawPointer, iova: UInt64) {
    unsafe self.memory = memory
    self.iova = iova
  }

  /// Stores at most 16 words; gives the device's address of the block.
  func write(_ words: [UInt64]) -> UInt64 {
    for (index, word) in words.prefix(Self.byteCount / 8).enumerated() {
      // Below the size of the block, which is aligned to its size.
      unsafe memory.storeBytes(of: word.littleEndian, toByteOffset: 8 * index, as: UInt64.self)
    }
    return iova
  }
}

/// An operation that takes more than one slot.
package struct OperationSpan {
  /// How its slots hang together.
  package enum Layout: UInt8, Sendable {
    /// Each slot is a descriptor of its own; the operation was cut at the transfer limit.
    case pieces
    /// The first slot is the descriptor, the second its extension (XOR and PQ); then descriptors.
    case extended
  }
  /// Position of its first slot.
  package var start: UInt32
  /// Its number of slots, at least 2.
  package var slots: UInt32
  /// How they hang together.
  package var layout: Layout
}

extension Int {
  /// The smallest power of two that is not smaller; 1 for zero and below.
  package var nextPowerOfTwo: Int {
    self <= 1 ? 1 : 1 << (Int.bitWidth - (self - 1).leadingZeroBitCount)
  }
}

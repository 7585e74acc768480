// SPDX-License-Identifier: Apache-2.0

import Synchronization

/// Buffers of one size, made once and handed out again and again.
///
/// Thread-safe. Taking and returning a buffer costs a lock and no mapping. The pool lies on huge pages
/// if asked for and available, and on the device's NUMA node where that is known.
public final class DMABufferPool: Sendable {
  /// Bytes of each buffer.
  public let bufferSize: Int
  /// Buffers of the pool.
  public let capacity: Int
  private let memory: Memory
  private let space: DMAAddressSpace
  private let state: Mutex<State>

  /// The one allocation that all buffers are parts of.
  private final class Memory: Sendable {
    let buffer: DMABuffer
    init(_ buffer: consuming DMABuffer) { self.buffer = buffer }
  }

  private struct State {
    var free: [Int]
    /// Returned while copies were in flight: free when all channels have passed the marks.
    var returned: [(number: Int, marks: [DMAAddressSpace.Mark])] = []
  }

  /// Makes `capacity` buffers of at least `bufferSize` bytes; each begins a cache line.
  ///
  /// - Throws: What `DMAAddressSpace.allocate` throws; `VFIOError.invalidMapping` for sizes below 1.
  public init(
    in space: DMAAddressSpace, bufferSize: Int, capacity: Int, pages: DMAPageSize = .base
  ) throws(VFIOError) {
    let (padded, overflow) = bufferSize.addingReportingOverflow(63)
    let stride = padded / 64 * 64
    guard bufferSize > 0, capacity > 0, !overflow, stride <= Int.max / 2 / capacity else {
      throw .invalidMapping(
        device: space.transport.name, iova: 0, size: 0,
        reason: "A pool has at least one buffer of one byte, and at most \(Int.max / 2) bytes.")
    }
    self.bufferSize = bufferSize
    self.capacity = capacity
    self.space = space
    self.stride = stride
    memory = Memory(try space.allocate(byteCount: stride * capacity, pages: pages))
    state = Mutex(State(free: Array((0..<capacity).reversed())))
  }

  private let stride: Int

  /// Whether the pool lies on 2 MiB pages.
  public var isHuge: Bool { memory.buffer.isHuge }

  /// Buffers that could be taken now.
  public var available: Int {
    state.withLock { state in
      reclaim(&state)
      return state.free.count
    }
  }

  /// A buffer, nil when all are taken or still in flight.
  ///
  /// Its bytes are what the last owner left.
  public func take() -> PooledBuffer? {
    let number = state.withLock { state in
      if state.free.isEmpty { reclaim(&state) }
      return state.free.popLast()
    }
    return number.map { PooledBuffer(pool: self, number: $0) }
  }

  private func reclaim(_ state: inout State) {
    for index in state.returned.indices.reversed() where state.returned[index].marks.allPassed() {
      state.free.append(state.returned.remove(at: index).number)
    }
  }

  fileprivate func giveBack(_ number: Int) {
    let marks = space.marks()
    state.withLock { state in
      if marks.isEmpty { state.free.append(number) } else { state.returned.append((number, marks)) }
    }
  }

  fileprivate func slice(_ number: Int) -> DMASlice {
    memory.buffer.slice(number * stride..<number * stride + bufferSize)
  }

  @unsafe fileprivate func address(_ number: Int) -> UnsafeMutableRawPointer {
    // In bounds: numbers are below the capacity.
    unsafe memory.buffer.baseAddress + number * stride
  }
}

/// A buffer from a pool; it goes back when its owner ends.
///
/// Ending it while copies are in flight is safe: the pool hands it out again only when every engine has
/// passed them.
public struct PooledBuffer: ~Copyable, Sendable {
  private let pool: DMABufferPool
  private let number: Int

  fileprivate init(pool: DMABufferPool, number: Int) {
    self.pool = pool
    self.number = number
  }

  deinit { pool.giveBack(number) }

  /// Bytes.
  public var count: Int { pool.bufferSize }

  /// All of it, as the device sees it.
  public var slice: DMASlice { pool.slice(number) }

  /// The bytes, for the time of `body`.
  ///
  /// The device may change them meanwhile if a copy into them is in flight.
  public borrowing func withBytes<R: ~Copyable, E: Error>(
    _ body: (RawSpan) throws(E) -> R
  ) throws(E) -> R {
    // The pool outlives the call, since self is borrowed.
    try body(
      unsafe RawSpan(
        _unsafeStart: UnsafeRawPointer(pool.address(number)), byteCount: pool.bufferSize))
  }

  /// The bytes for writing, for the time of `body`.
  public mutating func withMutableBytes<R: ~Copyable, E: Error>(
    _ body: (inout MutableRawSpan) throws(E) -> R
  ) throws(E) -> R {
    // The pool outlives the call, and `mutating` makes this the only access through the value.
    var span = unsafe MutableRawSpan(
      _unsafeStart: pool.address(number), byteCount: pool.bufferSize)
    return try body(&span)
  }
}

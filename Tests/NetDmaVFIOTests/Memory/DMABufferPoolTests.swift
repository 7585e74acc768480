// SPDX-License-Identifier: Apache-2.0

import NetDmaMock
import Testing

@testable import NetDmaVFIO

struct DMABufferPoolTests {
  private struct Empty: Error {}

  private func take(_ pool: DMABufferPool) throws -> PooledBuffer {
    guard let buffer = pool.take() else { throw Empty() }
    return buffer
  }

  @Test("every buffer is handed out once, none overlaps another, and a returned one comes again")
  func take() throws {
    let bench = try EngineBench()
    let pool = try DMABufferPool(in: bench.engine.addressSpace, bufferSize: 100, capacity: 3)
    var slices: [DMASlice] = []
    do {
      let a = try take(pool)
      let b = try take(pool)
      let c = try take(pool)
      let isEmpty = pool.take() == nil
      #expect(isEmpty)
      #expect(pool.available == 0)
      slices = [a.slice, b.slice, c.slice]
    }
    #expect(slices.count == 3 && slices.allSatisfy { $0.count == 100 })
    let sorted = slices.map(\.iova).sorted()
    #expect(sorted[1] - sorted[0] >= 128 && sorted[2] - sorted[1] >= 128)
    #expect(pool.available == 3)
  }

  @Test("a buffer that is returned in flight is handed out only when the engine has passed it")
  func inFlight() throws {
    let bench = try EngineBench()
    let pool = try DMABufferPool(in: bench.engine.addressSpace, bufferSize: 4096, capacity: 1)
    var channel = try bench.open(.polled)
    do {
      guard let buffer = pool.take() else {
        Issue.record("the pool is empty")
        return
      }
      let sent = channel.enqueueCopy(
        from: bench.memory.source(0..<4096), to: buffer.slice, token: 1)
      #expect(sent)
    }
    #expect(pool.available == 0)
    try channel.submit()
    _ = try pollAll(&channel, 1)
    #expect(pool.available == 1)
  }

  @Test("what is written to a buffer is what the engine copies")
  func contents() throws {
    let bench = try EngineBench()
    let pool = try DMABufferPool(
      in: bench.engine.addressSpace, bufferSize: 64, capacity: 2, pages: .huge2MiB)
    var channel = try bench.open(.polled)
    guard var buffer = pool.take() else {
      Issue.record("the pool is empty")
      return
    }
    buffer.withMutableBytes { span in
      for index in 0..<64 {
        span.storeBytes(of: UInt8(index), toByteOffset: index, as: UInt8.self)
      }
    }
    let sent = channel.enqueueCopy(from: buffer.slice, to: bench.memory.target(0..<64), token: 1)
    #expect(sent)
    try channel.submit()
    _ = try pollAll(&channel, 1)
    #expect(bench.memory.targetBytes(0..<64) == (0..<64).map { UInt8($0) })
  }

  @Test("a buffer of a batch that is never submitted comes back with the channel's end")
  func neverSubmitted() throws {
    let bench = try EngineBench()
    let pool = try DMABufferPool(
      in: bench.engine.addressSpace, bufferSize: 4096, capacity: 1)
    do {
      var channel = try bench.open(.polled)
      let buffer = try take(pool)
      let sent = channel.enqueueCopy(
        from: bench.memory.source(0..<4096), to: buffer.slice, token: 1)
      #expect(sent)
      _ = consume buffer
      #expect(pool.available == 0)
      end(channel)
    }
    #expect(pool.available == 1)
  }

  @Test("a buffer that nobody asked for while positions wrapped is free afterwards")
  func wrapped() throws {
    let bench = try EngineBench()
    let space = bench.engine.addressSpace
    let pool = try DMABufferPool(in: space, bufferSize: 4096, capacity: 1)
    let progress = ChannelProgress()
    space.attach(progress)
    defer { space.detach(progress) }
    do {
      let buffer = try take(pool)
      progress.publishBegun()
      progress.publishSubmitted(1)
      _ = consume buffer
    }
    // 2^31 descriptors later, in laps of 32,768.
    for _ in 0..<0x1_0000 { unsafe progress.words.pointee.beginLap(0x8000) }
    progress.publishSubmitted(0x8000_0005)
    progress.retire(0x8000_0005, operations: 5)
    #expect(pool.available == 1)
  }

  @Test("an impossible size is refused", arguments: [(0, 1), (1, 0), (-1, 5), (Int.max, 2)])
  func impossible(size: Int, count: Int) throws {
    let bench = try EngineBench()
    #expect(throws: VFIOError.self) {
      _ = try DMABufferPool(in: bench.engine.addressSpace, bufferSize: size, capacity: count)
    }
  }

  @Test(
    "a pool whose buffers exceed every address with what they are rounded up by is refused",
    arguments: [(1, 1 << 58), (65, 1 << 56), (Int.max - 1, 1)])
  func tooLarge(size: Int, count: Int) throws {
    let bench = try EngineBench()
    let error = try #require(throws: VFIOError.self) {
      _ = try DMABufferPool(in: bench.engine.addressSpace, bufferSize: size, capacity: count)
    }
    guard case .invalidMapping = error else {
      Issue.record("\(error)")
      return
    }
  }
}

// SPDX-License-Identifier: Apache-2.0

import Testing

@testable import NetDmaVFIO

@Suite struct IOVAAllocatorTests {
  private static let usual: [ClosedRange<UInt64>] = [
    0...0xfedf_ffff, 0xfef0_0000...0x7f_ffff_ffff,
  ]

  private func take(
    _ allocator: inout IOVAAllocator, _ size: UInt64, _ alignment: UInt64
  ) throws -> UInt64 {
    let start = allocator.allocate(size: size, alignment: alignment)
    return try #require(start)
  }

  @Test func addressesStartAbove4GiBAndKeepAGuardPageBetweenRanges() throws {
    var allocator = IOVAAllocator(ranges: Self.usual, limit: .max, page: 4096)
    let first = try take(&allocator, 8192, 4096)
    let second = try take(&allocator, 4096, 4096)
    #expect(first >= 1 << 32)
    #expect(second >= first + 8192 + 4096)
  }

  @Test func addressZeroAndReservedWindowsAreNeverHandedOut() throws {
    // Only the two windows around the interrupt addresses, and nothing above.
    var allocator = IOVAAllocator(
      ranges: [0...0xfedf_ffff, 0xfef0_0000...0xffff_ffff], limit: .max, page: 4096)
    var seen = 0
    while let start = allocator.allocate(size: 16 << 20, alignment: 4096) {
      let last = start + (16 << 20) - 1
      #expect(start != 0)
      #expect(last <= 0xfedf_ffff || start >= 0xfef0_0000)
      seen += 1
    }
    #expect(seen > 200)
  }

  @Test func theEnginesAddressWidthIsALimit() throws {
    var allocator = IOVAAllocator(
      ranges: Self.usual, limit: (1 << 33) - 1, page: 4096)
    while let start = allocator.allocate(size: 1 << 30, alignment: 1 << 21) {
      #expect(start + (1 << 30) <= 1 << 33)
    }
  }

  @Test func aFreedAddressIsNotReusedBeforeTheSearchWentRound() throws {
    var allocator = IOVAAllocator(ranges: Self.usual, limit: .max, page: 4096)
    let first = try take(&allocator, 4096, 4096)
    allocator.free(first, size: 4096)
    for _ in 0..<1000 {
      let next = try take(&allocator, 4096, 4096)
      #expect(next != first)
      allocator.free(next, size: 4096)
    }
  }

  @Test func freeingEverythingInAnyOrderRestoresEverything() throws {
    var allocator = IOVAAllocator(ranges: Self.usual, limit: .max, page: 4096)
    let before = allocator.free
    var held: [(UInt64, UInt64)] = []
    var generator = SystemRandomNumberGenerator()
    for _ in 0..<200 {
      let size = UInt64.random(in: 1...64, using: &generator) * 4096
      held.append((try take(&allocator, size, 4096), size))
    }
    for (start, size) in held.shuffled() { allocator.free(start, size: size) }
    #expect(allocator.free == before)
  }

  @Test func alignmentIsKept() throws {
    var allocator = IOVAAllocator(ranges: Self.usual, limit: .max, page: 4096)
    _ = allocator.allocate(size: 4096, alignment: 4096)
    let start = try take(&allocator, 4 << 20, 2 << 20)
    #expect(start % (2 << 20) == 0)
  }

  @Test func anExhaustedSpaceAnswersNil() {
    var allocator = IOVAAllocator(ranges: [0x1000...0x4fff], limit: .max, page: 4096)
    let first = allocator.allocate(size: 8192, alignment: 4096)
    let second = allocator.allocate(size: 8192, alignment: 4096)
    let empty = allocator.allocate(size: 0, alignment: 4096)
    #expect(first != nil)
    #expect(second == nil)
    #expect(empty == nil)
  }
}

// SPDX-License-Identifier: Apache-2.0

import Testing

@testable import netdma_probe

@Suite("Break-even of engine and CPU")
struct BreakEvenTests {
  /// Series at 1, 2, 4 KiB and so on.
  private func samples(_ engine: [Double], _ cpu: [Double]) -> [BreakEven.Sample] {
    zip(engine, cpu).enumerated().map { index, pair in
      BreakEven.Sample(size: 1024 << index, engine: pair.0, cpu: pair.1)
    }
  }

  private func make(
    _ engine: [Double], _ cpu: [Double], prefersMore: Bool = true
  ) throws -> BreakEven {
    try #require(BreakEven(samples(engine, cpu), prefersMore: prefersMore))
  }

  @Test("one crossing lies between its neighbours, where straight lines on logarithmic axes meet")
  func crossing() throws {
    // Twice as slow at 2 KiB, twice as fast at 4 KiB: in the middle on a logarithmic axis.
    let found = try make([1, 2, 8, 16], [4, 4, 4, 4])
    let size = try #require(found.size)
    #expect(abs(size - 2048 * 2.0.squareRoot()) < 0.01)
    #expect(found.crossings == 1)
    #expect(
      found.sentence(.throughput, cpuName: "memcpy")
        == "DMA is faster than the CPU's memcpy from about 2.83 KiB on.")
  }

  @Test("for CPU time less is better")
  func less() throws {
    let found = try make([8, 4, 2, 1], [3, 3, 3, 3], prefersMore: false)
    let size = try #require(found.size)
    #expect((2048...4096).contains(size))
    #expect(
      found.sentence(.cpuTime, cpuName: "memset").hasPrefix(
        "DMA is cheaper in CPU time than the CPU's memset from about "))
  }

  @Test("where the engine is never better there is none, and that is said")
  func never() throws {
    let found = try make([1, 1, 1], [2, 2, 2])
    #expect(found.stretches.isEmpty && found.size == nil && found.crossings == 0)
    #expect(
      found.sentence(.throughput, cpuName: "memcpy")
        == "There is no break-even from 1 KiB to 4 KiB: DMA is slower at every size.")
  }

  @Test("where the engine is always better it lies below what was measured")
  func always() throws {
    let found = try make([3, 3, 2], [2, 2, 2])
    #expect(found.size == nil && found.crossings == 0)
    #expect(
      found.sentence(.throughput, cpuName: "memcpy")
        == "DMA is faster than the CPU's memcpy at every size from 1 KiB to 4 KiB: the break-even, "
        + "if there is one, lies below.")
  }

  @Test("with several crossings each stretch is named, and the last one that holds is the answer")
  func several() throws {
    let found = try make([1, 4, 1, 4], [2, 2, 2, 2])
    #expect(found.crossings == 3)
    #expect(found.stretches.count == 2)
    let size = try #require(found.size)
    #expect((4096...8192).contains(size))
    #expect(
      found.sentence(.throughput, cpuName: "memcpy")
        == "DMA is faster than the CPU's memcpy from about 1.41 KiB to 2.83 KiB and from about "
        + "5.66 KiB on.")
  }

  @Test("an engine that falls behind at the largest size has no break-even")
  func fallsBehind() throws {
    let found = try make([4, 4, 1], [2, 2, 2])
    #expect(found.size == nil && found.crossings == 1)
    #expect(
      found.sentence(.throughput, cpuName: "memcpy")
        == "DMA is faster than the CPU's memcpy up to about 2.83 KiB, not for larger ones up to "
        + "4 KiB.")
  }

  @Test("a cell of a table has the answer in a few words")
  func brief() throws {
    #expect(try make([1, 1], [2, 2]).brief == "never")
    #expect(try make([3, 3], [2, 2]).brief == "always")
    #expect(try make([1, 4, 1, 4], [2, 2, 2, 2]).brief == "1.41 KiB to 2.83 KiB; from 5.66 KiB")
    #expect(try make([4, 1], [2, 2]).brief == "up to 1.41 KiB")
  }

  @Test("one size, or none that was measured on both sides, tells nothing")
  func tooFew() {
    #expect(BreakEven(samples([1], [2]), prefersMore: true) == nil)
    #expect(BreakEven([], prefersMore: true) == nil)
    #expect(BreakEven(samples([1, 1], [2, 0]), prefersMore: true) == nil)
  }

  @Test("the order of the sizes does not matter, and as good counts as better")
  func order() throws {
    let sorted = samples([1, 2, 4], [2, 2, 2])
    #expect(
      BreakEven(sorted.reversed(), prefersMore: true) == BreakEven(sorted, prefersMore: true))
    #expect(try make([1, 2, 4], [2, 2, 2]).size == 2048)
  }
}

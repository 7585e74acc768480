// SPDX-License-Identifier: Apache-2.0

import NetDmaMock
import NetDmaVFIO
import Testing

/// A vector for each channel, one for all, or a pin: whatever a function can do, its copies end.
@Suite("Kinds of interrupt")
struct IOATInterruptStyleTests {
  /// A way of interrupting, and the function that offers it first.
  struct Offer: CustomTestStringConvertible {
    let kinds: DeviceProfile.InterruptKinds
    let vectors: Int
    let first: IOATInterruptStyle
    var testDescription: String { "\(first)" }

    static let all = [
      Offer(kinds: [.msix, .msi, .pin], vectors: 3, first: .vectorForEachChannel),
      Offer(kinds: [.msix, .pin], vectors: 1, first: .shared(.msix)),
      Offer(kinds: [.msi, .pin], vectors: 3, first: .shared(.msi)),
      Offer(kinds: [.pin], vectors: 3, first: .shared(.intx)),
    ]
  }

  private func profile(_ kinds: DeviceProfile.InterruptKinds, vectors: Int = 3) throws
    -> DeviceProfile
  {
    var options = DeviceProfile.Options()
    options.channels = 3
    options.interrupts = kinds
    options.timing = .fast
    var profile = try DeviceProfile(named: "skylake", options: options)
    profile.model.vectorCount = vectors
    return profile
  }

  @Test(
    "copies on three channels end by whatever kind of interrupt the function has",
    arguments: Offer.all)
  func everyKind(offer: Offer) throws {
    let bench = try EngineBench(try profile(offer.kinds, vectors: offer.vectors))
    #expect(bench.engine.device.interruptStyles.first == offer.first)
    var first = try bench.open(.interrupt)
    var second = try bench.open(.interrupt)
    var third = try bench.open(.interrupt)
    for index in 0..<60 {
      try first.submitCopies(index..<index + 1, bench.memory)
      try second.submitCopies(100 + index..<101 + index, bench.memory)
      try third.submitCopies(200 + index..<201 + index, bench.memory)
    }
    #expect(bench.log.wait(for: 180).allSatisfy { $0.error == nil })
    let expected = [0, 100, 200].flatMap { start in (start..<start + 60).map { UInt64($0) } }
    #expect(bench.log.tokens.sorted() == expected)
    // The watchdog did not have to look.
    let statistics = bench.engine.statistics.channels
    #expect(statistics.interrupts > 0)
    #expect(statistics.lostInterrupts == 0)
  }

  @Test("an interrupt whose copy failed recovers the channel, also over a shared pin")
  func faults() throws {
    let bench = try EngineBench(try profile([.pin]))
    var channel = try bench.open(.interrupt)
    var other = try bench.open(.interrupt)
    let target = bench.memory.targetIOVA
    bench.model.install(
      FaultPlan(rules: [.init(.error(bit: 9), on: .destination(target...target), limit: 1)]))
    try channel.submitCopies(0..<8, bench.memory)
    try other.submitCopies(100..<108, bench.memory)
    let ended = bench.log.wait(for: 16)
    #expect(ended.filter { $0.error != nil }.map(\.token) == [0])
  }

  @Test("a device reset brings a shared interrupt back")
  func afterReset() throws {
    let bench = try EngineBench(try profile([.pin]))
    var channel = try bench.open(.interrupt)
    let target = bench.memory.targetIOVA
    bench.model.install(FaultPlan(rules: [.init(.hang, on: .destination(target...target))]))
    try channel.submitCopies(0..<8, bench.memory)
    // Reset once by itself, then with the device: the operation that hangs fails.
    #expect(bench.log.wait(for: 8).filter { $0.error != nil }.map(\.token) == [0])
    bench.log.clear()
    bench.model.install(FaultPlan(rules: []))
    try channel.submitCopies(0..<8, bench.memory)
    #expect(bench.log.wait(for: 8).allSatisfy { $0.error == nil })
    #expect(bench.engine.statistics.channels.lostInterrupts == 0)
  }

  @Test("who reads INTRCTRL beside the driver delays copies, and loses none")
  func foreignReader() throws {
    let bench = try EngineBench(try profile([.pin]))
    var channel = try bench.open(.interrupt)
    try channel.submitCopies(0..<4, bench.memory)
    bench.log.wait(for: 4)
    _ = try bench.transport.read(.bar0, at: 0x03, width: .byte)
    bench.log.clear()
    // The master enable is gone: the watchdog finds the work.
    try channel.submitCopies(4..<8, bench.memory)
    #expect(bench.log.wait(for: 4).allSatisfy { $0.error == nil })
  }

  @Test("only the kind that was asked for is used, and one that the function lacks is refused")
  func chosenKind() throws {
    var options = EngineBench.options()
    options.interruptKind = .intx
    let bench = try EngineBench(try profile([.msix, .pin]), options: options)
    var channel = try bench.open(.interrupt)
    try channel.submitCopies(0..<8, bench.memory)
    #expect(bench.log.wait(for: 8).allSatisfy { $0.error == nil })
    #expect(bench.engine.statistics.channels.lostInterrupts == 0)
    // MSI-X enable, bit 15 of its message control, stays off.
    let capability = try bench.transport.read(.configuration, at: 0x82, width: .word)
    #expect(capability & 0x8000 == 0)
    options.interruptKind = .msi
    #expect(throws: NetDmaError.notSupported(call: "start", detail: "mock has no MSI interrupt.")) {
      _ = try EngineBench(try profile([.msix, .pin]), options: options)
    }
  }
}

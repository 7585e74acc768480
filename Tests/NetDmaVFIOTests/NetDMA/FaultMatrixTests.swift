// SPDX-License-Identifier: Apache-2.0

import NetDmaMock
import NetDmaVFIO
import Testing

/// What goes wrong, where in a burst, and what must come of it: each row on each kind of channel.
@Suite("Faults")
struct FaultMatrixTests {
  /// Where the failing operations are.
  enum Place: String, CaseIterable {
    case first, middle, last
    case several = "several in one burst"
    case neighbours = "neighbours"
    case all = "every one"

    func positions(of count: Int) -> Set<Int> {
      switch self {
      case .first: [0]
      case .middle: [count / 2]
      case .last: [count - 1]
      case .several: [1, count / 3, count - 2]
      case .neighbours: [count / 2, count / 2 + 1, count / 2 + 2]
      case .all: Set(0..<count)
      }
    }
  }

  /// How the ring stands when the burst comes.
  enum Ring: String, CaseIterable {
    case fresh
    case wrapping = "wrapping in the burst"
    case full = "full"

    /// Operations before, and in, the burst, on a ring of 64 slots.
    var counts: (before: Int, burst: Int) {
      switch self {
      case .fresh: (0, 12)
      case .wrapping: (57, 12)
      case .full: (20, 63)
      }
    }
  }

  /// The error that the engine reports.
  enum Fault: String, CaseIterable {
    case unreadableSource = "unreadable source"
    case unwritableTarget = "unwritable destination"
    case badControl = "bad control word"
    case engineData = "data integrity"
    case badNext = "bad next address"

    var bit: Int {
      switch self {
      case .unreadableSource: 8
      case .unwritableTarget: 9
      case .badControl: 10
      case .engineData: 7
      case .badNext: 2
      }
    }
  }

  static let rows: [(Fault, Place, Ring)] = Fault.allCases.flatMap { fault in
    Place.allCases.flatMap { place in Ring.allCases.map { (fault, place, $0) } }
  }

  private static let size = 64
  private static func range(_ index: Int) -> Range<Int> { index * 128..<index * 128 + size }

  private func enqueue(_ channel: inout NetDmaChannel, _ bench: EngineBench, _ index: Int) {
    let range = Self.range(index)
    // A handler is called before the slot of its operation is free again.
    let deadline = Deadline(after: .seconds(20))
    var sent = false
    while !sent, !deadline.hasPassed {
      sent = channel.enqueueCopy(
        from: bench.memory.source(range), to: bench.memory.target(range), token: UInt64(index))
    }
    #expect(sent)
  }

  /// Ends of `count` operations from the first on, in their order.
  private func ends(
    _ channel: inout NetDmaChannel, _ bench: EngineBench, after before: Int = 0, _ count: Int,
    _ mode: NetDmaCompletionMode
  ) throws -> [DMACompletion] {
    mode == .polled
      ? try pollAll(&channel, count)
      : Array(bench.log.wait(for: before + count).dropFirst(before))
  }

  @Test(
    "exactly the failing operations fail, the others are done, in order, and the channel goes on",
    arguments: [NetDmaCompletionMode.polled, .interrupt], [UInt8(0x30), 0x32, 0x33, 0x34])
  func halts(mode: NetDmaCompletionMode, version: UInt8) throws {
    for (fault, place, ring) in Self.rows {
      let row = "\(fault.rawValue), \(place.rawValue), ring \(ring.rawValue)"
      let bench = try EngineBench(ModelConfiguration(cbVersion: version, timing: .fast))
      var channel = try bench.open(mode, ringCapacity: 64)
      let (before, burst) = ring.counts
      for index in 0..<before { enqueue(&channel, bench, 1000 + index) }
      try channel.submit()
      _ = try ends(&channel, bench, before, mode)

      let failing = place.positions(of: burst)
      bench.model.install(
        FaultPlan(
          rules: failing.map { index in
            let address = bench.memory.targetIOVA + UInt64(Self.range(index).lowerBound)
            return .init(.error(bit: fault.bit), on: .destination(address...address), limit: 1)
          }))
      for index in 0..<burst { enqueue(&channel, bench, index) }
      try channel.submit()
      let ended = try ends(&channel, bench, after: before, burst, mode)

      let failures = ended.filter { $0.error != nil }
      #expect(Set(failures.map { Int($0.token) }) == failing, "\(row)")
      #expect(failures.map(\.token) == failures.map(\.token).sorted(), "\(row)")
      #expect(Set(ended.map(\.token)).count == burst, "\(row): ended twice")
      if mode == .interrupt {
        #expect(ended.map(\.token) == (0..<burst).map(UInt64.init), "\(row)")
      }
      for failure in failures {
        guard case .channelError(_, let errors, _, let target, let length) = failure.error else {
          Issue.record("\(row): \(String(describing: failure.error))")
          continue
        }
        #expect(errors.rawValue == 1 << UInt32(fault.bit), "\(row)")
        #expect(length == Self.size, "\(row)")
        let offset = UInt64(Self.range(Int(failure.token)).lowerBound)
        #expect(target == bench.memory.targetIOVA + offset, "\(row)")
      }
      for index in 0..<burst {
        let range = Self.range(index)
        #expect(
          failing.contains(index) ? bench.memory.isZero(range) : bench.memory.matches(range),
          "\(row): operation \(index)")
      }
      // The DPC counts when it has told of all it found.
      let counts = (failed: UInt64(failing.count), done: UInt64(before + burst - failing.count))
      let deadline = Deadline(after: .seconds(20))
      while channel.statistics.completed < counts.done, !deadline.hasPassed {}
      #expect(channel.statistics.failed == counts.failed, "\(row)")
      #expect(channel.statistics.completed == counts.done, "\(row)")

      enqueue(&channel, bench, 2000)
      try channel.submit()
      let last = try ends(&channel, bench, after: before + burst, 1, mode)
      #expect(last.map(\.token) == [2000] && last.allSatisfy { $0.error == nil }, "\(row)")
    }
  }

  @Test(
    "memory that is not the device's any more fails the copies that name it, and only those",
    arguments: [NetDmaCompletionMode.polled, .interrupt])
  func unmapped(mode: NetDmaCompletionMode) throws {
    let bench = try EngineBench()
    var channel = try bench.open(mode)
    let gone = try bench.engine.allocate(byteCount: 4096).slice
    let ranges = (0..<6).map(Self.range)
    for (index, range) in ranges.enumerated() {
      let source = index == 1 ? gone.slice(0..<Self.size) : bench.memory.source(range)
      let target = index == 4 ? gone.slice(0..<Self.size) : bench.memory.target(range)
      let sent = channel.enqueueCopy(from: source, to: target, token: UInt64(index))
      #expect(sent)
    }
    try channel.submit()
    let ended = try ends(&channel, bench, 6, mode)
    for completion in ended {
      switch (completion.token, completion.error) {
      case (1, .channelError(_, let errors, _, _, _)): #expect(errors == .readData)
      case (4, .channelError(_, let errors, _, _, _)): #expect(errors == .writeData)
      case (let token, nil): #expect(bench.memory.matches(Self.range(Int(token))))
      default: Issue.record("\(completion)")
      }
    }
  }

  @Test(
    "a completion address that is bad is put right, and everything ends",
    arguments: [NetDmaCompletionMode.polled, .interrupt])
  func badCompletionAddress(mode: NetDmaCompletionMode) throws {
    let bench = try EngineBench()
    var channel = try bench.open(mode)
    // Behind the driver's back, as a broken engine might have it.
    try bench.transport.write(.bar0, at: 0x98, width: .qword, value: 0xdead_0000)
    for index in 0..<8 { enqueue(&channel, bench, index) }
    try channel.submit()
    let ended = try ends(&channel, bench, 8, mode)
    #expect(Set(ended.map(\.token)).count == 8)
    for completion in ended where completion.error == nil {
      #expect(bench.memory.matches(Self.range(Int(completion.token))))
    }
    enqueue(&channel, bench, 30)
    try channel.submit()
    let next = try ends(&channel, bench, after: 8, 1, mode)
    #expect(next.first?.error == nil && bench.memory.matches(Self.range(30)))
  }

  /// Faults that end well, if not at once.
  static let harmless: [(String, FaultPlan.Effect, Int?)] = [
    ("slow descriptors", .slow(nanoseconds: 2_000_000), nil),
    ("a lost interrupt", .lostInterrupt, nil),
    ("spurious interrupts", .spuriousInterrupt, nil),
    ("lost completion words", .lostCompletion, nil),
    ("a completion word from nowhere", .wrongCompletion(xor: 0x7000_0000_0000), nil),
    ("a completion word that says HALTED", .wrongCompletion(xor: 2), nil),
    ("an engine that hangs once", .hang, 1),
  ]

  @Test(
    "operations survive what only delays them or their report",
    arguments: [NetDmaCompletionMode.polled, .interrupt], 0..<7)
  func harmless(mode: NetDmaCompletionMode, row: Int) throws {
    let (name, effect, limit) = Self.harmless[row]
    let bench = try EngineBench()
    var channel = try bench.open(mode)
    let target = bench.memory.targetIOVA
    bench.model.install(
      FaultPlan(rules: [
        .init(effect, on: .destination(target...target + 1_000_000), limit: limit)
      ]))
    for index in 0..<5 {
      enqueue(&channel, bench, index)
      try channel.submit()
    }
    let ended = try ends(&channel, bench, 5, mode)
    #expect(ended.map(\.token) == [0, 1, 2, 3, 4], "\(name)")
    #expect(ended.allSatisfy { $0.error == nil }, "\(name): \(ended)")
    for index in 0..<5 { #expect(bench.memory.matches(Self.range(index)), "\(name)") }
  }

  @Test(
    "an operation that hangs again after the channel's reset fails when the device is reset",
    arguments: [NetDmaCompletionMode.polled, .interrupt])
  func hangsTwice(mode: NetDmaCompletionMode) throws {
    let bench = try EngineBench()
    var channel = try bench.open(mode)
    let address = bench.memory.targetIOVA + UInt64(Self.range(2).lowerBound)
    bench.model.install(
      FaultPlan(rules: [.init(.hang, on: .destination(address...address))]))
    for index in 0..<6 { enqueue(&channel, bench, index) }
    try channel.submit()
    let ended = try ends(&channel, bench, 6, mode)
    #expect(Set(ended.map(\.token)) == Set(0..<6))
    for completion in ended {
      if completion.token == 2 {
        guard case .timedOut = completion.error else {
          Issue.record("\(completion)")
          continue
        }
      } else {
        #expect(completion.error == nil)
        #expect(bench.memory.matches(Self.range(Int(completion.token))))
      }
    }
  }

  @Test(
    "an engine that does nothing any more fails its provider, and every operation ends",
    arguments: [NetDmaCompletionMode.polled, .interrupt])
  func dead(mode: NetDmaCompletionMode) throws {
    let bench = try EngineBench()
    var channel = try bench.open(mode)
    bench.model.install(FaultPlan(rules: [.init(.hang, on: .probability(1))]))
    for index in 0..<6 { enqueue(&channel, bench, index) }
    try channel.submit()
    let ended = try ends(&channel, bench, 6, mode)
    #expect(Set(ended.map(\.token)) == Set(0..<6))
    #expect(ended.allSatisfy { $0.error != nil })
    let sent = channel.enqueueCopy(
      from: bench.memory.source(0..<64), to: bench.memory.target(0..<64), token: 9)
    #expect(sent)
    guard case .hardware(.deviceDead) = submitError(&channel) else {
      Issue.record("submitting was not refused with the cause")
      return
    }
    #expect(throws: NetDmaError.self) { _ = try bench.open(mode) }
  }

  @Test(
    "a channel whose reset never ends is brought back by a reset of the device",
    arguments: [NetDmaCompletionMode.polled, .interrupt])
  func stuckReset(mode: NetDmaCompletionMode) throws {
    let bench = try EngineBench()
    var channel = try bench.open(mode)
    let address = bench.memory.targetIOVA + UInt64(Self.range(1).lowerBound)
    bench.model.install(
      FaultPlan(
        rules: [.init(.error(bit: 9), on: .destination(address...address), limit: 1)],
        resetNeverEnds: true))
    for index in 0..<4 { enqueue(&channel, bench, index) }
    try channel.submit()
    let cleared = Deadline(after: .seconds(20)).poll { () throws(Never) in
      if mode == .polled, !bench.log.all.isEmpty { return true }
      return bench.model.statistics.channels[0].injectedFaults > 0
    }
    #expect(cleared)
    let ended = try ends(&channel, bench, 4, mode)
    #expect(Set(ended.map(\.token)) == Set(0..<4))
  }

  @Test(
    "a device that was pulled out ends every operation with that error",
    arguments: [NetDmaCompletionMode.polled, .interrupt])
  func removed(mode: NetDmaCompletionMode) throws {
    let bench = try EngineBench()
    var channel = try bench.open(mode)
    bench.model.install(FaultPlan(isRemoved: true))
    for index in 0..<4 { enqueue(&channel, bench, index) }
    if let error = submitError(&channel) {
      guard case .hardware(.transport) = error else {
        Issue.record("\(error)")
        return
      }
    }
    let ended = try ends(&channel, bench, 4, mode)
    #expect(Set(ended.map(\.token)) == Set(0..<4))
    #expect(ended.allSatisfy { $0.error != nil })
  }
}

private func submitError(_ channel: inout NetDmaChannel) -> NetDmaError? {
  do throws(NetDmaError) {
    try channel.submit()
    return nil
  } catch { return error }
}

// SPDX-License-Identifier: Apache-2.0

import Foundation
import NetDmaMock
import NetDmaVFIO
import Synchronization
import Testing

/// Everything at once, for long: random operations, faults and control operations on four channels.
///
/// `NETDMA_STRESS_OPERATIONS` sets the number of operations.
@Suite("Stress")
struct StressTests {
  private static let operations =
    ProcessInfo.processInfo.environment["NETDMA_STRESS_OPERATIONS"].flatMap { Int($0) } ?? 20_000

  @Test("every operation ends exactly once and memory is as predicted, whatever happens meanwhile")
  func everythingAtOnce() throws {
    var options = EngineBench.options(watchdog: .milliseconds(500))
    options.ringCapacity = 64
    let bench = try EngineBench(
      ModelConfiguration(channelCount: 4, timing: .fast), bytes: 8 << 20, options: options)
    let target = bench.memory.targetIOVA
    bench.model.install(
      FaultPlan(
        rules: [
          .init(.error(bit: 8), on: .probability(0.0005)),
          .init(.error(bit: 9), on: .probability(0.0005)),
          .init(.lostInterrupt, on: .probability(0.001)),
          .init(.spuriousInterrupt, on: .probability(0.001)),
          .init(.lostCompletion, on: .probability(0.0002)),
          .init(.slow(nanoseconds: 20_000), on: .probability(0.001)),
          .init(.hang, on: .destination(target + 64...target + 64), limit: 1),
        ], seed: 7))
    // Four channels, two by interrupt and two polled, each with two submitting tasks.
    let lanes = try (0..<4).map { number in
      try StressLane(
        bench, mode: number % 2 == 0 ? .interrupt : .polled, number: number,
        operations: Self.operations / 4)
    }
    let controller = StressController(bench.engine.interface, lanes.map(\.handle))
    let threads =
      try lanes.flatMap { lane in
        try (0..<2).map { task in try JoinedThread { lane.submit(task: task) } }
      } + [try JoinedThread { controller.run() }]
    for lane in lanes { lane.waitForEnd() }
    controller.stop()
    withExtendedLifetime(threads) {}
    var total = 0
    for lane in lanes {
      lane.check()
      total += lane.endedCount
    }
    #expect(total == Self.operations / 4 * 4)
    #expect(controller.count > 0)
  }
}

/// A thread that is joined when the last reference ends.
private final class JoinedThread: Sendable {
  private let thread: PinnedThread
  init(_ body: @escaping @Sendable () -> Void) throws {
    thread = try PinnedThread(name: "stress") { _ in body() }
  }
}

/// A channel, the tasks that share it, and the account of its operations.
private final class StressLane: @unchecked Sendable {
  // @unchecked: `memory` hands out parts; each place of them belongs to one operation at a time.
  private struct Account {
    /// Per place the generation of the operation in flight, 0 when the place is free.
    var inFlight: [UInt32]
    var free: [Int]
    var started = 0
    var ended = 0
    var faults: [String] = []
    /// What each place of the target must hold: the generation that was copied last, nil unknown.
    var contents: [UInt32?]
  }
  private let bench: EngineBench
  private let mode: NetDmaCompletionMode
  private let number: Int
  private let total: Int
  private let account: Mutex<Account>
  private let channel: Mutex<NetDmaChannel>
  private let isDone = Signal()
  let handle: NetDmaChannelHandle
  private static let places = 128
  private static let size = 48

  init(_ bench: EngineBench, mode: NetDmaCompletionMode, number: Int, operations: Int) throws {
    self.bench = bench
    self.mode = mode
    self.number = number
    total = operations
    account = Mutex(
      Account(
        inFlight: Array(repeating: 0, count: Self.places), free: Array(0..<Self.places),
        contents: Array(repeating: 0, count: Self.places)))
    let box = WeakLane()
    let opened = try bench.engine.openChannel(mode: mode) { box.lane?.end($0) }
    handle = opened.handle
    channel = Mutex(opened)
    box.lane = self
  }

  private final class WeakLane: @unchecked Sendable {
    // @unchecked: written once, before the first operation.
    weak var lane: StressLane?
  }

  var endedCount: Int { account.withLock { $0.ended } }

  private func range(_ place: Int) -> Range<Int> {
    let start = 4096 + (number * Self.places + place) * 64
    return start..<start + Self.size
  }

  private func pattern(_ generation: UInt32, _ place: Int) -> [UInt8] {
    (0..<Self.size).map { UInt8(truncatingIfNeeded: Int(generation) &* 31 &+ place &* 7 &+ $0) }
  }

  /// One of the tasks: enqueues, submits now and then, and polls where nobody else does.
  func submit(task: Int) {
    var random = UInt64(number * 2 + task + 1) &* 0x9e37_79b9_7f4a_7c15
    while true {
      random = random &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      let start = account.withLock { account -> (Int, UInt32)? in
        guard account.started < total, let place = account.free.popLast() else { return nil }
        account.started += 1
        let generation = UInt32(account.started)
        account.inFlight[place] = generation
        return (place, generation)
      }
      if let (place, generation) = start {
        bench.memory.setSource(pattern(generation, place), at: range(place).lowerBound)
        let token = UInt64(place) << 32 | UInt64(generation)
        while true {
          let sent = channel.withLock { channel in
            channel.enqueueCopy(
              from: bench.memory.source(range(place)), to: bench.memory.target(range(place)),
              token: token)
          }
          if sent { break }
          service()
        }
      }
      if start == nil || random >> 60 == 0 { service() }
      if start == nil, account.withLock({ $0.ended >= total }) {
        isDone.set()
        return
      }
    }
  }

  private func service() {
    do {
      try channel.withLock { channel throws(NetDmaError) in
        try channel.submit()
        guard mode == .polled else { return }
        var ended: [DMACompletion] = []
        _ = try channel.poll { ended.append(DMACompletion(token: $0, error: nil)) }
        for completion in ended + channel.takeFailures() { end(completion) }
      }
    } catch {
      account.withLock { $0.faults.append("\(error)") }
      // A channel that is gone ends the test; what is missing then shows.
      isDone.set()
    }
    if mode == .interrupt { sched_yield() }
  }

  private func end(_ completion: DMACompletion) {
    let place = Int(completion.token >> 32)
    let generation = UInt32(truncatingIfNeeded: completion.token)
    let holds =
      completion.error != nil
      || bench.memory.targetBytes(range(place)) == pattern(generation, place)
    account.withLock { account in
      guard account.inFlight[place] == generation else {
        account.faults.append("token \(completion.token) ended twice, or never began")
        return
      }
      if !holds { account.faults.append("operation \(generation) did not copy its bytes") }
      account.inFlight[place] = 0
      account.contents[place] = completion.error == nil ? generation : nil
      account.free.append(place)
      account.ended += 1
    }
  }

  func waitForEnd() { #expect(isDone.wait(for: .seconds(1800)), "the channel stands still") }

  /// After everything ended: nothing is in flight, and what was copied last is there.
  func check() {
    let (faults, ended, flying, contents) = account.withLock {
      ($0.faults, $0.ended, $0.inFlight.filter { $0 != 0 }.count, $0.contents)
    }
    #expect(faults.isEmpty, "\(faults.prefix(5))")
    #expect(ended == total)
    #expect(flying == 0)
    for (place, generation) in contents.enumerated() {
      guard let generation, generation > 0 else { continue }
      #expect(bench.memory.targetBytes(range(place)) == pattern(generation, place))
    }
    let statistics = channel.withLock { $0.statistics }
    #expect(statistics.completed + statistics.failed == UInt64(total))
  }
}

/// Suspends, resumes, aborts and resets channels at random.
private final class StressController: Sendable {
  private let interface: NetDmaInterface
  private let channels: [NetDmaChannelHandle]
  private let isStopping = Atomic<Bool>(false)
  private let done = Atomic<Int>(0)
  var count: Int { done.load(ordering: .relaxed) }

  init(_ interface: NetDmaInterface, _ channels: [NetDmaChannelHandle]) {
    self.interface = interface
    self.channels = channels
  }

  func stop() { isStopping.store(true, ordering: .sequentiallyConsistent) }

  func run() {
    var random: UInt64 = 42
    while !isStopping.load(ordering: .sequentiallyConsistent) {
      random = random &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      let channel = channels[Int(random >> 40) % channels.count]
      do {
        switch random >> 61 {
        case 0: try interface.abortDma(channel)
        case 1: try interface.resetChannel(channel)
        default:
          try interface.suspendDma(channel)
          usleep(UInt32(random >> 50 & 0xff))
          try interface.resumeDma(channel)
        }
        done.add(1, ordering: .relaxed)
      } catch .hardware(.timedOut) {
        // The engine is a thread, which a busy machine may leave waiting for longer than silicon takes.
        // The call failed and says so; the operations must end all the same.
      } catch {
        Issue.record("\(error)")
        return
      }
      usleep(UInt32(random >> 48 & 0xfff))
    }
  }
}

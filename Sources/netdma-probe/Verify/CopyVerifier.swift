// SPDX-License-Identifier: Apache-2.0

import Logging
import NetDmaVFIO
import Synchronization

/// Makes random copies on an engine and compares every byte, and the bytes around, afterwards.
///
/// Each copy in flight has a place of its own in two buffers: the source is filled with a pattern
/// that only this copy has, the destination lies between guard bytes.
struct CopyVerifier: Sendable {
  struct Plan: Sendable {
    /// Copies to make.
    var count = 1000
    /// Longest copy in bytes.
    var maximumSize = 3 << 20
    /// Polled instead of interrupt-driven.
    var polls = false
    /// Start of the random sequence.
    var seed: UInt64 = 1
    /// Channels to use, at most what the function has.
    var channels = 1
    /// Copies in flight on each channel.
    var depth = 16
    /// How long a copy may take.
    var timeout: Duration = .seconds(10)
    /// Whether some copies name memory that the device must not reach, and must fail.
    var injectsFaults = false
  }

  struct Summary: Sendable {
    var copies = 0
    var bytes: UInt64 = 0
    var mismatches = 0
    var guardViolations = 0
    var failed = 0
    /// Copies that were made to fail, and those of them that did as they should.
    var faultsInjected = 0
    var faultsReported = 0
    var seconds = 0.0
    var statistics = NetDmaChannelStatistics()
    /// Said once for each of the first few problems.
    var notes: [String] = []

    var isClean: Bool {
      mismatches == 0 && guardViolations == 0 && failed == 0 && faultsInjected == faultsReported
    }

    /// Adds what another channel did.
    mutating func add(_ other: Summary) {
      copies += other.copies
      bytes += other.bytes
      mismatches += other.mismatches
      guardViolations += other.guardViolations
      failed += other.failed
      faultsInjected += other.faultsInjected
      faultsReported += other.faultsReported
      statistics = statistics + other.statistics
      for text in other.notes { note(text) }
    }

    mutating func note(_ text: String) {
      if notes.count < 8 { notes.append(text) }
    }
  }

  let engine: DMAEngine
  let plan: Plan

  /// Runs the plan, all channels at once; `isStopped` ends it early and `progress` hears now and
  /// then, on the caller's thread, how many copies have ended.
  func run(
    isStopped: @escaping @Sendable () -> Bool, progress: (Int) -> Void
  ) throws -> Summary {
    let begin = Deadline.now()
    let channels = min(plan.channels, engine.device.channelCount, plan.count)
    let results = Results(waitingFor: channels)
    // Addresses of a buffer that is gone: the IOMMU, or what stands for it, refuses them. No channel
    // is open yet, so nothing keeps the buffer.
    let hole = try engine.allocate(byteCount: plan.maximumSize).slice
    var threads: [ChannelThread] = []
    for number in 0..<channels {
      let share = plan.count / channels + (number < plan.count % channels ? 1 : 0)
      threads.append(
        try ChannelThread(number) {
          // Each channel draws from a sequence of its own, so that a seed gives the same copies.
          var generator = SeededGenerator(seed: plan.seed &+ UInt64(number) &* 0x9e37_79b9)
          results.post { try run(share, hole: hole, &generator, results, isStopped: isStopped) }
        })
    }
    while !results.wait(for: .milliseconds(100)) { progress(results.ended) }
    // Joins them.
    threads.removeAll()
    var summary = try results.total()
    summary.seconds = Double(Deadline.now() - begin) / 1e9
    return summary
  }

  private struct Flight {
    var place: Int
    var size: Int
    var sourceOffset: Int
    var targetOffset: Int
    var pattern: BytePattern
    var deadline: Deadline
    var fault: Fault?
  }

  /// The side of a copy that the device must not reach.
  private enum Fault { case source, target }

  private static let guardBytes = 64
  private static let guardValue: UInt8 = 0xa5

  private func run(
    _ count: Int, hole: DMASlice, _ generator: inout SeededGenerator, _ results: Results,
    isStopped: () -> Bool
  ) throws -> Summary {
    var summary = Summary()
    let inbox = CompletionInbox()
    var channel = try engine.openChannel(mode: plan.polls ? .polled : .interrupt) {
      inbox.post($0)
    }
    // A place holds the longest copy, its guards, and room to shift it against any alignment.
    let stride = plan.maximumSize + 2 * Self.guardBytes + 4096
    let places = max(1, min(plan.depth, (256 << 20) / stride, count))
    var source = try engine.allocate(byteCount: places * stride)
    var target = try engine.allocate(byteCount: places * stride)

    var free = Array((0..<places).reversed())
    // Which copies must fail: in the first bursts the first, the middle and the last one, on either
    // side; then at random.
    let bursts = plan.injectsFaults ? Self.faultBursts(places) : []
    var flying: [UInt64: Flight] = [:]
    var started = 0
    var ended = 0
    while ended < count {
      while started < count, !isStopped(), let place = free.popLast() {
        let isBurst = started < bursts.count
        let flight = prepare(
          place: place, stride: stride, &generator, &source, &target, isFirst: started < 2,
          fault: isBurst ? bursts[started] : randomFault(&generator))
        let token = UInt64(started)
        let from = source.slice(flight.sourceOffset..<flight.sourceOffset + flight.size)
        let to = target.slice(flight.targetOffset..<flight.targetOffset + flight.size)
        let refused = hole.slice(0..<flight.size)
        guard
          channel.enqueueCopy(
            from: flight.fault == .source ? refused : from,
            to: flight.fault == .target ? refused : to, token: token)
        else {
          // The ring is full: the places are free again when something completes.
          free.append(place)
          break
        }
        flying[token] = flight
        if flight.fault != nil { summary.faultsInjected += 1 }
        started += 1
        // Sometimes a batch, sometimes one by one.
        if generator.next() % 4 == 0, !isBurst { try channel.submit() }
      }
      try channel.submit()
      if flying.isEmpty { break }
      for completion in try wait(&channel, inbox, flying) {
        guard let flight = flying.removeValue(forKey: completion.token) else {
          summary.failed += 1
          summary.note("A completion came for token \(completion.token), which is not in flight.")
          continue
        }
        check(flight, completion, source, target, stride: stride, &summary)
        free.append(flight.place)
        ended += 1
        results.countEnded()
      }
    }
    summary.statistics = channel.statistics
    return summary
  }

  /// Bursts of `count` copies, with the first, the middle or the last one failing on each side.
  private static func faultBursts(_ count: Int) -> [Fault?] {
    [Fault.source, .target].flatMap { fault in
      [0, count / 2, count - 1].flatMap { failing in
        (0..<count).map { $0 == failing ? fault : nil }
      }
    }
  }

  private func randomFault(_ generator: inout SeededGenerator) -> Fault? {
    let draw = generator.next() % 16
    return plan.injectsFaults && draw < 2 ? (draw == 0 ? .source : .target) : nil
  }

  /// Chooses a copy and writes its source and guards.
  private func prepare(
    place: Int, stride: Int, _ generator: inout SeededGenerator, _ source: inout DMABuffer,
    _ target: inout DMABuffer, isFirst: Bool, fault: Fault?
  ) -> Flight {
    let size = randomSize(&generator, isFirst: isFirst)
    // Any offset within a page, so that every alignment of either side occurs.
    let start = place * stride + Self.guardBytes
    let sourceOffset = start + Int(generator.next() % 4096)
    let targetOffset = start + Int(generator.next() % 4096)
    let pattern = BytePattern(seed: generator.next())
    source.withMutableBytes { span in
      unsafe span.withUnsafeMutableBytes { bytes in
        // The ranges lie in this copy's place, whose stride has room for them.
        unsafe pattern.fill(.init(rebasing: bytes[sourceOffset..<sourceOffset + size]))
      }
    }
    target.withMutableBytes { span in
      unsafe span.withUnsafeMutableBytes { bytes in
        for offset in 1...Self.guardBytes {
          unsafe bytes[targetOffset - offset] = Self.guardValue
          unsafe bytes[targetOffset + size + offset - 1] = Self.guardValue
        }
        // What must not be written is guarded from end to end.
        if fault != nil {
          for offset in targetOffset..<targetOffset + size {
            unsafe bytes[offset] = Self.guardValue
          }
        }
      }
    }
    return Flight(
      place: place, size: size, sourceOffset: sourceOffset, targetOffset: targetOffset,
      pattern: pattern, deadline: Deadline(after: plan.timeout), fault: fault)
  }

  /// Mostly small, some long, a few above the engine's transfer limit; the first two are the limits.
  private func randomSize(_ generator: inout SeededGenerator, isFirst: Bool) -> Int {
    if isFirst { return generator.next() % 2 == 0 ? 1 : plan.maximumSize }
    if generator.next() % 128 == 0 {
      return 1 + Int(generator.next() % UInt64(plan.maximumSize))
    }
    let bound = min(plan.maximumSize, 1 << Int(generator.next() % 17))
    return 1 + Int(generator.next() % UInt64(bound))
  }

  /// Waits for at least one completion.
  private func wait(
    _ channel: inout NetDmaChannel, _ inbox: CompletionInbox, _ flying: [UInt64: Flight]
  ) throws -> [DMACompletion] {
    let deadline =
      flying.values.map(\.deadline).min { $0.remaining < $1.remaining }
      ?? Deadline(after: plan.timeout)
    while true {
      if plan.polls {
        var ended: [DMACompletion] = []
        _ = try channel.poll { ended.append(DMACompletion(token: $0, error: nil)) }
        ended += channel.takeFailures()
        if !ended.isEmpty { return ended }
      } else {
        let ended = inbox.take(waiting: .milliseconds(100))
        if !ended.isEmpty { return ended }
      }
      if deadline.hasPassed {
        throw VerifyError.copyLost(
          device: engine.device.name, outstanding: flying.count,
          seconds: Double(plan.timeout / .seconds(1)),
          state: engine.describeChannels())
      }
    }
  }

  private func check(
    _ flight: Flight, _ completion: DMACompletion, _ source: borrowing DMABuffer,
    _ target: borrowing DMABuffer, stride: Int, _ summary: inout Summary
  ) {
    if let fault = flight.fault { return check(fault, flight, completion, target, &summary) }
    if let error = completion.error {
      summary.failed += 1
      summary.note("\(error)")
      return
    }
    summary.copies += 1
    summary.bytes += UInt64(flight.size)
    let (difference, guardsHold) = target.withBytes { span in
      unsafe span.withUnsafeBytes { bytes in
        let range = flight.targetOffset..<flight.targetOffset + flight.size
        let difference = unsafe flight.pattern.firstDifference(.init(rebasing: bytes[range]))
        let holds = (1...Self.guardBytes).allSatisfy { offset in
          unsafe bytes[range.lowerBound - offset] == Self.guardValue
            && bytes[range.upperBound + offset - 1] == Self.guardValue
        }
        return (difference, holds)
      }
    }
    if let difference {
      summary.mismatches += 1
      summary.note(
        "Copy \(completion.token) of \(flight.size) bytes differs from its source at byte "
          + "\(difference).")
    }
    if !guardsHold {
      summary.guardViolations += 1
      summary.note("Copy \(completion.token) of \(flight.size) bytes wrote outside its target.")
    }
  }
}

extension CopyVerifier {
  /// Checks that a copy that had to fail did, for the right reason, and wrote nothing.
  private func check(
    _ fault: Fault, _ flight: Flight, _ completion: DMACompletion, _ target: borrowing DMABuffer,
    _ summary: inout Summary
  ) {
    let expected: ChannelError =
      fault == .source ? [.readData, .sourceAddress] : [.writeData, .destinationAddress]
    guard case .channelError(_, let errors, _, _, _) = completion.error,
      !errors.isDisjoint(with: expected)
    else {
      let outcome = completion.error.map { "\($0)" } ?? "It was reported as done."
      summary.note("Copy \(completion.token) had to fail on its \(fault). \(outcome)")
      return
    }
    let range = flight.targetOffset..<flight.targetOffset + flight.size
    let isUntouched = target.withBytes { span in
      unsafe span.withUnsafeBytes { bytes in
        // The range lies in the copy's place.
        range.allSatisfy { unsafe bytes[$0] == Self.guardValue }
      }
    }
    guard isUntouched else {
      summary.guardViolations += 1
      summary.note("Copy \(completion.token) failed, but wrote to its target.")
      return
    }
    summary.faultsReported += 1
  }
}

/// A channel's thread, joined when the last reference ends.
private final class ChannelThread: Sendable {
  private let thread: PinnedThread
  init(_ number: Int, _ body: @escaping @Sendable () -> Void) throws(SystemCallError) {
    thread = try PinnedThread(name: "verify/\(number)") { _ in body() }
  }
}

/// What the channels' threads found.
private final class Results: Sendable {
  private struct State {
    var missing: Int
    var summary = CopyVerifier.Summary()
    var failure: (any Error)?
  }
  private let state: Mutex<State>
  private let count = Atomic<Int>(0)
  private let isComplete = Signal()

  init(waitingFor count: Int) { state = Mutex(State(missing: count)) }

  /// Copies that have ended.
  var ended: Int { count.load(ordering: .relaxed) }
  func countEnded() { count.add(1, ordering: .relaxed) }

  func post(_ body: () throws -> CopyVerifier.Summary) {
    let result = Result { try body() }
    let missing = state.withLock { state in
      switch result {
      case .success(let summary): state.summary.add(summary)
      case .failure(let error): state.failure = state.failure ?? error
      }
      state.missing -= 1
      return state.missing
    }
    if missing == 0 { isComplete.set() }
  }

  func wait(for duration: Duration) -> Bool { isComplete.wait(for: duration) }

  /// The sum, or the first error.
  func total() throws -> CopyVerifier.Summary {
    let (summary, failure) = state.withLock { ($0.summary, $0.failure) }
    if let failure { throw failure }
    return summary
  }
}

/// Completions on their way from the DPC to the verifying thread.
final class CompletionInbox: Sendable {
  private let waiting = Mutex<[DMACompletion]>([])
  private let arrived = Signal()

  func post(_ completion: DMACompletion) {
    waiting.withLock { $0.append(completion) }
    arrived.set()
  }

  func take(waiting duration: Duration) -> [DMACompletion] {
    arrived.wait(for: duration)
    arrived.clear()
    return waiting.withLock { list in
      let copy = list
      list = []
      return copy
    }
  }
}

/// What `verify` itself can find wrong.
enum VerifyError: DiagnosticError {
  case copyLost(device: String, outstanding: Int, seconds: Double, state: String)
  case noInterrupt(device: String, kind: String?)

  var what: String {
    switch self {
    case .copyLost(let device, let outstanding, let seconds, _):
      "\(outstanding) copies of \(device) did not come back within \(seconds) s."
    case .noInterrupt(let device, let kind):
      "\(device) cannot interrupt\(kind.map { " by \($0)" } ?? "")."
    }
  }
  var why: String {
    switch self {
    case .copyLost(_, _, _, let state): "The channels read: \(state)."
    case .noInterrupt(_, nil): "It offers neither MSI-X, nor MSI, nor a pin."
    case .noInterrupt: "It does not offer that kind."
    }
  }
  var remedy: String {
    switch self {
    case .copyLost: "Look at dmesg for IOMMU faults, and try again with --poll."
    case .noInterrupt(_, nil): "Poll for completions with --poll."
    case .noInterrupt: "Leave --interrupts out, or poll for completions with --poll."
    }
  }
}

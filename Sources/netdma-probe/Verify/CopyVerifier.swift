// SPDX-License-Identifier: Apache-2.0

import Logging
import NetDmaVFIO
import Synchronization

/// Makes random copies on an engine and compares every byte, and the bytes around, afterwards.
///
/// Each copy in flight has a place of its own in two buffers: the source is filled with a pattern
/// that only this copy has, the destination lies between guard bytes.
struct CopyVerifier {
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
  }

  struct Summary: Sendable {
    var copies = 0
    var bytes: UInt64 = 0
    var mismatches = 0
    var guardViolations = 0
    var failed = 0
    var seconds = 0.0
    var statistics = NetDmaChannelStatistics()
    /// Said once for each of the first few problems.
    var notes: [String] = []

    var isClean: Bool { mismatches == 0 && guardViolations == 0 && failed == 0 }

    mutating func note(_ text: String) {
      if notes.count < 8 { notes.append(text) }
    }
  }

  let engine: DMAEngine
  let plan: Plan

  /// Runs the plan; `isStopped` ends it early and `progress` hears of it now and then.
  func run(isStopped: () -> Bool, progress: (Int) -> Void) throws -> Summary {
    var summary = Summary()
    var generator = SeededGenerator(seed: plan.seed)
    let begin = Deadline.now()
    let channels = min(plan.channels, engine.device.channelCount)
    for number in 0..<channels {
      let share = plan.count / channels + (number < plan.count % channels ? 1 : 0)
      guard share > 0, !isStopped() else { continue }
      try run(
        share, &generator, &summary, isStopped: isStopped, progress: progress)
    }
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
  }

  private static let guardBytes = 64
  private static let guardValue: UInt8 = 0xa5

  private func run(
    _ count: Int, _ generator: inout SeededGenerator, _ summary: inout Summary,
    isStopped: () -> Bool, progress: (Int) -> Void
  ) throws {
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
    var flying: [UInt64: Flight] = [:]
    var started = 0
    var ended = 0
    while ended < count {
      while started < count, !isStopped(), let place = free.popLast() {
        let flight = prepare(
          place: place, stride: stride, &generator, &source, &target, isFirst: started < 2)
        let token = UInt64(started)
        guard
          channel.enqueueCopy(
            from: source.slice(flight.sourceOffset..<flight.sourceOffset + flight.size),
            to: target.slice(flight.targetOffset..<flight.targetOffset + flight.size),
            token: token)
        else {
          // The ring is full: the places are free again when something completes.
          free.append(place)
          break
        }
        flying[token] = flight
        started += 1
        // Sometimes a batch, sometimes one by one.
        if generator.next() % 4 == 0 { try channel.submit() }
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
        if ended % 256 == 0 { progress(summary.copies) }
      }
    }
    summary.statistics = summary.statistics + channel.statistics
  }

  /// Chooses a copy and writes its source and guards.
  private func prepare(
    place: Int, stride: Int, _ generator: inout SeededGenerator, _ source: inout DMABuffer,
    _ target: inout DMABuffer, isFirst: Bool
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
      }
    }
    return Flight(
      place: place, size: size, sourceOffset: sourceOffset, targetOffset: targetOffset,
      pattern: pattern, deadline: Deadline(after: plan.timeout))
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

  var what: String {
    switch self {
    case .copyLost(let device, let outstanding, let seconds, _):
      "\(outstanding) copies of \(device) did not come back within \(seconds) s."
    }
  }
  var why: String {
    switch self {
    case .copyLost(_, _, _, let state): "The channels read: \(state)."
    }
  }
  var remedy: String { "Look at dmesg for IOMMU faults, and try again with --poll." }
}

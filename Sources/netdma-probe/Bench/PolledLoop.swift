// SPDX-License-Identifier: Apache-2.0

import Glibc
import NetDmaVFIO

/// Keeps a polled channel busy.
struct PolledLoop: ChannelLoop, ~Copyable {
  private var channel: NetDmaChannel
  private let point: BenchPoint
  /// Whether the engine is a thread of this machine, which may be waiting for this CPU.
  private let yields: Bool

  init(_ engine: DMAEngine, _ point: BenchPoint, ringCapacity: Int) throws(NetDmaError) {
    channel = try engine.openChannel(mode: .polled, ringCapacity: ringCapacity)
    self.point = point
    yields = [.mock, .vfioUser].contains(engine.device.transport.kind)
  }

  var statistics: NetDmaChannelStatistics { channel.statistics }

  /// As the protocol says.
  ///
  /// The clock is read once for what one poll found and what is submitted in its place, so that a
  /// short operation is not measured by the price of the clock.
  mutating func round(
    _ memory: borrowing BenchMemory, limit: Int, window: BenchWindow,
    _ latencies: inout LatencyHistogram
  ) throws -> Int {
    let (depth, batch, places) = (point.depth, point.batch, memory.targets.count)
    var queue = SubmissionQueue(capacity: depth)
    var (started, ended, place, idle) = (0, 0, 0, 0)
    var now = Deadline.now()
    var isOpen = true
    while true {
      while isOpen, started < limit, started - ended + batch <= depth {
        let before = started
        for _ in 0..<min(batch, limit - started) {
          guard try channel.enqueue(point.operation, memory, place, token: 0) else { break }
          place = place + 1 == places ? 0 : place + 1
          started += 1
        }
        guard started > before else { break }
        try channel.submit()
        queue.push(time: now, end: started)
      }
      if ended == started { return ended }
      let result = try channel.poll()
      let count = result.completed + result.failed
      if count > 0 {
        now = Deadline.now()
        ended += count
        queue.pop(before: ended) { latencies.record(now &- $0, count: $1) }
        if result.failed > 0, let error = channel.takeFailures().first?.error {
          throw BenchError.operationFailed(point: point, error: error)
        }
        if window.isOver(at: now) { isOpen = false }
        idle = 0
      } else {
        idle &+= 1
        if yields, idle & 0x3ff == 0 { _ = sched_yield() }
      }
    }
  }
}

extension NetDmaChannel {
  /// Enqueues the operation of a place; false when the ring is full.
  @inline(__always)
  mutating func enqueue(
    _ operation: BenchPoint.Operation, _ memory: borrowing BenchMemory, _ place: Int, token: UInt64
  ) throws(NetDmaError) -> Bool {
    switch operation {
    case .copy:
      enqueueCopy(from: memory.sources[place], to: memory.targets[place], token: token)
    case .fill:
      try enqueueFill(
        memory.targets[place], pattern: BenchMemory.fillPattern, token: token)
    }
  }
}

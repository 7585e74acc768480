// SPDX-License-Identifier: Apache-2.0

import BenchSupport
import CFloor
import Glibc
import Histogram
import Logging
import NetDmaVFIO
import Synchronization

/// From the engine's eventfd signal to the client's completion handler on the DPC's CPU, against a C thread
/// that is blocked in read(2) of an eventfd on that CPU.
enum InterruptRows {
  private static let pairs = 20_000
  private static let warmUp = 1000
  /// Both sides' threads, and the one that signals, where that is permitted: neighbours then take no part.
  private static let priority: CInt = 50

  static func rows(_ bench: Bench) throws -> [Row] {
    let transport = try InstantTransport()
    var options = DMAEngine.Options()
    options.interrupts.interruptCPU = bench.otherCPU
    options.interrupts.realTimePriority = Int(priority)
    let engine = try DMAEngine(
      transport: transport, options: options, logger: quietLogger())
    let memory = try engine.allocate(byteCount: 8192)
    guard let waiter = floor_waiter_create(CInt(bench.otherCPU), priority) else {
      throw BenchError("no thread: errno \(errno)")
    }
    defer { floor_waiter_free(waiter) }
    var ours = Histogram<UInt32>(numberOfSignificantValueDigits: .three)
    var floor = Histogram<UInt32>(numberOfSignificantValueDigits: .three)
    do {
      let handled = Handled()
      var channel = try engine.openChannel(mode: .interrupt, affinity: [bench.otherCPU]) { _ in
        handled.time.store(bench_now(), ordering: .releasing)
      }
      transport.stopResponding()
      defer { transport.startResponding() }
      guard var device = transport.device(of: 0) else { throw BenchError("no engine") }
      let eventFD = transport.eventFD(of: 0)
      bench_fifo(priority)
      defer { bench_fifo(0) }
      for index in 0..<warmUp + pairs {
        guard
          channel.enqueueCopy(
            from: memory.slice(0..<4096), to: memory.slice(4096..<8192), token: 0)
        else { throw BenchError("the ring is full") }
        try channel.submit()
        handled.time.store(0, ordering: .relaxed)
        instant_device_complete(&device)
        let start = bench_now()
        EventFD.signal(eventFD)
        var end: UInt64 = 0
        while end == 0 {
          bench_pause()
          end = handled.time.load(ordering: .acquiring)
        }
        // Both are to find their thread blocked, and the others on this machine some time.
        usleep(20)
        let wakeUp = floor_waiter_sample(waiter)
        usleep(20)
        if index < warmUp { continue }
        ours.record(end - start)
        floor.record(wakeUp)
      }
    }
    try engine.close()
    transport.stopResponding()
    return [50.0, 99.0].map { percentile in
      Row(
        name: "interrupt to handler, p\(Int(percentile))",
        ours: Double(ours.valueAtPercentile(percentile)),
        baseline: Double(floor.valueAtPercentile(percentile)), target: 1.3, unit: "ns",
        rule: .ratioAtMost)
    }
  }

  private final class Handled: Sendable { let time = Atomic<UInt64>(0) }
}

/// A logger that says nothing below an error.
func quietLogger() -> Logger {
  var logger = Logger(label: "bench")
  logger.logLevel = .error
  return logger
}

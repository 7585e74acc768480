// SPDX-License-Identifier: Apache-2.0

import Logging
import NetDmaVFIO

/// Copies per second between two processes: this one drives, the other emulates.
///
///     netdma-probe emulate --socket /tmp/i.sock --fast --mmap-doorbell &
///     bench-vfio-user /tmp/i.sock --batch 32 --size 8 --seconds 3
///
/// Without --mmap-doorbell at the other end each batch costs a message instead of a store.
@main
struct BenchVFIOUser {
  static func main() throws {
    let arguments = CommandLine.arguments
    guard arguments.count > 1 else { throw Failure("usage: bench-vfio-user PATH [--batch N]") }
    func value(_ name: String, _ standard: Int) -> Int {
      guard let index = arguments.firstIndex(of: name), index + 1 < arguments.count else {
        return standard
      }
      return Int(arguments[index + 1]) ?? standard
    }
    let size = value("--size", 8)
    let batch = value("--batch", 32)
    let depth = value("--depth", 512)
    let seconds = value("--seconds", 3)
    let logger = Logger(label: "bench")
    let transport = try VFIOUserClient.connect(path: arguments[1], logger: logger)
    let isMapped = try transport.regionInfo(.bar0).doorbells != nil
    var options = DMAEngine.Options()
    options.usesInterrupts = false
    let engine = try DMAEngine(transport: transport, options: options, logger: logger)
    let source = try engine.allocate(byteCount: size)
    let target = try engine.allocate(byteCount: size)
    var best = 0.0
    var total = 0
    do {
      var channel = try engine.openChannel(mode: .polled)
      for _ in 0..<seconds {
        let result = try run(&channel, source.slice, target.slice, batch: batch, depth: depth)
        best = max(best, result.rate)
        total += result.count
      }
    }
    try engine.close()
    let way = isMapped ? "by store" : "by message"
    print(
      "\(size) bytes, batches of \(batch), doorbell \(way): \(Int(best / 1000)) k descriptors/s"
        + " in the best second of \(seconds), \(total) in all")
  }

  /// Copies for a second, with at most `depth` outstanding; gives copies per second and in all.
  static func run(
    _ channel: inout NetDmaChannel, _ source: DMASlice, _ target: DMASlice, batch: Int, depth: Int
  ) throws -> (rate: Double, count: Int) {
    let start = ContinuousClock.now
    var submitted = 0
    var completed = 0
    var elapsed = Duration.zero
    while elapsed < .seconds(1) {
      for _ in 0..<64 where submitted - completed <= depth - batch {
        for _ in 0..<batch {
          guard channel.enqueueCopy(from: source, to: target, token: 0) else {
            throw Failure("the ring is full")
          }
        }
        try channel.submit()
        submitted += batch
        let result = try channel.poll()
        guard result.failed == 0 else { throw Failure("a copy failed") }
        completed += result.completed
      }
      completed += try channel.poll().completed
      elapsed = .now - start
    }
    let rate = Double(completed) / (elapsed / .seconds(1))
    while completed < submitted { completed += try channel.poll().completed }
    return (rate, completed)
  }

  struct Failure: Error, CustomStringConvertible {
    let description: String
    init(_ description: String) { self.description = description }
  }
}

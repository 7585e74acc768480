// SPDX-License-Identifier: Apache-2.0

import BenchSupport
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
    guard arguments.count > 1 else { throw BenchError("usage: bench-vfio-user PATH [--batch N]") }
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
        let result = try PolledCopies.run(
          &channel, from: source.slice, to: target.slice, size: size, places: 1, batch: batch,
          depth: depth, nanoseconds: 1_000_000_000)
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
}

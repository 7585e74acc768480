// SPDX-License-Identifier: Apache-2.0

import BenchSupport
import CFloor
import NetDmaVFIO

/// One request: what both sides are handed for every descriptor.
struct Request {
  let source: DMASlice
  let destination: DMASlice
}

/// Our side: a program that opens a channel and drives it, as a program would be written.
struct OurHotPath {
  let engine: DMAEngine
  let transport: InstantTransport
  let requests: [Request]

  /// Opens a channel, then runs each of `rounds` with the engine completing at once.
  ///
  /// `between` is called with the number of copies and the nanoseconds of each round.
  @inline(never)
  func run(
    rounds: Int, batches: UInt64, batch: UInt32,
    _ between: (_ completed: UInt64, _ nanoseconds: UInt64) throws -> Void
  ) throws {
    var channel = try engine.openChannel(mode: .polled, ringCapacity: 1024)
    transport.stopResponding()
    defer { transport.startResponding() }
    guard var device = transport.device(of: 0) else {
      throw BenchError("the engine was not started")
    }
    let mask = requests.count - 1
    for _ in 0..<rounds {
      var completed = 0
      var token: UInt64 = 0
      let start = bench_now()
      bench_toggle_counting()
      try requests.withUnsafeBufferPointer { requests throws(NetDmaError) in
        for _ in 0..<batches {
          for _ in 0..<batch {
            let request = requests[Int(truncatingIfNeeded: token) & mask]
            guard
              channel.enqueueCopy(from: request.source, to: request.destination, token: token)
            else { break }
            token &+= 1
          }
          try channel.submit()
          instant_device_complete(&device)
          completed &+= try channel.poll().completed
        }
      }
      bench_toggle_counting()
      try between(UInt64(completed), bench_now() - start)
    }
  }
}

// SPDX-License-Identifier: Apache-2.0

// Article "Benchmarks".
import Logging
import NetDmaMock
import NetDmaVFIO

/// What a batch costs in doorbells and descriptors.
func benchmark(logger: Logger) throws {
  let engine = try DMAEngine(transport: MockTransport(), logger: logger)
  let source = try engine.allocate(byteCount: 2048)
  let target = try engine.allocate(byteCount: 2048)
  var channel = try engine.openChannel(mode: .polled)

  let clock = ContinuousClock()
  let (batches, depth) = (1000, 32)
  let elapsed = try clock.measure {
    for _ in 0..<batches {
      for token in 0..<depth {
        _ = channel.enqueueCopy(from: source.slice, to: target.slice, token: UInt64(token))
      }
      try channel.submit()
      var ended = 0
      while ended < depth { ended += try channel.poll().completed }
    }
  }
  let statistics = channel.statistics
  let perCopy = elapsed / (batches * depth)
  logger.info("timed", metadata: ["per copy": "\(perCopy)"])
  print("\(statistics.completed) copies, \(statistics.doorbells) doorbells")
}

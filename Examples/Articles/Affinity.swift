// SPDX-License-Identifier: Apache-2.0

// Article "Interrupts and CPU affinity".
import Logging
import NetDmaMock
import NetDmaVFIO

/// A channel whose completions run on CPU 0.
func affinity(logger: Logger) async throws {
  var options = DMAEngine.Options()
  // Where interrupt threads may not be pinned they float, which is logged once.
  options.interrupts.pinsThreads = true
  options.interrupts.realTimePriority = nil
  let engine = try DMAEngine(transport: MockTransport(), options: options, logger: logger)
  let source = try engine.allocate(byteCount: 4096)
  let target = try engine.allocate(byteCount: 4096)

  let (completions, continuation) = AsyncStream.makeStream(of: DMACompletion.self)
  var channel = try engine.openChannel(mode: .interrupt, affinity: [0]) { completion in
    // On the DPC's thread: quick, and never waiting.
    continuation.yield(completion)
  }
  print("completions run on CPU \(channel.cpuNumber)")

  _ = channel.enqueueCopy(from: source.slice, to: target.slice, token: 7)
  try channel.submit()
  for await completion in completions {
    print("copy \(completion.token) ended, error: \(completion.error == nil ? "none" : "some")")
    break
  }
  let statistics = engine.statistics.channels
  print("\(statistics.isrCalls > 0 ? "an ISR" : "no ISR") and then a DPC ran")
  _ = consume channel
  try engine.close()
}

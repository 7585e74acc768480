// SPDX-License-Identifier: Apache-2.0

// Article "The NetDMA model in ten minutes".
import Logging
import NetDmaMock
import NetDmaVFIO

/// A client's life: allocate a channel, enqueue, submit, poll, suspend, resume, free.
func netDmaInTenMinutes(logger: Logger) throws {
  let engine = try DMAEngine(transport: MockTransport(), logger: logger)
  let source = try engine.allocate(byteCount: 4096)
  let target = try engine.allocate(byteCount: 4096)

  var channel = try engine.interface.allocateChannel(
    engine.provider, ringCapacity: 256, mode: .polled)
  for token in 0..<8 as Range<UInt64> {
    // False means that the ring is full: submit, poll, and try again.
    guard channel.enqueueCopy(from: source.slice, to: target.slice, token: token) else { break }
  }
  try channel.submit()

  var ended = 0
  while ended < 8 {
    let result = try channel.poll { token in print("copy \(token) is done") }
    ended += result.completed + result.failed
    for failure in channel.takeFailures() { print(failure) }
  }

  let last = try engine.interface.suspendDma(channel.handle)
  print("suspended behind descriptor 0x\(String(last, radix: 16))")
  try engine.interface.resumeDma(channel.handle)
  _ = consume channel  // frees it
  try engine.close()
}

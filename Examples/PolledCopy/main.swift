// SPDX-License-Identifier: Apache-2.0

// Copies 1 GiB in pieces of 64 KiB on a channel of one's own: no interrupt, no lock, no allocation.
import Logging
import NetDmaMock
import NetDmaVFIO

let engine = try DMAEngine(transport: MockTransport(), logger: Logger(label: "example"))
let source = try engine.allocate(byteCount: 64 << 10)
let target = try engine.allocate(byteCount: 64 << 10)
var channel = try engine.openChannel(mode: .polled)

let total = 16_384
var (started, ended) = (0, 0)
while ended < total {
  // As many as fit, with one doorbell for all of them.
  while started < total,
    channel.enqueueCopy(from: source.slice, to: target.slice, token: UInt64(started))
  {
    started += 1
  }
  try channel.submit()
  let result = try channel.poll()
  ended += result.completed + result.failed
  for failure in channel.takeFailures() { print(failure) }
}
print("\(ended) copies, \(channel.statistics.doorbells) doorbells")

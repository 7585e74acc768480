// SPDX-License-Identifier: Apache-2.0

import CFloor
import NetDmaVFIO

/// One request: what both sides are handed for every descriptor.
struct Request {
  let source: DMASlice
  let destination: DMASlice
}

/// Runs `batches` batches of `batch` copies through the driver, one poll each, with the engine
/// completing at once; gives the number of copies that completed.
@inline(never)
func runOurs(
  _ channel: inout NetDmaChannel, device: borrowing instant_device,
  requests: UnsafePointer<Request>, mask: UInt64, batches: UInt64, batch: UInt32
) throws(NetDmaError) -> UInt64 {
  var device = copy device
  var completed: UInt64 = 0
  var token: UInt64 = 0
  for _ in 0..<batches {
    for _ in 0..<batch {
      let request = requests[Int(token & mask)]
      guard channel.enqueueCopy(from: request.source, to: request.destination, token: token) else {
        break
      }
      token &+= 1
    }
    try channel.submit()
    instant_device_complete(&device)
    completed &+= UInt64(try channel.poll().completed)
  }
  return completed
}

// SPDX-License-Identifier: Apache-2.0

// Article "Getting started".
import Logging
import NetDmaMock
import NetDmaVFIO

/// One copy on the model.
func gettingStarted(logger: Logger) async throws {
  let engine = try DMAEngine(transport: MockTransport(), logger: logger)
  var source = try engine.allocate(byteCount: 65536)
  let target = try engine.allocate(byteCount: 65536)
  source.withMutableBytes { bytes in
    for index in 0..<bytes.byteCount {
      bytes.storeBytes(of: UInt8(truncatingIfNeeded: index), toByteOffset: index, as: UInt8.self)
    }
  }
  try await engine.copy(from: source, to: target)
  let last = target.withBytes { $0.unsafeLoad(fromByteOffset: 65535, as: UInt8.self) }
  print("the last byte is \(last)")
  try engine.close()
}

/// The same engine behind a socket, or on the bus: only the transport differs.
func openEngine(at place: String, logger: Logger) throws -> DMAEngine {
  if let address = PCIAddress(place) {
    return try DMAEngine(
      transport: openKernelDevice(address: address, logger: logger), logger: logger)
  }
  return try DMAEngine(
    transport: VFIOUserClient.connect(path: place, logger: logger), logger: logger)
}

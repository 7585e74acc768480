// SPDX-License-Identifier: Apache-2.0

// Article "Memory and IOVA".
import Glibc
import Logging
import NetDmaMock
import NetDmaVFIO

/// Buffers, a pool of them, and memory of one's own.
func memory(logger: Logger) async throws {
  let engine = try DMAEngine(transport: MockTransport(), logger: logger)

  // On 2 MiB pages where the machine has some, else on small ones.
  let large = try engine.allocate(byteCount: 4 << 20, pages: .huge2MiB)
  print("the engine sees it at 0x\(String(large.iova, radix: 16))")

  // The engine may read it, and a descriptor that names it as a target fails.
  let constant = try engine.allocate(byteCount: 4096, permissions: .read)
  try await engine.copy(from: constant.slice, to: large.slice(8192..<12288))

  let pool = try DMABufferPool(in: engine.addressSpace, bufferSize: 2048, capacity: 16)
  if let buffer = pool.take() {
    try await engine.copy(from: constant.slice(0..<2048), to: buffer.slice)
    print("\(pool.available) of \(pool.capacity) buffers are left")
  }
  print("and \(pool.available) again")

  let own = UnsafeMutableRawBufferPointer.allocate(byteCount: 8192, alignment: 4096)
  defer { own.deallocate() }
  try await engine.addressSpace.withRegisteredMemory(own) { slice in
    try await engine.copy(from: constant.slice, to: slice.slice(4096..<8192))
  }
  try engine.close()
}

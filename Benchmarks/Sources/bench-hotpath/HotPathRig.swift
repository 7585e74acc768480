// SPDX-License-Identifier: Apache-2.0

import BenchSupport
import CFloor
import Logging
import NetDmaVFIO

/// An instant engine, opened by the driver, the memory that is "copied", and the floor's channel.
struct HotPathRig: ~Copyable {
  let ours: OurHotPath
  private let memory: DMABuffer
  private let copies: [floor_copy]
  private let floor: OpaquePointer

  static var requestCount: Int { 64 }
  static var copySize: Int { 4096 }

  init() throws {
    let transport = try InstantTransport()
    var options = DMAEngine.Options()
    options.usesInterrupts = false
    let engine = try DMAEngine(
      transport: transport, options: options, logger: Logger(label: "bench"))
    let memory = try engine.allocate(byteCount: 2 * Self.requestCount * Self.copySize)
    let requests = (0..<Self.requestCount).map { index in
      let at = 2 * index * Self.copySize
      return Request(
        source: memory.slice(at..<at + Self.copySize),
        destination: memory.slice(at + Self.copySize..<at + 2 * Self.copySize))
    }
    guard let floor = floor_channel_create(1024) else { throw BenchError("no memory") }
    ours = OurHotPath(engine: engine, transport: transport, requests: requests)
    copies = requests.map {
      floor_copy(
        source: $0.source.iova, destination: $0.destination.iova, size: UInt32($0.source.count))
    }
    self.memory = memory
    self.floor = floor
  }

  deinit { floor_channel_free(floor) }

  /// The floor's side; gives the number of copies that completed.
  func runFloor(batches: UInt64, batch: UInt32) -> UInt64 {
    bench_toggle_counting()
    defer { bench_toggle_counting() }
    return floor_run(floor, copies, UInt32(copies.count - 1), batches, batch)
  }

  func close() throws {
    try ours.engine.close()
    ours.transport.stopResponding()
  }
}

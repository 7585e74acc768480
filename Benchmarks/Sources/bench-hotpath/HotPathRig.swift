// SPDX-License-Identifier: Apache-2.0

import BenchSupport
import CFloor
import Logging
import NetDmaVFIO

/// An instant engine, opened by the driver, and the memory that is "copied".
struct HotPathRig: ~Copyable {
  let transport: InstantTransport
  let engine: DMAEngine
  private let memory: DMABuffer

  static var requestCount: Int { 64 }
  static var copySize: Int { 4096 }

  init() throws {
    let transport = try InstantTransport()
    var options = DMAEngine.Options()
    options.usesInterrupts = false
    let engine = try DMAEngine(
      transport: transport, options: options, logger: Logger(label: "bench"))
    memory = try engine.allocate(byteCount: 2 * Self.requestCount * Self.copySize)
    self.transport = transport
    self.engine = engine
  }

  /// Both sides, ready to run.
  func runner() throws -> HotPathRunner {
    let requests = (0..<Self.requestCount).map { index in
      let at = 2 * index * Self.copySize
      return Request(
        source: memory.slice(at..<at + Self.copySize),
        destination: memory.slice(at + Self.copySize..<at + 2 * Self.copySize))
    }
    let channel = try engine.openChannel(mode: .polled, ringCapacity: 1024)
    transport.stopResponding()
    guard let device = transport.device(of: 0), let floor = floor_channel_create(1024) else {
      throw BenchError("the engine was not started")
    }
    return HotPathRunner(requests: requests, channel: channel, device: device, floor: floor)
  }

  func close(_ runner: consuming HotPathRunner) throws {
    try transport.startResponding()
    _ = consume runner
    try engine.close()
    transport.stopResponding()
  }
}

/// The two sides.
struct HotPathRunner: ~Copyable {
  private let requests: [Request]
  private let copies: [floor_copy]
  private var channel: NetDmaChannel
  private let device: instant_device
  private let floor: OpaquePointer

  init(
    requests: [Request], channel: consuming NetDmaChannel, device: instant_device,
    floor: OpaquePointer
  ) {
    self.requests = requests
    copies = requests.map {
      floor_copy(
        source: $0.source.iova, destination: $0.destination.iova, size: UInt32($0.source.count))
    }
    self.channel = channel
    self.device = device
    self.floor = floor
  }

  deinit { floor_channel_free(floor) }

  mutating func run(_ ours: Bool, batches: UInt64, batch: UInt32) throws -> UInt64 {
    if ours {
      return try requests.withUnsafeBufferPointer { buffer throws(NetDmaError) in
        guard let base = buffer.baseAddress else { return 0 }
        return try runOurs(
          &channel, device: device, requests: base, mask: UInt64(requests.count - 1),
          batches: batches, batch: batch)
      }
    }
    return floor_run(floor, copies, UInt32(copies.count - 1), batches, batch)
  }
}

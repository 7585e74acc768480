// SPDX-License-Identifier: Apache-2.0

import BenchSupport
import CFloor
import Glibc
import Logging
import NetDmaVFIO

/// What another channel costs: in time per descriptor, and in memory.
enum ChannelRows {
  private static let rounds = 11
  private static let batch = 32
  private static let capacity = 1024
  private static let maximum = 31

  private static func engine(_ transport: InstantTransport) throws -> DMAEngine {
    var options = DMAEngine.Options()
    options.usesInterrupts = false
    return try DMAEngine(transport: transport, options: options, logger: quietLogger())
  }

  /// One thread that serves eight channels in turn, a batch each, against the same with one channel.
  static func time(_ bench: Bench) throws -> [Row] {
    let transport = try InstantTransport(channelCount: 8)
    let engine = try engine(transport)
    let memory = try engine.allocate(byteCount: 8192)
    let slices = (memory.slice(0..<4096), memory.slice(4096..<8192))
    let times: (ours: Double, baseline: Double)
    do {
      let channels = try OpenChannels(engine, count: 8, capacity: capacity)
      transport.stopResponding()
      defer { transport.startResponding() }
      let devices = (0..<8).compactMap { transport.device(of: $0) }
      guard devices.count == 8 else { throw BenchError("an engine was not started") }
      times = try inRealTime {
        try interleaved(rounds: rounds) {
          try channels.time(count: 8, devices, slices, batch: batch)
        } baseline: {
          try channels.time(count: 1, devices, slices, batch: batch)
        }
      }
    }
    try engine.close()
    transport.stopResponding()
    return [
      Row(
        name: "eight channels against one, time", ours: times.ours, baseline: times.baseline,
        target: 1.1, unit: "ns/descriptor", rule: .ratioAtMost)
    ]
  }

  /// Memory that becomes resident with a channel, against its ring.
  static func memory(_ bench: Bench) throws -> [Row] {
    let transport = try InstantTransport(channelCount: maximum)
    let engine = try engine(transport)
    let perChannel: Double
    do {
      // The first pays for what all of them share.
      let first = try OpenChannels(engine, count: 1, capacity: capacity)
      let before = try residentBytes()
      let others = try OpenChannels(engine, count: maximum - 1, capacity: capacity)
      perChannel = Double(try residentBytes() - before) / Double(maximum - 1)
      _ = consume others
      _ = consume first
    }
    try engine.close()
    transport.stopResponding()
    return [
      Row(
        name: "memory of a channel of \(capacity) descriptors, beyond its ring", ours: perChannel,
        baseline: Double(capacity * 64), target: 65536, unit: "bytes", rule: .differenceAtMost)
    ]
  }

  private static func residentBytes() throws -> Int {
    guard let file = fopen("/proc/self/statm", "r") else { throw BenchError("no /proc") }
    defer { fclose(file) }
    var line = [CChar](repeating: 0, count: 256)
    guard fgets(&line, 256, file) != nil else { throw BenchError("no /proc/self/statm") }
    let text = String(
      decoding: line.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    let words = text.split(separator: " ")
    guard words.count > 1, let pages = Int(words[1]) else {
      throw BenchError("no pages in \(text)")
    }
    return pages * Int(sysconf(CInt(_SC_PAGESIZE)))
  }
}

/// Channels in a row, which an array cannot hold as each has one owner.
private struct OpenChannels: ~Copyable {
  private let channels: UnsafeMutablePointer<NetDmaChannel?>
  private let count: Int

  init(_ engine: DMAEngine, count: Int, capacity: Int) throws {
    channels = .allocate(capacity: count)
    self.count = count
    for index in 0..<count { (channels + index).initialize(to: nil) }
    for index in 0..<count {
      channels[index] = try engine.openChannel(mode: .polled, ringCapacity: capacity)
    }
  }

  deinit {
    channels.deinitialize(count: count)
    channels.deallocate()
  }

  /// Nanoseconds per descriptor on the first `count` channels.
  func time(
    count: Int, _ devices: [instant_device], _ memory: (source: DMASlice, target: DMASlice),
    batch: Int
  ) throws -> Double {
    let turns = 24_000 / count
    var devices = devices
    let start = bench_now()
    for _ in 0..<turns {
      for index in 0..<count {
        for _ in 0..<batch {
          guard
            channels[index]?.enqueueCopy(from: memory.source, to: memory.target, token: 0) ?? false
          else { throw BenchError("the ring is full") }
        }
        try channels[index]?.submit()
        instant_device_complete(&devices[index])
        guard try channels[index]?.poll().completed == batch else {
          throw BenchError("copies were lost")
        }
      }
    }
    return Double(bench_now() - start) / Double(turns * count * batch)
  }
}

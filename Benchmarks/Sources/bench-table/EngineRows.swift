// SPDX-License-Identifier: Apache-2.0

import BenchSupport
import CFloor
import Glibc
import Logging
import NetDmaMock
import NetDmaVFIO

/// The emulated engine: what it copies against memcpy on its core, how many descriptors it does, in this
/// process and in another.
enum EngineRows {
  private static let rounds = 7
  private static let span: UInt64 = 60_000_000
  private static let large = 64 << 10
  private static let places = 4
  private static let small = 64

  static func rows(_ bench: Bench) throws -> [Row] {
    let transport = try mock(bench)
    var options = DMAEngine.Options()
    options.usesInterrupts = false
    let engine = try DMAEngine(transport: transport, options: options, logger: quietLogger())
    let source = try engine.allocate(byteCount: places * large)
    var target = try engine.allocate(byteCount: places * large)
    target.withMutableBytes { bytes in
      for page in stride(from: 0, to: bytes.byteCount, by: 4096) {
        bytes.storeBytes(of: 1, toByteOffset: page, as: UInt8.self)
      }
    }
    let (from, to) = (source.slice, target.slice)
    var rows: [Row] = []
    do {
      var channel = try engine.openChannel(mode: .polled)
      let copies = try inRealTime {
        try interleaved(rounds: rounds) {
          try PolledCopies.run(
            &channel, from: from, to: to, size: large, places: places, batch: 32, depth: 256,
            nanoseconds: span
          ).rate * Double(large) / 1e9
        } baseline: {
          try memcpyRate(bench, source, target, size: large, places: places) * Double(large) / 1e9
        }
      }
      rows.append(
        Row(
          name: "mock engine, 64 KiB copies, against memcpy on its core", ours: copies.ours,
          baseline: copies.baseline, target: 0.95, unit: "GB/s", rule: .ratioAtLeast))
      let descriptors = try inRealTime {
        try interleaved(rounds: rounds) {
          try PolledCopies.run(
            &channel, from: from, to: to, size: small, places: places, batch: 32, depth: 512,
            nanoseconds: span
          ).rate / 1e6
        } baseline: {
          try memcpyRate(bench, source, target, size: small, places: places) / 1e6
        }
      }
      rows.append(
        Row(
          name: "mock engine, 64-byte copies, batch 32", ours: descriptors.ours,
          baseline: descriptors.baseline, target: 1, unit: "M descriptors/s", rule: .oursAtLeast))
    }
    try engine.close()
    return rows
  }

  /// memcpy on the engine's core, copies per second.
  private static func memcpyRate(
    _ bench: Bench, _ source: borrowing DMABuffer, _ target: borrowing DMABuffer, size: Int,
    places: Int
  ) throws -> Double {
    onCPU(bench.otherCPU, from: bench.cpu) {
      source.withBytes { source in
        target.withBytes { target in
          source.withUnsafeBytes { source in
            target.withUnsafeBytes { target in
              guard let from = source.baseAddress, let to = target.baseAddress else { return 0 }
              var count: UInt64 = 1024
              while true {
                let elapsed = floor_copy_run(
                  UnsafeMutableRawPointer(mutating: to), from, UInt64(size), UInt64(places), count)
                if elapsed >= span / 2 { return Double(count) * 1e9 / Double(elapsed) }
                count = max(2 * count, count * span / max(1, elapsed))
              }
            }
          }
        }
      }
    }
  }

  /// The emulated engine in this process, its threads on the other CPU.
  private static func mock(_ bench: Bench) throws -> MockTransport {
    // Before the other process, whose engine looks for doorbells on that CPU without much of a pause.
    try onCPU(bench.otherCPU, from: bench.cpu) {
      try inRealTime(ahead: 1) { try MockTransport() }
    }
  }

  /// Two processes, doorbells by store, against the same engine within one process.
  static func vfioUser(_ bench: Bench) throws -> [Row] {
    let socket = "/tmp/netdma-bench.\(getpid()).sock"
    defer { unlink(socket) }
    let server = try start(
      [
        bench.probe, "emulate", "--socket", socket, "--fast", "--mmap-doorbell",
      ], bench)
    guard let line = server.readLine() else { throw BenchError("the emulator did not start") }
    guard line.contains(socket) else { throw BenchError("the emulator said: \(line)") }
    let remote = try VFIOUserClient.connect(path: socket, logger: quietLogger())
    let local = try mock(bench)
    let rates = try both(remote, local)
    _ = consume server
    return [
      Row(
        name: "vfio-user, mapped doorbell, batch 32, against one process", ours: rates.ours / 1e6,
        baseline: rates.baseline / 1e6, target: 1, unit: "M descriptors/s", rule: .oursAtLeast)
    ]
  }

  /// Starts a program on the other CPU.
  private static func start(_ arguments: [String], _ bench: Bench) throws -> ChildProcess {
    bench_pin(CInt(bench.otherCPU))
    bench_fifo(10)
    defer {
      bench_fifo(0)
      bench_pin(CInt(bench.cpu))
    }
    return try ChildProcess(arguments)
  }

  private static func both(
    _ remote: any DeviceTransport, _ local: any DeviceTransport
  ) throws -> (ours: Double, baseline: Double) {
    var options = DMAEngine.Options()
    options.usesInterrupts = false
    let there = try DMAEngine(transport: remote, options: options, logger: quietLogger())
    let here = try DMAEngine(transport: local, options: options, logger: quietLogger())
    let thereMemory = try there.allocate(byteCount: 2 * places * small)
    let hereMemory = try here.allocate(byteCount: 2 * places * small)
    let half = places * small
    let rates: (ours: Double, baseline: Double)
    do {
      var thereChannel = try there.openChannel(mode: .polled)
      var hereChannel = try here.openChannel(mode: .polled)
      func rate(_ channel: inout NetDmaChannel, _ memory: DMASlice) throws -> Double {
        try PolledCopies.run(
          &channel, from: memory.slice(0..<half), to: memory.slice(half..<2 * half), size: small,
          places: places, batch: 32, depth: 512, nanoseconds: span
        ).rate
      }
      rates = try inRealTime {
        try interleaved(rounds: rounds) {
          try rate(&thereChannel, thereMemory.slice)
        } baseline: {
          try rate(&hereChannel, hereMemory.slice)
        }
      }
    }
    try there.close()
    try here.close()
    return rates
  }
}

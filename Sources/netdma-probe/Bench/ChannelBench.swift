// SPDX-License-Identifier: Apache-2.0

import NetDmaVFIO

/// Measures a point on channels of one's own, each with a thread that submits.
struct ChannelBench: Sendable {
  let engine: DMAEngine
  let point: BenchPoint
  let ringCapacity: Int
  let options: BenchOptions
  let meter: CPUMeter

  func run(isStopped: @escaping @Sendable () -> Bool, tick: () -> Void) throws -> Measurement {
    let gate = StartGate(count: point.channels)
    let team = try ThreadTeam(count: point.channels, name: "bench") { _ in
      try share(gate, isStopped: isStopped)
    }
    gate.waitForAll()
    let before = meter.total
    gate.open()
    while !team.wait(for: .milliseconds(100)) { tick() }
    let cpu = meter.total &- before
    return total(try team.outputs(), cpu: cpu)
  }

  /// One channel's share.
  private struct Share: Sendable {
    var operations = 0
    /// Time and CPU time of what was measured, and all CPU time of the thread since the start.
    var nanoseconds: UInt64 = 0
    var cpu: UInt64 = 0
    var allCPU: UInt64 = 0
    var latencies = LatencyHistogram()
    var before = NetDmaChannelStatistics()
    var after = NetDmaChannelStatistics()
    var check = BenchCheck()
  }

  private func share(_ gate: StartGate, isStopped: @escaping @Sendable () -> Bool) throws -> Share {
    var hasArrived = false
    // The others wait for this one, whatever becomes of it.
    defer { if !hasArrived { gate.arrive() } }
    func arrive() {
      hasArrived = true
      gate.arrive()
      gate.pass()
    }
    if point.mode == .interrupt {
      var loop = try InterruptLoop(engine, point, ringCapacity: ringCapacity)
      return try share(&loop, isStopped, arrive)
    }
    var loop = try PolledLoop(engine, point, ringCapacity: ringCapacity)
    return try share(&loop, isStopped, arrive)
  }

  private func share<Loop: ChannelLoop & ~Copyable>(
    _ loop: inout Loop, _ isStopped: @escaping @Sendable () -> Bool, _ arrive: () -> Void
  ) throws -> Share {
    let places = BenchMemory.placeCount(point, verifies: options.verifies)
    var memory = try BenchMemory(engine, point.operation, size: point.size, count: places)
    var share = Share()
    // Once around, unmeasured: whatever is done on first use is done.
    var ignored = LatencyHistogram()
    _ = try loop.round(
      memory, limit: min(places, point.depth),
      window: BenchWindow(end: .max, isStopped: isStopped), &ignored)
    share.before = loop.statistics
    arrive()

    let start = CPUMeter.thread
    let end = Deadline.now() &+ options.nanoseconds
    repeat {
      if options.verifies { memory.prepare() }
      let cpu = CPUMeter.thread
      let begin = Deadline.now()
      // What comparing takes does not count as measuring.
      let left = options.nanoseconds &- min(options.nanoseconds, share.nanoseconds)
      let window = BenchWindow(
        end: options.verifies ? begin &+ left : end, isStopped: isStopped)
      let count = try loop.round(
        memory, limit: options.verifies ? places : .max, window: window, &share.latencies)
      share.nanoseconds &+= Deadline.now() &- begin
      share.cpu &+= CPUMeter.thread &- cpu
      share.operations += count
      if options.verifies { share.check.compare(memory, count, point) }
    } while options.verifies && share.nanoseconds < options.nanoseconds && !isStopped()
    share.allCPU = CPUMeter.thread &- start
    share.after = loop.statistics
    return share
  }

  private func total(_ shares: [Share], cpu: UInt64) -> Measurement {
    var result = Measurement()
    var latencies = LatencyHistogram()
    var check = BenchCheck()
    // What other threads did for the channels (interrupts, replies of a server) counts; what these
    // did besides the measured part does not.
    result.cpuNanoseconds = cpu
    for share in shares {
      result.operations += share.operations
      if share.nanoseconds > 0 {
        result.rate += Double(share.operations) * 1e9 / Double(share.nanoseconds)
      }
      result.seconds = max(result.seconds, Double(share.nanoseconds) / 1e9)
      result.cpuNanoseconds -= min(result.cpuNanoseconds, share.allCPU &- share.cpu)
      result.interrupts += share.after.interrupts &- share.before.interrupts
      result.descriptors += share.after.submittedDescriptors &- share.before.submittedDescriptors
      result.doorbells += share.after.doorbells &- share.before.doorbells
      latencies.add(share.latencies)
      check.add(share.check)
    }
    result.latency = latencies.summary
    result.check = check
    return result
  }
}

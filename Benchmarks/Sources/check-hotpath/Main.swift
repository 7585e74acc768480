// SPDX-License-Identifier: Apache-2.0

import BenchSupport
import CCallCounters
import CFloor
import Glibc
import Logging
import NetDmaVFIO

/// Counts what enqueue, submit and poll call while nothing fails: it must be nothing.
///
/// Built for release, as clients are; the exit status says whether it is so. What it counts with is
/// tried out first: a program in which every counter stays at zero proves nothing.
@main
struct CheckHotPath {
  static func main() throws {
    try checkCounters()
    let transport = try InstantTransport()
    var options = DMAEngine.Options()
    options.usesInterrupts = false
    let engine = try DMAEngine(
      transport: transport, options: options, logger: Logger(label: "check"))
    let memory = try engine.allocate(byteCount: 8192)
    var clean = true
    for batch in [1, 32, 1000] {
      let counts = try measure(
        engine, transport, from: memory.slice(0..<4096), to: memory.slice(4096..<8192),
        batches: 5000, batch: batch)
      print(
        "batch \(batch): \(counts.allocations) allocations, \(counts.references) reference counts, "
          + "\(counts.accesses) exclusivity checks, \(counts.locks) locks, "
          + "\(counts.systemCalls) system calls in \(5000 * batch) copies")
      clean = clean && counts.isZero
    }
    try engine.close()
    transport.stopResponding()
    guard clean else {
      print("error: The hot path must call none of these.")
      fflush(nil)
      exit(1)
    }
  }

  /// The three calls, as a program makes them; laps of the ring and full rings among them.
  @inline(never)
  static func measure(
    _ engine: DMAEngine, _ transport: InstantTransport, from source: DMASlice,
    to destination: DMASlice, batches: Int, batch: Int
  ) throws -> call_counts {
    var channel = try engine.openChannel(mode: .polled, ringCapacity: 1024)
    transport.stopResponding()
    defer { transport.startResponding() }
    guard var device = transport.device(of: 0) else { throw BenchError("It was not started.") }
    var completed = 0
    var sum: UInt64 = 0
    call_counters_start()
    for round in 0..<batches {
      for _ in 0..<batch {
        guard channel.enqueueCopy(from: source, to: destination, token: 1) else { break }
      }
      try channel.submit()
      instant_device_complete(&device)
      if round & 1 == 0 {
        completed &+= try channel.poll().completed
      } else {
        completed &+= try channel.poll { token in sum &+= token }.completed
      }
    }
    let counts = call_counters_stop()
    guard completed == batches * batch, sum == UInt64(batches / 2 * batch) else {
      throw BenchError("\(completed) of \(batches * batch) copies completed")
    }
    return counts
  }

  /// Does once each of what must not be done, and throws unless all of it was counted.
  static func checkCounters() throws {
    let object = Object()
    call_counters_start()
    call_counters_make_one_of_each_in_c()
    let inC = call_counters_stop()
    call_counters_start()
    object.provoke()
    let inSwift = call_counters_stop()
    guard inC.allocations == 2, inC.locks == 1, inC.systemCalls == 1, inSwift.allocations > 0,
      inSwift.references > 0, inSwift.accesses > 0
    else { throw BenchError("The counters do not count: \(inC), \(inSwift).") }
  }
}

/// Something with everything that a hot path must not have.
private final class Object {
  private var count = 0
  private var others: [Object] = []

  @inline(never)
  func provoke() {
    add(1)
    others.append(self)
    others.removeLast()
  }

  @inline(never)
  private func add(_ amount: Int) {
    change(&count) { Object.grow(&$0, amount) }
  }

  @inline(never)
  private func change(_ value: inout Int, _ body: (inout Int) -> Void) { body(&value) }

  @inline(never)
  private static func grow(_ value: inout Int, _ amount: Int) { value += amount }
}

extension call_counts {
  var isZero: Bool {
    allocations == 0 && references == 0 && accesses == 0 && locks == 0 && systemCalls == 0
  }
}

// SPDX-License-Identifier: Apache-2.0

public import Logging
import Synchronization

/// The CPUs that take interrupts and run DPCs: one thread each, created when first used.
///
/// Thread-safe. Call `shutdown()` before the last reference ends; it must not end on one of the
/// dispatcher's own threads.
public final class InterruptDispatcher: Sendable {
  /// How the threads run.
  public struct Options: Sendable {
    /// Pin each thread to its CPU (where that is refused it floats and says so once).
    public var pinsThreads = true
    /// SCHED_FIFO priority (1...99) for the threads, nil for the ordinary scheduler.
    public var realTimePriority: Int?
    /// The CPU whose thread takes every interrupt, nil to take each on the CPU of its DPC.
    public var interruptCPU: Int?
    /// The defaults.
    public init() {}
  }

  private let options: Options
  private let logger: Logger
  private let processors = Mutex<[Int: InterruptProcessor]>([:])

  /// A connected interrupt; hand it back to `disconnect`.
  public struct Connection: Sendable {
    let processor: InterruptProcessor
    let registration: UInt64
    /// The CPU whose thread takes the interrupt.
    public var cpu: Int { processor.cpu }
  }

  /// A dispatcher without threads yet.
  public init(options: Options = Options(), logger: Logger) {
    self.options = options
    self.logger = logger
  }

  private func processor(_ cpu: Int) throws(SystemCallError) -> InterruptProcessor {
    try processors.withLock { table throws(SystemCallError) in
      if let existing = table[cpu] { return existing }
      let made = try InterruptProcessor(
        cpu: cpu, pinned: options.pinsThreads, realTimePriority: options.realTimePriority,
        logger: logger)
      table[cpu] = made
      return made
    }
  }

  /// Calls `isr` with the number of signals whenever `eventFD` was signalled, on the thread of `cpu`
  /// or of `Options.interruptCPU`.
  ///
  /// The routine does little and never blocks; it leaves the work to a DPC. The eventfd stays open
  /// until `disconnect`.
  public func connect(
    eventFD: CInt, cpu: Int, isr: @escaping @Sendable (UInt64) -> Void
  ) throws(SystemCallError) -> Connection {
    let target = try processor(options.interruptCPU ?? cpu)
    return Connection(processor: target, registration: try target.connect(eventFD, isr: isr))
  }

  /// Afterwards the routine does not run any more and the eventfd may be closed.
  public func disconnect(_ connection: Connection) {
    connection.processor.disconnect(connection.registration)
  }

  /// Makes sure that `cpu` has a thread, so that queueing to it allocates nothing.
  public func prepare(cpu: Int) throws(SystemCallError) { _ = try processor(cpu) }

  /// Queues `dpc` to the thread of `cpu`; to any thread when that CPU has none.
  public func queue(_ dpc: Dpc, cpu: Int) {
    let target = processors.withLock { $0[cpu] ?? $0.values.first }
    target?.queue(dpc)
  }

  /// Waits until every DPC that was queued before has run (KeFlushQueuedDpcs).
  public func flush() {
    let all = processors.withLock { Array($0.values) }
    for processor in all { processor.flush() }
  }

  /// CPUs that have a thread.
  public var cpus: [Int] { processors.withLock { $0.keys.sorted() } }

  /// Ends every thread after what is queued.
  public func shutdown() {
    let all = processors.withLock { table in
      let all = Array(table.values)
      table = [:]
      return all
    }
    for processor in all { processor.stop() }
  }

  deinit { shutdown() }
}

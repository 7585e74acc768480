// SPDX-License-Identifier: Apache-2.0

public import NetDmaVFIO
import Synchronization

/// An IOAT function at the level of its registers: what hangs behind BAR0, and the engines.
///
/// It knows nothing of the driver: software talks to it through register accesses and memory, and
/// hears of it through memory and interrupts. Every member may be used from any thread. Register
/// accesses never wait for an engine. Completion is always asynchronous: each channel's engine is a
/// thread of its own, and no register write returns with work done that it asked for.
///
/// `memory`, `interrupts` and `msix` are kept until the model ends; they must not own the model, or
/// neither ends.
public final class IOATModel: Sendable {
  /// Bytes of BAR0.
  public static let windowSize = ModelRegister.windowSize
  /// What the function is.
  public let configuration: ModelConfiguration

  private let function: FunctionState
  private let channels: [ChannelModel]
  private let threads: Mutex<[EngineThread]>
  private let unimplementedReads = Atomic<UInt64>(0)
  private let unimplementedWrites = Atomic<UInt64>(0)

  /// A reset waits this long for a descriptor in flight; what it does later counts for nothing.
  private static let quiesceLimit = Duration.seconds(10)

  /// Joined when the last reference ends.
  private final class EngineThread: Sendable {
    private let thread: PinnedThread
    init(_ channel: ChannelModel) throws(SystemCallError) {
      thread = try PinnedThread(name: "ioat-engine-\(channel.index)") { _ in channel.run() }
    }
  }

  /// A function after power-on, with its engines running.
  ///
  /// `msix` answers at the MSI-X table and pending bits of BAR0; without it nothing is there.
  /// - Throws: `SystemCallError` when the kernel refuses a thread or an eventfd.
  public init(
    configuration: ModelConfiguration, memory: any BusMemory, interrupts: any InterruptLine,
    msix: (any MSIXRegisters)? = nil
  ) throws(SystemCallError) {
    let configuration = configuration.normalized
    self.configuration = configuration
    function = FunctionState(configuration: configuration, line: interrupts, msix: msix)
    var channels: [ChannelModel] = []
    for index in 0..<configuration.channelCount {
      channels.append(try ChannelModel(index: index, function: function, memory: memory))
    }
    self.channels = channels
    threads = Mutex([])
    do throws(SystemCallError) {
      for channel in channels {
        let thread = try EngineThread(channel)
        threads.withLock { $0.append(thread) }
      }
    } catch {
      stop()
      throw error
    }
  }

  deinit { stop() }

  /// Ends the engines, each after the descriptor in flight.
  ///
  /// Registers can still be read; nothing is carried out any more.
  public func stop() {
    for channel in channels { channel.stop() }
    let threads = threads.withLock { threads in
      defer { threads = [] }
      return threads
    }
    // Joined here, unless this is an engine's own thread or another caller is still joining.
    _ = consume threads
  }

  // MARK: - Registers

  /// Reads `width` bytes (1 to 8, little-endian) at `offset` of BAR0, with all side effects.
  ///
  /// What is not implemented or lies outside reads 0 and is counted; a removed device reads all ones.
  public func readRegister(_ offset: Int, width: Int) -> UInt64 {
    guard (1...8).contains(width), offset >= 0, offset <= Self.windowSize - width else {
      unimplementedReads.add(1, ordering: .relaxed)
      return 0
    }
    if function.isRemoved { return ByteLanes(start: 0, width: width).bits }
    if let msix = function.msix, isMSIX(offset) { return msix.readMSIX(offset, width: width) }
    var result: UInt64 = 0
    var isImplemented = false
    var done = 0
    while done < width {
      let (word, start) = (offset + done).quotientAndRemainder(dividingBy: 8)
      let count = min(8 - start, width - done)
      let lanes = ByteLanes(start: start, width: count)
      if let value = read(word: word, lanes: lanes) {
        isImplemented = true
        result |= ((value & lanes.bits) >> UInt64(8 * start)) << UInt64(8 * done)
      }
      done += count
    }
    if !isImplemented { unimplementedReads.add(1, ordering: .relaxed) }
    return result
  }

  /// Writes the low `width` bytes (1 to 8) of `value` at `offset` of BAR0.
  ///
  /// What is not implemented, read-only or outside is ignored; the first and last are counted.
  public func writeRegister(_ offset: Int, width: Int, value: UInt64) {
    guard (1...8).contains(width), offset >= 0, offset <= Self.windowSize - width else {
      unimplementedWrites.add(1, ordering: .relaxed)
      return
    }
    if function.isRemoved { return }
    if let msix = function.msix, isMSIX(offset) {
      return msix.writeMSIX(offset, width: width, value: value)
    }
    var isImplemented = false
    var done = 0
    while done < width {
      let (word, start) = (offset + done).quotientAndRemainder(dividingBy: 8)
      let count = min(8 - start, width - done)
      let lanes = ByteLanes(start: start, width: count)
      let part = (value >> UInt64(8 * done)) << UInt64(8 * start)
      if write(word: word, lanes: lanes, value: part) { isImplemented = true }
      done += count
    }
    if !isImplemented { unimplementedWrites.add(1, ordering: .relaxed) }
  }

  private func isMSIX(_ offset: Int) -> Bool {
    let vectors = configuration.vectorCount
    let table = configuration.msixTableOffset
    let pending = configuration.msixPendingOffset
    return table..<table + 16 * vectors ~= offset
      || pending..<pending + (vectors + 63) / 64 * 8 ~= offset
  }

  private static let wordsPerWindow = ModelRegister.channelWindowSize / 8

  private func read(word: Int, lanes: ByteLanes) -> UInt64? {
    let (window, position) = word.quotientAndRemainder(dividingBy: Self.wordsPerWindow)
    if window == 0 { return function.read(word: position, lanes: lanes) }
    guard window <= channels.count else { return nil }
    return channels[window - 1].read(word: position, lanes: lanes)
  }

  private func write(word: Int, lanes: ByteLanes, value: UInt64) -> Bool {
    let (window, position) = word.quotientAndRemainder(dividingBy: Self.wordsPerWindow)
    if window == 0 { return function.write(word: position, lanes: lanes, value: value) }
    guard window <= channels.count else { return false }
    return channels[window - 1].write(word: position, lanes: lanes, value: value)
  }

  // MARK: - What the PCI side owns

  /// CHANERR_INT, configuration space 0x180: every error since it was last cleared.
  public var channelErrorInt: UInt32 { function.channelErrorInt }

  /// Clears the bits of CHANERR_INT that are 1 in `bits` (W1C).
  public func clearChannelErrorInt(_ bits: UInt32) { function.clearChannelError(bits) }

  /// COMMAND bit 2: without it the function reaches no memory.
  ///
  /// True after power-on of the model, so that a model without a PCI side works.
  public var isBusMaster: Bool {
    get { function.isBusMaster }
    set {
      function.isBusMaster = newValue
      for channel in channels { channel.endTurn() }
    }
  }

  /// INTRCTRL's INT bit, the level of the INTx pin.
  public var isInterruptAsserted: Bool { function.isInterruptAsserted }

  /// Function-level reset: registers and engines as after power-on.
  ///
  /// Returns when no engine touches memory on behalf of what was asked before.
  public func reset() {
    for channel in channels { channel.resetFunction() }
    for channel in channels {
      _ = Deadline(after: Self.quiesceLimit).poll { !channel.isBusy }
    }
    function.reset()
  }

  // MARK: - Doorbells in memory

  /// Looks at `page` for DMACOUNT from now on, besides the registers; at none when nil.
  public func attach(_ page: DoorbellPage?) {
    for channel in channels { channel.attach(page) }
  }

  /// Takes over every count that was stored in memory, to be called before a register access so
  /// that the two stay in order.
  public func takeDoorbells() {
    for channel in channels { channel.takeDoorbell() }
  }

  /// Shows every DMACOUNT in memory, to be called after what may have changed one otherwise.
  public func mirrorCounts() {
    for channel in channels { channel.mirrorCount() }
  }

  // MARK: - Faults and figures

  /// What goes wrong from now on.
  public var faults: FaultPlan { function.faults.plan }

  /// Replaces the fault plan; limits and random draws start anew, what already went wrong stays wrong.
  public func install(_ plan: FaultPlan) {
    let wasRemoved = function.isRemoved
    function.faults.install(plan, channels: channels.count)
    function.isRemoved = plan.isRemoved
    for channel in channels { channel.endTurn() }
    if plan.isRemoved != wasRemoved { reset() }
    for channel in channels {
      channel.preset(inUse: plan.inUseAtStart, error: plan.channelErrorAtStart)
    }
    function.latchChannelError(plan.channelErrorIntAtStart & ChannelErrorBit.all)
  }

  /// What happened so far.
  public var statistics: ModelStatistics {
    let messages = function.messageCounts
    return ModelStatistics(
      channels: channels.map(\.statistics),
      unimplementedReads: unimplementedReads.load(ordering: .relaxed),
      unimplementedWrites: unimplementedWrites.load(ordering: .relaxed),
      messages: messages.sent, messagesHeld: messages.held)
  }
}

// SPDX-License-Identifier: Apache-2.0

public import Logging
import Synchronization

/// The NetDMA provider of an IOAT function: its handlers, its ISR and its DPCs.
///
/// Thread-safe. `start()` and `stop()` may repeat; the interface must outlive the provider, which
/// it does while the provider is registered.
public final class IOATProvider: NetDmaProvider {
  /// The function.
  public let device: IOATDevice
  /// Where its buffers and rings live.
  public let addressSpace: DMAAddressSpace
  let logger: Logger
  let dispatcher: InterruptDispatcher
  unowned let interface: NetDmaInterface
  let state: Mutex<State>
  private let unclaimed = Atomic<UInt64>(0)

  struct State {
    /// The allocated channel of each number.
    var allocated: [IOATChannelContext?]
    var affinity: [NetDmaChannelCpuAffinity] = []
    var vectors: InterruptVectors?
    /// What tells of errors and of the device being wanted back.
    var notifiers: [(index: IRQIndex, vectors: InterruptVectors)] = []
    /// The provider's handle while it is started.
    var handle: NetDmaProviderHandle?
    /// False from before D3hot until after D0: a register access in between is fatal on some hosts.
    var hasPower = true
  }

  /// A provider for `device` that serves `interface` and takes its interrupts from `dispatcher`.
  public init(
    device: IOATDevice, interface: NetDmaInterface, dispatcher: InterruptDispatcher, logger: Logger
  ) {
    self.device = device
    self.interface = interface
    self.dispatcher = dispatcher
    self.logger = logger
    addressSpace = DMAAddressSpace(
      device.transport, addressWidth: device.addressWidth, logger: logger)
    state = Mutex(State(allocated: Array(repeating: nil, count: device.channelCount)))
  }

  /// What it registers with.
  public var characteristics: NetDmaProviderCharacteristics {
    NetDmaProviderCharacteristics(
      flags: device.capabilities.contains(.dca) ? .dcaSupported : [],
      maximumChannelCount: device.channelCount,
      optionalHandlers: [.suspendResume, .abort, .reset], friendlyName: device.name)
  }

  /// What it starts with.
  public var attributes: NetDmaProviderAttributes {
    NetDmaProviderAttributes(
      majorHardwareVersion: device.version.rawValue >> 4,
      minorHardwareVersion: device.version.rawValue & 0xf, vendorID: device.vendorID,
      channelCount: device.channelCount, maximumTransferSize: device.maximumTransferSize,
      maximumAddress: (1 << UInt64(device.addressWidth)) - 1,
      capabilities: device.usableCapabilities,
      addressSpace: addressSpace)
  }

  // MARK: - Hardware on and off

  /// Brings every channel to HALTED, lets the function master the bus and, if it can interrupt and
  /// `usesInterrupts`, connects that; listens for errors and for the host wanting the device back.
  ///
  /// Before NetDmaProviderStart; `handle` is from NetDmaRegisterProvider. Interrupts come by a vector
  /// for each channel, one MSI-X vector, MSI or the pin, whichever of them the function has and the host
  /// has vectors for first; only by `kind` where that is given.
  /// - Throws: `NetDmaError.notSupported` for a `kind` that the function lacks; `.hardware`.
  public func start(
    as handle: NetDmaProviderHandle, usesInterrupts: Bool = true, by kind: IRQIndex? = nil
  ) throws(NetDmaError) {
    let styles = device.interruptStyles.filter { kind == nil || $0.index == kind }
    if usesInterrupts, let kind, styles.isEmpty {
      throw .notSupported(
        call: "start", detail: "\(device.name) has no \(kind.label) interrupt.")
    }
    try hardware { () throws(IOATError) in
      // A stop may have left it without.
      if !hasPower { try regainPower() }
      try device.startMastering()
      for index in 0..<device.channelCount { try device.channel(index).reset() }
    }
    state.withLock { $0.handle = handle }
    if usesInterrupts { try connectFirst(of: styles) }
    connectNotifiers()
  }

  /// Connects the first of `styles` for which the host has vectors; nothing when there is none.
  private func connectFirst(of styles: [IOATInterruptStyle]) throws(NetDmaError) {
    for (index, style) in styles.enumerated() {
      do throws(NetDmaError) {
        return try connectVectors(style)
      } catch .hardware(.transport(.vectorsExhausted(let name, let kind, let wanted, let offered)))
        where index + 1 < styles.count
      {
        logger.notice(
          "the host has not enough interrupt vectors, fewer are tried",
          metadata: [
            "device": "\(name)", "kind": "\(kind.label)", "wanted": "\(wanted)",
            "offered": "\(offered)",
          ])
      }
    }
  }

  private func connectVectors(_ style: IOATInterruptStyle) throws(NetDmaError) {
    let affinity = state.withLock { $0.affinity }
    let count = style == .vectorForEachChannel ? device.channelCount : 1
    let vectors: InterruptVectors
    do throws(SystemCallError) {
      vectors = try InterruptVectors(count: count, dispatcher: dispatcher) { vector in
        affinity.first { $0.channel == vector }?.cpu ?? 0
      } isr: { [weak self] vector, signals in
        switch style {
        case .vectorForEachChannel: self?.isr(channels: 1 << UInt32(vector), signals: signals)
        case .shared(let index): self?.sharedISR(index, signals: signals)
        }
      }
    } catch {
      throw .hardware(.transport(.system(device: device.name, error: error)))
    }
    do throws(NetDmaError) {
      try hardware { () throws(IOATError) in
        try device.enableInterrupts(style, eventFDs: vectors.fileDescriptors)
      }
    } catch {
      vectors.disconnect()
      throw error
    }
    state.withLock { $0.vectors = vectors }
  }

  /// Takes the function off the bus; after NetDmaProviderStop.
  public func stop() {
    do throws(IOATError) {
      try device.disableInterrupts(inRegisters: restorePower())
    } catch {
      logger.warning("interrupts stay on", metadata: ["reason": "\(error)"])
    }
    disconnectNotifiers()
    let vectors = state.withLock { state in
      let vectors = state.vectors
      state.vectors = nil
      state.handle = nil
      return vectors
    }
    vectors?.disconnect()
    device.stopMastering()
  }

  // MARK: - Interrupts

  /// Interrupts on a vector whose channel nobody has: late ones, or an engine's mistake.
  public var unclaimedInterrupts: UInt64 { unclaimed.load(ordering: .relaxed) }

  /// The interrupt service routine: does nothing but ask NetDmaIsr for the CPU of each channel whose
  /// bit is set, and queue the channel's DPC there.
  private func isr(channels: UInt32, signals: UInt64) {
    var isClaimed = false
    for channel in 0..<device.channelCount where channels & 1 << UInt32(channel) != 0 {
      guard let context = state.withLock({ $0.allocated[channel] }), context.mode == .interrupt
      else { continue }
      isClaimed = true
      let descriptor = context.completionWord().descriptorAddress
      guard let cpu = interface.isr(channel: context.handle, descriptor: descriptor) else {
        continue
      }
      interface.countInterrupt(channel: context.handle, signals: signals)
      dispatcher.queue(context.dpc, cpu: cpu)
    }
    if !isClaimed { unclaimed.wrappingAdd(1, ordering: .relaxed) }
  }

  /// The interrupt service routine of an interrupt that all channels share.
  private func sharedISR(_ index: IRQIndex, signals: UInt64) {
    guard hasPower else { return }
    do throws(IOATError) {
      let raised = try device.takeSharedInterrupt()
      // None: the interrupt before found what this one is about, if it was for anybody.
      let isForSomebody = state.withLock { $0.allocated.contains { $0?.mode == .interrupt } }
      if raised != 0 || !isForSomebody { isr(channels: raised, signals: signals) }
      try device.releaseSharedInterrupt(index)
    } catch {
      // Every channel's DPC touches the device too, and tells its client what is wrong.
      isr(channels: .max, signals: 0)
    }
  }

  /// The DPC of a channel: re-arms first, then looks, so that no completion falls between.
  fileprivate func dpc(_ context: IOATChannelContext) {
    guard hasPower else { return }
    do throws(IOATError) {
      try context.channel.rearm()
    } catch {
      interface.channelFailed(context.handle, .hardware(error))
      return
    }
    interface.interruptDpc(
      channel: context.handle, descriptor: context.completionWord().descriptorAddress)
  }

  // MARK: - Handlers

  /// SetDmaChannelCpuAffinity.
  public func setDmaChannelCpuAffinity(
    _ affinity: [NetDmaChannelCpuAffinity]
  ) throws(NetDmaError) {
    for entry in affinity {
      do throws(SystemCallError) { try dispatcher.prepare(cpu: entry.cpu) } catch {
        throw .resources(call: "SetDmaChannelCpuAffinity", detail: "\(error).")
      }
    }
    state.withLock { $0.affinity = affinity }
  }

  /// AllocateDmaChannel.
  public func allocateDmaChannel(
    _ parameters: NetDmaChannelParameters, handle: NetDmaChannelHandle
  ) throws(NetDmaError) -> NetDmaChannelGrant {
    let call = "AllocateDmaChannel"
    if parameters.mode == .interrupt, state.withLock({ $0.vectors == nil }) {
      throw .notSupported(
        call: call, detail: "\(device.name) has no interrupt connected; use polling.")
    }
    let wanted = parameters.processorAffinity
    let (context, cpu) = try state.withLock { state throws(NetDmaError) in
      let free = state.allocated.indices.filter { state.allocated[$0] == nil }
      func cpu(_ channel: Int) -> Int {
        state.affinity.first { $0.channel == channel }?.cpu ?? 0
      }
      guard let first = free.first else {
        throw .resources(
          call: call, detail: "All \(device.channelCount) channels of \(device.name) are taken.")
      }
      // Where no channel's interrupt targets a wanted CPU, the DPC shall.
      let match = free.first { wanted.contains(cpu($0)) }
      let context = IOATChannelContext(
        provider: self, channel: IOATChannel(device: device, index: match ?? first),
        parameters: parameters, handle: handle)
      state.allocated[match ?? first] = context
      return (context, match.map(cpu) ?? wanted.min() ?? cpu(first))
    }
    do throws(NetDmaError) {
      do throws(SystemCallError) { try dispatcher.prepare(cpu: cpu) } catch {
        throw NetDmaError.resources(call: call, detail: "\(error).")
      }
      try hardware { () throws(IOATError) in try context.reset() }
    } catch {
      state.withLock { $0.allocated[context.channel.index] = nil }
      throw error
    }
    // The register window lives as long as the device, which the context keeps.
    let doorbell = unsafe context.channel.doorbellAddress.map { unsafe NetDmaDoorbell(address: $0) }
    return NetDmaChannelGrant(context: context, cpuNumber: cpu, doorbell: doorbell)
  }

  /// FreeDmaChannel: stops the engine and waits for a DPC that runs.
  public func freeDmaChannel(_ channel: any NetDmaChannelContext) {
    guard let context = channel as? IOATChannelContext else { return }
    do throws(IOATError) {
      // Without power it touches nothing.
      if hasPower { try context.channel.retire() }
    } catch .transport(.disconnected), .transport(.deviceGone) {
      // An engine that is gone touches nothing.
    } catch {
      logger.error("channel does not stop", metadata: ["reason": "\(error)"])
    }
    state.withLock { state in
      if state.allocated[context.channel.index] === context {
        state.allocated[context.channel.index] = nil
      }
    }
    dispatcher.flush()
  }

  /// StartDma: CHAINADDR, then DMACOUNT.
  public func startDma(
    _ channel: any NetDmaChannelContext, descriptor: UInt64, count: Int
  ) throws(NetDmaError) {
    let context = try own(channel)
    try hardware { () throws(IOATError) in
      try context.channel.loadChain(descriptor)
      context.count.store(UInt16(truncatingIfNeeded: count), ordering: .relaxed)
      try context.channel.ringDoorbell(UInt16(truncatingIfNeeded: count))
    }
  }

  /// AppendDma: DMACOUNT.
  public func appendDma(_ channel: any NetDmaChannelContext, count: Int) throws(NetDmaError) {
    let context = try own(channel)
    let total = context.count.wrappingAdd(UInt16(truncatingIfNeeded: count), ordering: .relaxed)
    try hardware { () throws(IOATError) in try context.channel.ringDoorbell(total.newValue) }
  }

  /// SuspendDma: CHANCMD.SUSPEND, confirmed in CHANSTS.
  public func suspendDma(_ channel: any NetDmaChannelContext) throws(NetDmaError) -> UInt64 {
    let context = try own(channel)
    return try hardware { () throws(IOATError) in
      try context.channel.suspend()
      return try context.channel.status().descriptorAddress
    }
  }

  /// ResumeDma: a version 3 engine goes on from a chain address; without one it stays as it is.
  public func resumeDma(
    _ channel: any NetDmaChannelContext, descriptor: UInt64, count: Int
  ) throws(NetDmaError) {
    if count > 0 { try startDma(channel, descriptor: descriptor, count: count) }
  }

  /// AbortDma: on a version 3 engine the way to stop at once is the reset.
  public func abortDma(_ channel: any NetDmaChannelContext) throws(NetDmaError) {
    try resetChannel(channel)
  }

  /// ResetChannel.
  public func resetChannel(_ channel: any NetDmaChannelContext) throws(NetDmaError) {
    let context = try own(channel)
    try hardware { () throws(IOATError) in try context.reset() }
  }

  /// Why a channel stopped, from CHANSTS and CHANERR.
  public func channelFault(
    _ channel: any NetDmaChannelContext
  ) throws(NetDmaError) -> NetDmaChannelFault {
    let context = try own(channel)
    return try hardware { () throws(IOATError) in
      let snapshot = try context.channel.snapshot()
      if snapshot.status.rawValue == .max {
        throw IOATError.transport(.deviceGone(device: device.name))
      }
      // Below 3.3 the two halves of an address that moves are of two times.
      let isWhole = device.version >= .v3_3
      let isStable = isWhole ? true : try context.channel.status() == snapshot.status
      return NetDmaChannelFault(
        state: snapshot.status.state, errors: snapshot.error,
        lastDescriptor: isStable ? snapshot.status.descriptorAddress : 0, summary: "\(snapshot)")
    }
  }

  /// Resets the function: memory decoding, bus mastering and interrupts are on again afterwards.
  public func resetDevice() throws(NetDmaError) {
    try requirePower()
    try hardware { () throws(IOATError) in try device.reset() }
  }

  private func own(_ channel: any NetDmaChannelContext) throws(NetDmaError) -> IOATChannelContext {
    guard let context = channel as? IOATChannelContext else {
      throw .invalidParameter(
        call: "IOATProvider", detail: "The channel belongs to another provider.")
    }
    try requirePower()
    return context
  }

  func hardware<R>(_ body: () throws(IOATError) -> R) throws(NetDmaError) -> R {
    do throws(IOATError) { return try body() } catch { throw .hardware(error) }
  }
}

/// A channel that is allocated: NetDMA's `ChannelContext`.
final class IOATChannelContext: NetDmaChannelContext {
  let channel: IOATChannel
  let handle: NetDmaChannelHandle
  let mode: NetDmaCompletionMode
  let completionWord: @Sendable () -> CompletionWord
  let dpc: Dpc
  /// DMACOUNT as last written by start or append; the interface's direct doorbell bypasses it.
  let count = Atomic<UInt16>(0)
  private let completionAddress: UInt64

  init(
    provider: IOATProvider, channel: IOATChannel, parameters: NetDmaChannelParameters,
    handle: NetDmaChannelHandle
  ) {
    self.channel = channel
    self.handle = handle
    mode = parameters.mode
    completionWord = parameters.completionWord
    completionAddress = parameters.completionAddress
    let target = DpcTarget()
    dpc = Dpc { target.run() }
    target.connect(provider: provider, context: self)
  }

  /// HALTED, with the completion address and the control of its mode.
  func reset() throws(IOATError) {
    try channel.reset()
    try channel.configure(
      completion: completionAddress, control: mode == .interrupt ? .interruptDriven : .polled)
  }
}

/// What a channel's DPC runs on; weak, because the DPC belongs to the context.
private final class DpcTarget: Sendable {
  private struct References {
    weak var provider: IOATProvider?
    weak var context: IOATChannelContext?
  }
  private let references = Mutex(References())

  func connect(provider: IOATProvider, context: IOATChannelContext) {
    references.withLock { $0 = References(provider: provider, context: context) }
  }

  func run() {
    let (provider, context) = references.withLock { ($0.provider, $0.context) }
    guard let provider, let context else { return }
    provider.dpc(context)
  }
}

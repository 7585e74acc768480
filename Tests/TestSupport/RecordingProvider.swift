// SPDX-License-Identifier: Apache-2.0

import NetDmaMock
import NetDmaVFIO
import Synchronization

/// A NetDMA provider without hardware: it keeps every call of the interface, in order, and its
/// engine is as fast as the test wants.
///
/// The engine walks the descriptors in memory by their `NextDescriptor`, as silicon does, and
/// writes the completion word where a descriptor asks for it.
package final class RecordingProvider: NetDmaProvider {
  /// A call of a handler.
  package enum Call: Equatable, Sendable {
    case affinity([NetDmaChannelCpuAffinity])
    case allocate(channel: Int)
    case free(channel: Int)
    case start(channel: Int, descriptor: UInt64, count: Int)
    case append(channel: Int, count: Int)
    case suspend(channel: Int)
    case resume(channel: Int, descriptor: UInt64, count: Int)
    case abort(channel: Int)
    case reset(channel: Int)
    case resetDevice

    /// The handler's name.
    package var name: String { String("\(self)".prefix { $0 != "(" }) }
  }

  private struct State {
    var calls: [Call] = []
    var failures: [String: NetDmaError] = [:]
    var channels: [RecordingChannel?]
    var runs = true
    var cpu: (@Sendable (Int, NetDmaChannelParameters) -> Int)?
    var hook: (@Sendable (Call) -> Void)?
  }
  private let state: Mutex<State>
  private let memory: LocalMemory

  /// A provider of `channels` channels whose engine reaches what `memory` shows.
  package init(channels: Int, memory: LocalMemory) {
    self.memory = memory
    state = Mutex(State(channels: Array(repeating: nil, count: channels)))
  }

  // MARK: - What tests see and set

  /// Every call so far.
  package var calls: [Call] { state.withLock { $0.calls } }
  /// The names of the handlers called so far.
  package var callNames: [String] { calls.map(\.name) }
  /// Forgets the calls so far.
  package func forgetCalls() { state.withLock { $0.calls = [] } }
  /// The channel that has number `index` now.
  package func channel(_ index: Int) -> RecordingChannel? { state.withLock { $0.channels[index] } }
  /// Has the handler called `name` fail until set to nil.
  package func fail(_ name: String, _ error: NetDmaError?) {
    state.withLock { $0.failures[name] = error }
  }
  /// Whether descriptors are done inside the call that makes them valid; true at first.
  package func setRuns(_ runs: Bool) { state.withLock { $0.runs = runs } }
  /// Which CPU is answered to an allocation; 0 at first.
  package func answerCPU(_ cpu: @escaping @Sendable (Int, NetDmaChannelParameters) -> Int) {
    state.withLock { $0.cpu = cpu }
  }
  /// Runs in every later call, after the engine did its part.
  package func onCall(_ hook: (@Sendable (Call) -> Void)?) { state.withLock { $0.hook = hook } }

  /// Has the engine do the next `count` descriptors of a channel, at most those that are valid.
  ///
  /// - Returns: The descriptors as they were in memory.
  @discardableResult
  package func run(_ index: Int, count: Int = .max) -> [DmaDescriptor] {
    channel(index)?.run(count, memory) ?? []
  }

  /// Has a channel's engine halt before its next descriptor, with `errors` in CHANERR.
  package func halt(_ index: Int, errors: ChannelError) { channel(index)?.halt(errors, memory) }

  // MARK: - Handlers

  private func enter(_ call: Call) throws(NetDmaError) {
    let failure = state.withLock { state in
      state.calls.append(call)
      return state.failures[call.name]
    }
    if let failure { throw failure }
  }

  private func leave(_ call: Call) { state.withLock { $0.hook }?(call) }

  private func runAtOnce(_ channel: RecordingChannel) {
    if state.withLock({ $0.runs }) { channel.run(.max, memory) }
  }

  private func own(_ channel: any NetDmaChannelContext) throws(NetDmaError) -> RecordingChannel {
    guard let own = channel as? RecordingChannel else {
      throw .invalidParameter(call: "RecordingProvider", detail: "a foreign channel")
    }
    return own
  }

  package func setDmaChannelCpuAffinity(
    _ affinity: [NetDmaChannelCpuAffinity]
  ) throws(NetDmaError) {
    try enter(.affinity(affinity))
    leave(.affinity(affinity))
  }

  package func allocateDmaChannel(
    _ parameters: NetDmaChannelParameters, handle: NetDmaChannelHandle
  ) throws(NetDmaError) -> NetDmaChannelGrant {
    let free = state.withLock { state in state.channels.firstIndex { $0 == nil } }
    guard let free else {
      throw .resources(call: "AllocateDmaChannel", detail: "Every channel is taken.")
    }
    try enter(.allocate(channel: free))
    let channel = RecordingChannel(index: free, handle: handle, parameters: parameters)
    let cpu = state.withLock { state in
      state.channels[free] = channel
      return state.cpu
    }
    leave(.allocate(channel: free))
    return NetDmaChannelGrant(context: channel, cpuNumber: cpu?(free, parameters) ?? 0)
  }

  package func freeDmaChannel(_ channel: any NetDmaChannelContext) {
    guard let own = try? own(channel) else { return }
    state.withLock { state in
      state.calls.append(.free(channel: own.index))
      if state.channels[own.index] === own { state.channels[own.index] = nil }
    }
    own.stop(.halted)
    leave(.free(channel: own.index))
  }

  package func startDma(
    _ channel: any NetDmaChannelContext, descriptor: UInt64, count: Int
  ) throws(NetDmaError) {
    let own = try own(channel)
    let call = Call.start(channel: own.index, descriptor: descriptor, count: count)
    try enter(call)
    own.start(descriptor, count)
    runAtOnce(own)
    leave(call)
  }

  package func appendDma(_ channel: any NetDmaChannelContext, count: Int) throws(NetDmaError) {
    let own = try own(channel)
    try enter(.append(channel: own.index, count: count))
    own.append(count)
    runAtOnce(own)
    leave(.append(channel: own.index, count: count))
  }

  package func suspendDma(_ channel: any NetDmaChannelContext) throws(NetDmaError) -> UInt64 {
    let own = try own(channel)
    try enter(.suspend(channel: own.index))
    own.stop(.suspended)
    leave(.suspend(channel: own.index))
    return own.lastDescriptor
  }

  package func resumeDma(
    _ channel: any NetDmaChannelContext, descriptor: UInt64, count: Int
  ) throws(NetDmaError) {
    let own = try own(channel)
    let call = Call.resume(channel: own.index, descriptor: descriptor, count: count)
    try enter(call)
    if count > 0 { own.start(descriptor, count) }
    runAtOnce(own)
    leave(call)
  }

  package func abortDma(_ channel: any NetDmaChannelContext) throws(NetDmaError) {
    let own = try own(channel)
    try enter(.abort(channel: own.index))
    own.stop(.halted)
    leave(.abort(channel: own.index))
  }

  package func resetChannel(_ channel: any NetDmaChannelContext) throws(NetDmaError) {
    let own = try own(channel)
    try enter(.reset(channel: own.index))
    own.stop(.halted)
    leave(.reset(channel: own.index))
  }

  package func resetDevice() throws(NetDmaError) {
    try enter(.resetDevice)
    for channel in state.withLock({ $0.channels }) { channel?.stop(.halted) }
    leave(.resetDevice)
  }

  /// Not among `calls`: the interface may ask at any time.
  package func channelFault(
    _ channel: any NetDmaChannelContext
  ) throws(NetDmaError) -> NetDmaChannelFault {
    let own = try own(channel)
    return NetDmaChannelFault(
      state: own.engineState, errors: own.errors, lastDescriptor: own.lastDescriptor,
      summary: "recorded")
  }
}

/// A channel of `RecordingProvider`.
package final class RecordingChannel: NetDmaChannelContext {
  package let index: Int
  package let handle: NetDmaChannelHandle
  package let parameters: NetDmaChannelParameters

  private struct Engine {
    var state = ChannelState.halted
    var next: UInt64 = 0
    var valid = 0
    var last: UInt64 = 0
    var errors: ChannelError = []
  }
  private let engine = Mutex(Engine())

  init(index: Int, handle: NetDmaChannelHandle, parameters: NetDmaChannelParameters) {
    self.index = index
    self.handle = handle
    self.parameters = parameters
  }

  /// The state as CHANSTS would give it.
  package var engineState: ChannelState { engine.withLock { $0.state } }
  /// The last descriptor done since the start.
  package var lastDescriptor: UInt64 { engine.withLock { $0.last } }
  /// CHANERR.
  package var errors: ChannelError { engine.withLock { $0.errors } }
  /// Descriptors that are valid and not done.
  package var validDescriptors: Int { engine.withLock { $0.valid } }

  fileprivate func start(_ descriptor: UInt64, _ count: Int) {
    engine.withLock { $0 = Engine(state: .active, next: descriptor, valid: count) }
  }

  fileprivate func append(_ count: Int) {
    engine.withLock { engine in
      engine.valid += count
      engine.state = .active
    }
  }

  fileprivate func stop(_ state: ChannelState) {
    engine.withLock { engine in
      // A suspension does not move an engine that halted.
      if state == .suspended, engine.state == .halted { return }
      engine.state = state
      guard state == .halted else { return }
      engine.valid = 0
      engine.errors = []
    }
  }

  fileprivate func halt(_ errors: ChannelError, _ memory: LocalMemory) {
    engine.withLock { engine in
      engine.state = .halted
      engine.errors = errors
      engine.valid = 0
      let word = engine.last | UInt64(engine.state.rawValue)
      try? memory.storeRelease(word, to: parameters.completionAddress)
    }
  }

  @discardableResult
  fileprivate func run(_ count: Int, _ memory: LocalMemory) -> [DmaDescriptor] {
    engine.withLock { engine in
      var done: [DmaDescriptor] = []
      while done.count < count, engine.valid > 0, engine.state == .active,
        let descriptor = Self.read(engine.next, memory)
      {
        engine.last = engine.next
        engine.next = descriptor.nextDescriptor
        engine.valid -= 1
        if engine.valid == 0 { engine.state = .idle }
        if descriptor.controlFlags.contains(.statusUpdateOnCompletion) {
          let word = engine.last | UInt64(engine.state.rawValue)
          try? memory.storeRelease(word, to: parameters.completionAddress)
        }
        done.append(descriptor)
      }
      return done
    }
  }

  private static func read(_ address: UInt64, _ memory: LocalMemory) -> DmaDescriptor? {
    var descriptor = DmaDescriptor()
    do {
      try withUnsafeMutableBytes(of: &descriptor) { try memory.read(address, into: $0) }
      return descriptor
    } catch { return nil }
  }
}

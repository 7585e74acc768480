// SPDX-License-Identifier: Apache-2.0

// Article "Writing a provider": an engine whose copies the CPU makes.
import Logging
import NetDmaVFIO
import Synchronization

/// A channel of the engine: where it is in its chain of descriptors.
final class SoftwareChannel: NetDmaChannelContext {
  struct Position {
    var state = ChannelState.halted
    var next: UInt64 = 0
    var valid = 0
    var last: UInt64 = 0
  }
  let completionAddress: UInt64
  let position = Synchronization.Mutex(Position())

  init(_ parameters: NetDmaChannelParameters) { completionAddress = parameters.completionAddress }

  /// Begins a chain, or stops; the count of valid descriptors starts anew.
  func begin(at descriptor: UInt64 = 0, count: Int = 0, state: ChannelState) {
    position.withLock { $0 = Position(state: state, next: descriptor, valid: count) }
  }
}

final class SoftwareProvider: NetDmaProvider {
  private let memory: ProcessMemory
  private let taken = Synchronization.Mutex(false)

  init(memory: ProcessMemory) { self.memory = memory }

  /// There are no interrupts to be spread.
  func setDmaChannelCpuAffinity(_ affinity: [NetDmaChannelCpuAffinity]) {}

  func allocateDmaChannel(
    _ parameters: NetDmaChannelParameters, handle: NetDmaChannelHandle
  ) throws(NetDmaError) -> NetDmaChannelGrant {
    guard parameters.mode == .polled else {
      throw .notSupported(call: "AllocateDmaChannel", detail: "This engine has no interrupts.")
    }
    let isFree = taken.withLock { taken in
      defer { taken = true }
      return !taken
    }
    guard isFree else {
      throw .resources(call: "AllocateDmaChannel", detail: "The only channel is taken.")
    }
    return NetDmaChannelGrant(context: SoftwareChannel(parameters), cpuNumber: 0)
  }

  func freeDmaChannel(_ channel: any NetDmaChannelContext) { taken.withLock { $0 = false } }

  func startDma(
    _ channel: any NetDmaChannelContext, descriptor: UInt64, count: Int
  ) throws(NetDmaError) {
    let channel = try own(channel)
    channel.begin(at: descriptor, count: count, state: .active)
    run(channel)
  }

  func appendDma(_ channel: any NetDmaChannelContext, count: Int) throws(NetDmaError) {
    let channel = try own(channel)
    channel.position.withLock { position in
      position.valid += count
      position.state = .active
    }
    run(channel)
  }

  /// Does what is valid, as silicon would: descriptor by descriptor, each naming the next.
  private func run(_ channel: SoftwareChannel) {
    channel.position.withLock { position in
      while position.valid > 0, position.state == .active {
        guard let descriptor = memory.load(position.next), move(descriptor) else {
          position.state = .halted
          memory.store(position.last | UInt64(ChannelState.halted.rawValue), channel)
          return
        }
        position.last = position.next
        position.next = descriptor.nextDescriptor
        position.valid -= 1
        if position.valid == 0 { position.state = .idle }
        if descriptor.controlFlags.contains(.statusUpdateOnCompletion) {
          memory.store(position.last | UInt64(position.state.rawValue), channel)
        }
      }
    }
  }

  private func move(_ descriptor: DmaDescriptor) -> Bool {
    guard descriptor.controlFlags.operation == .copy else { return false }
    if descriptor.controlFlags.contains(.nullTransfer) { return true }
    return memory.copy(
      from: descriptor.sourceAddress, to: descriptor.destinationAddress,
      count: Int(descriptor.transferSize))
  }

  func resetChannel(_ channel: any NetDmaChannelContext) throws(NetDmaError) {
    try own(channel).begin(state: .halted)
  }

  func resetDevice() {}

  func channelFault(
    _ channel: any NetDmaChannelContext
  ) throws(NetDmaError) -> NetDmaChannelFault {
    let position = try own(channel).position.withLock { $0 }
    return NetDmaChannelFault(
      state: position.state, errors: [], lastDescriptor: position.last,
      summary: "\(position.state) after 0x\(String(position.last, radix: 16))")
  }

  // Not among the optional handlers that are registered, so these are never called.
  func suspendDma(_ channel: any NetDmaChannelContext) throws(NetDmaError) -> UInt64 {
    throw .notSupported(call: "SuspendDma", detail: "This engine cannot be suspended.")
  }

  func resumeDma(
    _ channel: any NetDmaChannelContext, descriptor: UInt64, count: Int
  ) throws(NetDmaError) {
    throw .notSupported(call: "ResumeDma", detail: "This engine cannot be suspended.")
  }

  func abortDma(_ channel: any NetDmaChannelContext) throws(NetDmaError) {
    throw .notSupported(call: "AbortDma", detail: "This engine has nothing to abort.")
  }

  private func own(_ channel: any NetDmaChannelContext) throws(NetDmaError) -> SoftwareChannel {
    guard let channel = channel as? SoftwareChannel else {
      throw .invalidParameter(call: "SoftwareProvider", detail: "a channel of another provider")
    }
    return channel
  }
}

/// Registers the engine, and copies through it as any client would.
func softwareProvider(logger: Logger) throws {
  let memory = ProcessMemory()
  let space = DMAAddressSpace(memory, addressWidth: 48, logger: logger)
  let interface = try NetDmaInterface(logger: logger)
  let provider = SoftwareProvider(memory: memory)
  let handle = try interface.registerProvider(
    provider,
    characteristics: NetDmaProviderCharacteristics(
      maximumChannelCount: 1, optionalHandlers: .reset, friendlyName: "software"))
  try interface.startProvider(
    handle,
    attributes: NetDmaProviderAttributes(
      majorHardwareVersion: 1, minorHardwareVersion: 0, vendorID: 0, channelCount: 1,
      maximumTransferSize: 1 << 20, maximumAddress: 1 << 48 - 1, capabilities: [],
      addressSpace: space))

  var source = try space.allocate(byteCount: 4096)
  let target = try space.allocate(byteCount: 4096)
  source.withMutableBytes { $0.storeBytes(of: 42, toByteOffset: 8, as: Int.self) }
  var channel = try interface.allocateChannel(handle, mode: .polled)
  _ = channel.enqueueCopy(from: source.slice, to: target.slice, token: 1)
  try channel.submit()
  let result = try channel.poll()
  let found = target.withBytes { $0.unsafeLoad(fromByteOffset: 8, as: Int.self) }
  print("the software engine ended \(result.completed) copy, and \(found) arrived")

  _ = consume channel
  try interface.stopProvider(handle)
  try interface.deregisterProvider(handle)
}

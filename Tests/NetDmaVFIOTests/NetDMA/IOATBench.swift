// SPDX-License-Identifier: Apache-2.0

import Glibc
import Logging
import NetDmaMock
import NetDmaVFIO
import Testing

/// The IOAT provider on a model in this process, with each layer within reach.
final class IOATBench: Sendable {
  let transport: MockTransport
  let device: IOATDevice
  let interface: NetDmaInterface
  let dispatcher: InterruptDispatcher
  let provider: IOATProvider
  let handle: NetDmaProviderHandle
  let memory: BenchMemory
  let log = CompletionLog()
  var model: IOATModel { transport.model }

  /// `cpus` need not exist: the threads are named after them, and not pinned.
  init(
    _ configuration: ModelConfiguration = ModelConfiguration(timing: .fast),
    cpus: [Int] = [0, 1, 2, 3], usesInterrupts: Bool = true, pinsThreads: Bool = false,
    watchdog: Duration = .milliseconds(300), drain: Duration = .seconds(20),
    logger: Logger = EngineBench.silent
  ) throws {
    var options = NetDmaInterface.Options()
    options.cpus = cpus
    options.watchdog = watchdog
    options.drain = drain
    var interrupts = InterruptDispatcher.Options()
    interrupts.pinsThreads = pinsThreads
    transport = try MockTransport(configuration: configuration)
    device = try IOATDevice(transport, logger: logger)
    interface = try NetDmaInterface(options: options, logger: logger)
    dispatcher = InterruptDispatcher(options: interrupts, logger: logger)
    provider = IOATProvider(
      device: device, interface: interface, dispatcher: dispatcher, logger: logger)
    handle = try interface.registerProvider(provider, characteristics: provider.characteristics)
    memory = try BenchMemory(provider.addressSpace, bytes: 1 << 20)
    try provider.start(as: handle, usesInterrupts: usesInterrupts)
    try interface.startProvider(handle, attributes: provider.attributes)
  }

  deinit {
    try? interface.stopProvider(handle)
    provider.stop()
    try? interface.deregisterProvider(handle)
    dispatcher.shutdown()
  }

  func open(
    _ mode: NetDmaCompletionMode = .interrupt, affinity: Set<Int> = [],
    onCompletion handler: @escaping @Sendable (DMACompletion) -> Void = { _ in }
  ) throws -> NetDmaChannel {
    let log = log
    return try interface.allocateChannel(
      handle, ringCapacity: 64, mode: mode, affinity: affinity
    ) { completion in
      handler(completion)
      log.post(completion)
    }
  }

  /// The number of the hardware channel behind `channel`: the one whose engine ran `copies` more.
  func hardwareChannels() -> [UInt64] { model.statistics.channels.map(\.descriptors) }

  /// 64-byte pieces of both buffers, apart from each other.
  static func piece(_ index: Int) -> Range<Int> { index * 256..<index * 256 + 64 }
}

extension NetDmaChannel {
  /// Enqueues a copy of each piece with its number as token, and submits them as one batch.
  mutating func submitCopies(_ pieces: Range<Int>, _ memory: BenchMemory) throws {
    for index in pieces {
      let range = IOATBench.piece(index)
      let isQueued = enqueueCopy(
        from: memory.source(range), to: memory.target(range), token: UInt64(index))
      if !isQueued { Issue.record("the ring is full") }
    }
    try submit()
  }
}

/// The kernel's name of the calling thread.
func currentThreadName() -> String {
  let fd = Glibc.open("/proc/thread-self/comm", O_RDONLY)
  guard fd >= 0 else { return "" }
  defer { close(fd) }
  var bytes = [UInt8](repeating: 0, count: 64)
  let count = Glibc.read(fd, &bytes, bytes.count)
  return String(decoding: bytes.prefix(max(0, count)).prefix { $0 != 10 }, as: UTF8.self)
}

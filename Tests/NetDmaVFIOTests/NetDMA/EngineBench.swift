// SPDX-License-Identifier: Apache-2.0

import Logging
import NetDmaMock
import NetDmaVFIO
import Synchronization
import Testing

/// An engine on a model in this process, with memory to copy in and completions to look at.
final class EngineBench: Sendable {
  let transport: MockTransport
  let engine: DMAEngine
  let memory: BenchMemory
  let log = CompletionLog()
  var model: IOATModel { transport.model }

  convenience init(
    _ configuration: ModelConfiguration = ModelConfiguration(timing: .fast),
    bytes: Int = 1 << 20, options: DMAEngine.Options = EngineBench.options()
  ) throws {
    try self.init(DeviceProfile(model: configuration), bytes: bytes, options: options)
  }

  init(
    _ profile: DeviceProfile, bytes: Int = 1 << 20,
    options: DMAEngine.Options = EngineBench.options()
  ) throws {
    transport = try MockTransport(profile: profile)
    engine = try DMAEngine(transport: transport, options: options, logger: Self.silent)
    memory = try BenchMemory(engine, bytes: bytes)
  }

  deinit { try? engine.close() }

  /// Says nothing: what the tests provoke is not worth reading.
  static let silent = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }

  /// Times short enough for tests that wait for the watchdog.
  static func options(watchdog: Duration = .milliseconds(300)) -> DMAEngine.Options {
    var options = DMAEngine.Options()
    options.interface.watchdog = watchdog
    options.interface.drain = .seconds(10)
    options.ringCapacity = 64
    options.interrupts.pinsThreads = false
    return options
  }

  func open(_ mode: NetDmaCompletionMode, ringCapacity: Int? = nil) throws -> NetDmaChannel {
    let log = log
    return try engine.openChannel(mode: mode, ringCapacity: ringCapacity) { log.post($0) }
  }
}

/// Source and destination buffers that several threads may touch, each its own part.
final class BenchMemory: @unchecked Sendable {
  // @unchecked: the tests hand out disjoint parts.
  private let source: DMABuffer
  private let target: DMABuffer
  let count: Int

  convenience init(_ engine: DMAEngine, bytes: Int) throws {
    try self.init(engine.addressSpace, bytes: bytes)
  }

  init(_ space: DMAAddressSpace, bytes: Int) throws {
    source = try space.allocate(byteCount: bytes)
    target = try space.allocate(byteCount: bytes)
    count = bytes
    for index in 0..<bytes {
      let byte = UInt8(truncatingIfNeeded: index &* 167 &+ index >> 8)
      source.baseAddress.storeBytes(of: byte, toByteOffset: index, as: UInt8.self)
    }
  }

  func source(_ range: Range<Int>) -> DMASlice { source.slice(range) }
  func target(_ range: Range<Int>) -> DMASlice { target.slice(range) }
  func sourceBytes(_ range: Range<Int>) -> [UInt8] { Self.bytes(source, range) }
  func targetBytes(_ range: Range<Int>) -> [UInt8] { Self.bytes(target, range) }
  func setSource(_ bytes: [UInt8], at offset: Int) { Self.set(source, bytes, offset) }
  func setTarget(_ bytes: [UInt8], at offset: Int) { Self.set(target, bytes, offset) }
  /// Whether the target holds what the source does.
  func matches(_ range: Range<Int>) -> Bool { sourceBytes(range) == targetBytes(range) }
  /// Whether the target is untouched.
  func isZero(_ range: Range<Int>) -> Bool { targetBytes(range).allSatisfy { $0 == 0 } }
  /// The device's addresses.
  var sourceIOVA: UInt64 { source.iova }
  var targetIOVA: UInt64 { target.iova }

  private static func bytes(_ buffer: borrowing DMABuffer, _ range: Range<Int>) -> [UInt8] {
    buffer.withBytes { span in
      range.map { span.unsafeLoadUnaligned(fromByteOffset: $0, as: UInt8.self) }
    }
  }
  // Through the address: each caller has its own part of the buffer, which a mutating access to the
  // whole would not know.
  private static func set(_ buffer: borrowing DMABuffer, _ bytes: [UInt8], _ offset: Int) {
    precondition(offset >= 0 && offset + bytes.count <= buffer.count)
    (buffer.baseAddress + offset).copyMemory(from: bytes, byteCount: bytes.count)
  }
}

/// Completions in the order in which they came.
final class CompletionLog: Sendable {
  private let list = Mutex<[DMACompletion]>([])
  func post(_ completion: DMACompletion) { list.withLock { $0.append(completion) } }
  func clear() { list.withLock { $0 = [] } }
  var all: [DMACompletion] { list.withLock { $0 } }
  var tokens: [UInt64] { all.map(\.token) }
  var failures: [DMACompletion] { all.filter { $0.error != nil } }

  /// Waits for `count` completions; an issue is recorded when they do not come.
  @discardableResult
  func wait(
    for count: Int, sourceLocation: SourceLocation = #_sourceLocation
  ) -> [DMACompletion] {
    let came = Deadline(after: .seconds(20)).poll { () throws(Never) in all.count >= count }
    if !came {
      Issue.record(
        "\(all.count) of \(count) completions came", sourceLocation: sourceLocation)
    }
    return all
  }
}

/// Polls until `count` operations ended; what came, in order.
func pollAll(
  _ channel: inout NetDmaChannel, _ count: Int, sourceLocation: SourceLocation = #_sourceLocation
) throws -> [DMACompletion] {
  var ended: [DMACompletion] = []
  let deadline = Deadline(after: .seconds(20))
  while ended.count < count, !deadline.hasPassed {
    _ = try channel.poll { ended.append(DMACompletion(token: $0, error: nil)) }
    ended += channel.takeFailures()
  }
  if ended.count < count {
    Issue.record("\(ended.count) of \(count) operations ended", sourceLocation: sourceLocation)
  }
  return ended
}

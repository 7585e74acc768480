// SPDX-License-Identifier: Apache-2.0

import NetDmaMock
import NetDmaVFIO
import Synchronization

/// A mock whose registers answer as a test wants, and which remembers what was written.
final class InterposedTransport: DeviceTransport {
  struct Hooks: Sendable {
    /// What a read gives instead of what the device says, nil for that.
    var onRead: @Sendable (RegionIndex, UInt64) -> UInt64? = { _, _ in nil }
    /// Whether the device gets to see a write.
    var onWrite: @Sendable (RegionIndex, UInt64, UInt64) -> Bool = { _, _, _ in true }
    var onMap: @Sendable () -> VFIOError? = { nil }
    var onInterrupts: @Sendable (IRQIndex, Int) -> VFIOError? = { _, _ in nil }
    /// Bytes of BAR0, nil for as many as the device has.
    var barSize: UInt64?
  }
  struct Access: Equatable {
    let region: RegionIndex
    let offset: UInt64
    let value: UInt64?
  }

  let inner: MockTransport
  private let hooks: Mutex<Hooks>
  private let log = Mutex<[Access]>([])

  init(
    _ configuration: ModelConfiguration = ModelConfiguration(timing: .fast),
    _ hooks: Hooks = Hooks()
  ) throws {
    inner = try MockTransport(configuration: configuration)
    self.hooks = Mutex(hooks)
  }

  func set(_ change: (inout Hooks) -> Void) { hooks.withLock { change(&$0) } }
  /// Reads and writes of BAR0 so far.
  var registerAccesses: [Access] { log.withLock { $0 }.filter { $0.region == .bar0 } }

  var name: String { inner.name }
  var kind: TransportKind { inner.kind }
  var supportsReset: Bool { inner.supportsReset }
  var numaNode: Int? { inner.numaNode }
  var iovaRanges: [ClosedRange<UInt64>] { inner.iovaRanges }
  var iovaPageSize: UInt64 { inner.iovaPageSize }

  func regionInfo(_ region: RegionIndex) throws(VFIOError) -> RegionInfo {
    var info = try inner.regionInfo(region)
    if region == .bar0, let size = hooks.withLock({ $0.barSize }) { info.size = size }
    return info
  }

  func read(
    _ region: RegionIndex, at offset: UInt64, width: AccessWidth
  ) throws(VFIOError) -> UInt64 {
    log.withLock { $0.append(Access(region: region, offset: offset, value: nil)) }
    if let value = hooks.withLock({ $0 }).onRead(region, offset) { return value }
    return try inner.read(region, at: offset, width: width)
  }

  func write(
    _ region: RegionIndex, at offset: UInt64, width: AccessWidth, value: UInt64
  ) throws(VFIOError) {
    log.withLock { $0.append(Access(region: region, offset: offset, value: value)) }
    guard hooks.withLock({ $0 }).onWrite(region, offset, value) else { return }
    try inner.write(region, at: offset, width: width, value: value)
  }

  func map(_ region: RegionIndex, range: Range<UInt64>) throws(VFIOError) -> MemoryMapping {
    try inner.map(region, range: range)
  }

  func mapDMA(
    _ memory: DMARegion, at iova: UInt64, permissions: DMAPermissions
  ) throws(VFIOError) {
    if let error = hooks.withLock({ $0 }).onMap() { throw error }
    try inner.mapDMA(memory, at: iova, permissions: permissions)
  }

  func unmapDMA(iova: UInt64, size: UInt64) throws(VFIOError) {
    try inner.unmapDMA(iova: iova, size: size)
  }

  func interruptCount(_ index: IRQIndex) throws(VFIOError) -> Int {
    try inner.interruptCount(index)
  }

  func enableInterrupts(_ index: IRQIndex, eventFDs: [CInt]) throws(VFIOError) {
    if let error = hooks.withLock({ $0 }).onInterrupts(index, eventFDs.count) { throw error }
    try inner.enableInterrupts(index, eventFDs: eventFDs)
  }

  func disableInterrupts(_ index: IRQIndex) throws(VFIOError) {
    try inner.disableInterrupts(index)
  }

  func triggerInterrupt(_ index: IRQIndex, vector: Int) throws(VFIOError) {
    try inner.triggerInterrupt(index, vector: vector)
  }

  func unmaskPin() throws(VFIOError) { inner.unmaskPin() }
  func reset() throws(VFIOError) { try inner.reset() }
}

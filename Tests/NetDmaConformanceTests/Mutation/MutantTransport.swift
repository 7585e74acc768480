// SPDX-License-Identifier: Apache-2.0

import NetDmaMock
import NetDmaVFIO
import Synchronization

/// One register access.
struct RegisterAccess: Sendable {
  var region: RegionIndex
  var offset: UInt64
  var width: AccessWidth

  /// The channel whose window is accessed, nil for everything else.
  var channel: Int? {
    region == .bar0 && offset >= 0x80 && offset < 0x1000 ? Int(offset / 0x80) - 1 : nil
  }
  /// The offset in a channel's window, nil for everything else.
  var channelOffset: UInt64? { channel == nil ? nil : offset % 0x80 }
  /// The offset of a general register, nil for everything else.
  var generalOffset: UInt64? { region == .bar0 && offset < 0x80 ? offset : nil }
  /// The offset in configuration space, nil for everything else.
  var configurationOffset: UInt64? { region == .configuration ? offset : nil }
}

/// A device with a mistake, as the mistake's code sees the device behind it.
final class MutantDevice: Sendable {
  /// Without the mistake.
  let real: MockTransport
  /// Whatever the mistake has to remember, by a name of its own.
  private let notes = Mutex<[String: UInt64]>([:])
  private let fds = Mutex<[CInt]>([])
  /// Where interrupts go that nobody hears of.
  let nowhere: EventFD

  init(_ real: MockTransport) throws {
    self.real = real
    nowhere = try EventFD()
  }

  subscript(_ name: String) -> UInt64 {
    get { notes.withLock { $0[name] ?? 0 } }
    set { notes.withLock { $0[name] = newValue } }
  }

  /// The eventfds of the user, by vector.
  var connected: [CInt] { fds.withLock { $0 } }
  func setConnected(_ eventFDs: [CInt]) { fds.withLock { $0 = eventFDs } }

  /// Reads a register of a channel.
  func read(_ channel: Int, _ offset: UInt64, _ width: AccessWidth) throws(VFIOError) -> UInt64 {
    try real.read(.bar0, at: 0x80 * UInt64(channel + 1) + offset, width: width)
  }
  /// Writes a register of a channel.
  func write(
    _ channel: Int, _ offset: UInt64, _ width: AccessWidth, _ value: UInt64
  ) throws(VFIOError) {
    try real.write(.bar0, at: 0x80 * UInt64(channel + 1) + offset, width: width, value: value)
  }
  /// CHANSTS 2:0.
  func state(_ channel: Int) throws(VFIOError) -> UInt64 { try read(channel, 0x08, .qword) & 7 }
}

/// What a device does wrong at its registers and interrupts.
struct RegisterMutation: Sendable {
  /// What is read instead of `value`.
  var read:
    (
      @Sendable (_ access: RegisterAccess, _ value: UInt64, MutantDevice) throws(VFIOError) ->
        UInt64
    )?
  /// What is written instead of `value`; nil, nothing.
  var write:
    (
      @Sendable (_ access: RegisterAccess, _ value: UInt64, MutantDevice) throws(VFIOError)
        -> UInt64?
    )?
  /// Where an access goes instead.
  var redirect: (@Sendable (RegisterAccess) -> RegisterAccess)?
  /// What happens after a write.
  var afterWrite:
    (@Sendable (_ access: RegisterAccess, _ value: UInt64, MutantDevice) throws(VFIOError) -> Void)?
  /// Which eventfds are connected instead.
  var eventFDs: (@Sendable ([CInt]) -> [CInt])?
  /// What happens before a function reset.
  var beforeReset: (@Sendable (MutantDevice) throws(VFIOError) -> Void)?
}

/// The mock with a mistake between it and whoever uses it.
final class MutantTransport: DeviceTransport {
  private let device: MutantDevice
  private let mutation: RegisterMutation

  init(_ real: MockTransport, _ mutation: RegisterMutation) throws {
    device = try MutantDevice(real)
    self.mutation = mutation
  }

  var name: String { device.real.name }
  var kind: TransportKind { device.real.kind }
  var supportsReset: Bool { device.real.supportsReset }
  var numaNode: Int? { device.real.numaNode }
  var iovaRanges: [ClosedRange<UInt64>] { device.real.iovaRanges }
  var iovaPageSize: UInt64 { device.real.iovaPageSize }

  func regionInfo(_ region: RegionIndex) throws(VFIOError) -> RegionInfo {
    try device.real.regionInfo(region)
  }

  func read(
    _ region: RegionIndex, at offset: UInt64, width: AccessWidth
  ) throws(VFIOError) -> UInt64 {
    var access = RegisterAccess(region: region, offset: offset, width: width)
    if let redirect = mutation.redirect { access = redirect(access) }
    let value = try device.real.read(access.region, at: access.offset, width: access.width)
    guard let read = mutation.read else { return value }
    return try read(access, value, device) & (.max >> UInt64(64 - 8 * width.rawValue))
  }

  func write(
    _ region: RegionIndex, at offset: UInt64, width: AccessWidth, value: UInt64
  ) throws(VFIOError) {
    var access = RegisterAccess(region: region, offset: offset, width: width)
    if let redirect = mutation.redirect { access = redirect(access) }
    var written: UInt64? = value
    if let write = mutation.write { written = try write(access, value, device) }
    if let written {
      try device.real.write(
        access.region, at: access.offset, width: access.width,
        value: written & (.max >> UInt64(64 - 8 * width.rawValue)))
    }
    try mutation.afterWrite?(access, value, device)
  }

  func map(_ region: RegionIndex, range: Range<UInt64>) throws(VFIOError) -> MemoryMapping {
    try device.real.map(region, range: range)
  }

  func mapDMA(
    _ memory: DMARegion, at iova: UInt64, permissions: DMAPermissions
  ) throws(VFIOError) {
    try device.real.mapDMA(memory, at: iova, permissions: permissions)
  }

  func unmapDMA(iova: UInt64, size: UInt64) throws(VFIOError) {
    try device.real.unmapDMA(iova: iova, size: size)
  }

  func interruptCount(_ index: IRQIndex) throws(VFIOError) -> Int {
    try device.real.interruptCount(index)
  }

  func enableInterrupts(_ index: IRQIndex, eventFDs: [CInt]) throws(VFIOError) {
    let targets = mutation.eventFDs?(eventFDs) ?? eventFDs
    device.setConnected(targets)
    try device.real.enableInterrupts(index, eventFDs: targets)
  }

  func disableInterrupts(_ index: IRQIndex) throws(VFIOError) {
    try device.real.disableInterrupts(index)
    device.setConnected([])
  }

  func triggerInterrupt(_ index: IRQIndex, vector: Int) throws(VFIOError) {
    try device.real.triggerInterrupt(index, vector: vector)
  }

  func unmaskPin() { device.real.unmaskPin() }

  func reset() throws(VFIOError) {
    try mutation.beforeReset?(device)
    try device.real.reset()
    device.setConnected([])
  }
}

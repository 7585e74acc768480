// SPDX-License-Identifier: Apache-2.0

import Glibc
public import Logging
import Synchronization
import SystemPackage

/// A device behind a vfio-user server's UNIX socket.
///
/// The server is not trusted: whatever it answers is checked, and it sees no memory but DMA buffers.
/// When it dies every call fails with `.disconnected` and every connected eventfd is signalled once,
/// so that whoever waits for an interrupt finds out.
public final class VFIOUserClient: DeviceTransport {
  /// The socket's path.
  public let name: String
  /// Always `.vfioUser`.
  public let kind = TransportKind.vfioUser
  /// VFIO_DEVICE_FLAGS_RESET as the server reports it.
  public let supportsReset: Bool
  /// The server's node is not known.
  public let numaNode: Int? = nil
  /// Whole address space, as nothing restricts it but the window of interrupt messages.
  public let iovaRanges: [ClosedRange<UInt64>] = [
    0...0xfedf_ffff, 0xfef0_0000...0xffff_ffff_ffff,
  ]
  /// Smallest page of the server's `pgsizes`.
  public let iovaPageSize: UInt64

  let connection: VFIOUserConnection
  private let logger: Logger
  private let reader: PinnedThread
  private let peer: VFIOUserCapabilities
  let regionCount: UInt32
  /// A part of a region is reached by loads and stores.
  let hasMapping = Atomic<Bool>(false)
  private let irqCount: UInt32

  /// Connects, negotiates the version and asks what the device is.
  ///
  /// - Parameters:
  ///   - path: The socket, at most 107 bytes.
  ///   - timeout: For reaching the server, and for each of the questions asked here.
  ///   - logger: Hears of each step at level debug.
  /// - Throws: `VFIOError.noServer`, `.serverBusy`, `.socketDenied`, `.protocolViolation`,
  ///   `.refused`, `.timedOut`, `.disconnected`.
  public static func connect(
    path: String, timeout: Duration = .seconds(5), logger: Logger
  ) throws(VFIOError) -> VFIOUserClient {
    logger.debug("connecting", metadata: ["device": "\(path)"])
    let socket: OwnedFileDescriptor
    do throws(SystemCallError) {
      socket = try VFIOUserSocket.connect(path: path, timeout: timeout)
    } catch {
      if error.errno == .permissionDenied { throw .socketDenied(device: path) }
      throw .noServer(device: path, error: error)
    }
    return try VFIOUserClient(
      path: path, socket: VFIOUserSocket(socket), timeout: timeout, logger: logger)
  }

  init(
    path: String, socket: VFIOUserSocket, timeout: Duration, logger: Logger
  ) throws(VFIOError) {
    name = path
    self.logger = logger
    let connection = VFIOUserConnection(name: path, socket: socket, logger: logger)
    self.connection = connection
    do throws(SystemCallError) {
      reader = try PinnedThread(name: "vfio-user") { _ in connection.run() }
    } catch {
      throw .system(device: path, error: error)
    }
    do throws(VFIOError) {
      peer = try Self.negotiate(connection, timeout)
      (supportsReset, regionCount, irqCount) = try Self.deviceInfo(connection, timeout)
    } catch {
      // The reader thread ends with the connection and is joined when its owner ends.
      connection.fail(error)
      throw error
    }
    iovaPageSize = UInt64(1) << UInt64(peer.pageSizes.trailingZeroBitCount)
    step("open", ["regions": "\(regionCount)", "reset": "\(supportsReset)"])
  }

  /// Says what is done, for whoever asked to see each step.
  func step(_ text: String, _ details: @autoclosure () -> Logger.Metadata = [:]) {
    logger.debug(
      "\(text)", metadata: ["device": "\(name)"].merging(details()) { own, _ in own })
  }

  deinit {
    connection.fail(.disconnected(device: name))
  }

  private static func negotiate(
    _ connection: VFIOUserConnection, _ timeout: Duration
  ) throws(VFIOError) -> VFIOUserCapabilities {
    var writer = WireWriter()
    writer.u16(0)
    writer.u16(0)
    writer.append(VFIOUserCapabilities.own.json)
    let reply: [UInt8]
    do throws(VFIOError) {
      reply = try connection.request(.version, writer.bytes, timeout: timeout).payload
    } catch .refused(let device, _, .resourceBusy) {
      throw .serverBusy(device: device)
    }
    var reader = WireReader(reply)
    guard let major = reader.u16(), let minor = reader.u16() else {
      throw connection.violation(.version, "The reply has no version.")
    }
    guard major == 0, minor == 0 else {
      throw connection.violation(
        .version, "It speaks version \(major).\(minor), and 0.0 was offered.")
    }
    guard reader.remaining > 0 else { return VFIOUserCapabilities() }
    guard let json = reader.take(reader.remaining), json.last == 0,
      json.count <= VFIOUser.maximumJSON,
      let capabilities = VFIOUserCapabilities(json: Array(json.dropLast()))
    else {
      throw connection.violation(.version, "The capabilities are no valid JSON text.")
    }
    return capabilities
  }

  private static func deviceInfo(
    _ connection: VFIOUserConnection, _ timeout: Duration
  ) throws(VFIOError) -> (Bool, UInt32, UInt32) {
    var writer = WireWriter()
    for value: UInt32 in [16, 0, 0, 0] { writer.u32(value) }
    let reply = try connection.request(.deviceGetInfo, writer.bytes, timeout: timeout).payload
    var reader = WireReader(reply)
    guard reader.u32() != nil, let flags = reader.u32(), let regions = reader.u32(),
      let irqs = reader.u32()
    else { throw connection.violation(.deviceGetInfo, "The reply is too short.") }
    guard flags & VFIOUser.devicePCI != 0, (8...100).contains(regions), (3...50).contains(irqs)
    else {
      throw connection.violation(
        .deviceGetInfo,
        "Flags \(hex(flags)), \(regions) regions and \(irqs) interrupts are no PCI device's.")
    }
    return (flags & VFIOUser.deviceReset != 0, regions, irqs)
  }

  // MARK: - Memory

  /// DMA_MAP, with the file where the memory has one.
  public func mapDMA(
    _ memory: DMARegion, at iova: UInt64, permissions: DMAPermissions
  ) throws(VFIOError) {
    step("mapping memory for the device", ["iova": "\(hex(iova))", "bytes": "\(memory.size)"])
    let count = connection.memory.withLock { $0.count }
    guard count < peer.maximumMappings else { throw .mappingCountExhausted(device: name) }
    var writer = WireWriter()
    writer.u32(32)
    writer.u32(permissions.rawValue)
    writer.u64(memory.file?.offset ?? 0)
    writer.u64(iova)
    writer.u64(memory.size)
    let file = peer.maximumDescriptors > 0 ? memory.file?.fd : nil
    do throws(VFIOError) {
      _ = try connection.request(.dmaMap, writer.bytes, descriptors: file.map { [$0] } ?? [])
    } catch .refused(_, _, let errno) where errno == .fileExists {
      throw .mappingOverlaps(device: name, iova: iova, size: memory.size)
    }
    connection.memory.withLock {
      $0[iova] = .init(address: memory.address, size: memory.size, permissions: permissions)
    }
  }

  /// DMA_UNMAP; the server's reply says that it touches the range no more.
  public func unmapDMA(iova: UInt64, size: UInt64) throws(VFIOError) {
    step("unmapping memory", ["iova": "\(hex(iova))", "bytes": "\(size)"])
    var writer = WireWriter()
    writer.u32(24)
    writer.u32(0)
    writer.u64(iova)
    writer.u64(size)
    // Whatever the server answers, it gets nothing of this range through messages any more.
    let known = connection.memory.withLock { $0.removeValue(forKey: iova) }
    guard let known, known.size == size else {
      throw .unmapMismatch(device: name, iova: iova, expected: size, unmapped: known?.size ?? 0)
    }
    let reply = try connection.request(.dmaUnmap, writer.bytes).payload
    guard !reply.isEmpty else { return }
    var reader = WireReader(reply)
    guard reader.seek(16), let unmapped = reader.u64() else {
      throw connection.violation(.dmaUnmap, "The reply is too short.")
    }
    guard unmapped == size else {
      throw .unmapMismatch(device: name, iova: iova, expected: size, unmapped: unmapped)
    }
  }

  // MARK: - Interrupts

  /// DEVICE_GET_IRQ_INFO's count.
  public func interruptCount(_ index: IRQIndex) throws(VFIOError) -> Int {
    guard index.rawValue < irqCount else { return 0 }
    var writer = WireWriter()
    for value in [16, 0, index.rawValue, 0] { writer.u32(value) }
    let reply = try connection.request(.deviceGetIRQInfo, writer.bytes).payload
    var reader = WireReader(reply)
    guard reader.u32() != nil, let flags = reader.u32(), reader.u32() == index.rawValue,
      let count = reader.u32(), count <= 2048
    else { throw connection.violation(.deviceGetIRQInfo, "The reply is not well formed.") }
    return flags & VFIOUser.irqEventFD != 0 ? Int(count) : 0
  }

  private func setIRQs(
    _ index: IRQIndex, _ flags: UInt32, start: Int, count: Int, descriptors: [CInt] = []
  ) throws(VFIOError) {
    var writer = WireWriter()
    writer.u32(20)
    writer.u32(flags)
    writer.u32(index.rawValue)
    writer.u32(UInt32(start))
    writer.u32(UInt32(count))
    _ = try connection.request(.deviceSetIRQs, writer.bytes, descriptors: descriptors)
  }

  /// DEVICE_SET_IRQS in runs of vectors with and without eventfd, each within the server's limit.
  public func enableInterrupts(_ index: IRQIndex, eventFDs: [CInt]) throws(VFIOError) {
    step(
      "connecting interrupts to eventfds", ["kind": "\(index.label)", "count": "\(eventFDs.count)"])
    let limit = min(peer.maximumDescriptors, VFIOUser.maximumDescriptors)
    guard limit > 0 || eventFDs.allSatisfy({ $0 < 0 }) else {
      throw .missingFeature(device: name, feature: "interrupt eventfds")
    }
    let flags = VFIOUser.irqDataEventFD | VFIOUser.irqActionTrigger
    var start = 0
    while start < eventFDs.count {
      let isAssigned = eventFDs[start] >= 0
      var end = start + 1
      while end < eventFDs.count, (eventFDs[end] >= 0) == isAssigned,
        !isAssigned || end - start < limit
      {
        end += 1
      }
      try setIRQs(
        index, flags, start: start, count: end - start,
        descriptors: isAssigned ? Array(eventFDs[start..<end]) : [])
      start = end
    }
    connection.setAlarm(index, eventFDs)
  }

  /// DEVICE_SET_IRQS with no data and count 0.
  public func disableInterrupts(_ index: IRQIndex) throws(VFIOError) {
    step("disconnecting interrupts", ["kind": "\(index.label)"])
    connection.setAlarm(index, [])
    try setIRQs(
      index, VFIOUser.irqDataNone | VFIOUser.irqActionTrigger, start: 0, count: 0)
  }

  /// DEVICE_SET_IRQS with no data: the server signals the eventfd.
  public func triggerInterrupt(_ index: IRQIndex, vector: Int) throws(VFIOError) {
    try setIRQs(
      index, VFIOUser.irqDataNone | VFIOUser.irqActionTrigger, start: vector, count: 1)
  }

  /// DEVICE_SET_IRQS that unmasks the pin.
  public func unmaskPin() throws(VFIOError) {
    try setIRQs(
      .intx, VFIOUser.irqDataNone | VFIOUser.irqActionUnmask, start: 0, count: 1)
  }

  /// DEVICE_RESET.
  public func reset() throws(VFIOError) {
    step("resetting the function")
    _ = try connection.request(.deviceReset, [], timeout: .seconds(15))
  }
}

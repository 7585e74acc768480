// SPDX-License-Identifier: Apache-2.0

public import Logging
import SystemPackage

/// A device behind Linux VFIO's container, group and type1 IOMMU.
///
/// Closing happens when the last owner lets go: bus mastering off, interrupts disconnected, every
/// mapping removed, then device, group and container closed in that order.
public final class VFIOKernelTransport: DeviceTransport {
  // Members end in this order.
  private let device: VFIODevice
  private let group: VFIOGroup
  private let container: VFIOContainer
  private let mappings: DMAMappings
  private let logger: Logger

  /// The PCI address.
  public var name: String { device.name }
  /// Always `.vfio`.
  public var kind: TransportKind { .vfio }
  /// The NUMA node of the device, nil when unknown.
  public let numaNode: Int?

  /// Opens the function at `address`, which is bound to vfio-pci.
  ///
  /// - Throws: `VFIOError.noSuchDevice`, `.noIOMMUGroup`, `.notBoundToVFIO`, `.vfioMissing`,
  ///   `.permissionDenied`, `.noIOMMUMode`, `.busy`, `.groupNotViable`, `.platformRefused`,
  ///   `.unsupportedKernel`, `.staleNode`, `.missingFeature`, `.system`; each says what to do.
  public static func open(
    address: PCIAddress, logger: Logger = Logger(label: "netdma.vfio")
  ) throws(VFIOError) -> VFIOKernelTransport {
    try VFIOKernelTransport(address, host: .local, logger: logger)
  }

  /// `open` on a machine of choice.
  package init(_ address: PCIAddress, host: VFIOHost, logger: Logger) throws(VFIOError) {
    let name = address.description
    func step(_ text: String) { logger.debug("\(text)", metadata: ["device": "\(name)"]) }
    let number = try host.checkedGroup(of: address)
    step("opening \(host.containerPath)")
    let container = try VFIOContainer(host, device: name)
    step("opening \(host.groupPath(number))")
    let group = try VFIOGroup(host, number: number, address: address)
    try group.checkViable(host, address: address)
    step("joining group \(number) and container")
    try group.join(container, host, address: address)
    try container.setIOMMU(host, group: number)
    let info = try container.info()
    step("opening the function")
    let file = try group.openDevice(host, address: address)
    let device = try VFIODevice(file, name: name, calls: host.calls, logger: logger)
    logger.debug(
      "open",
      metadata: [
        "device": "\(name)", "group": "\(number)", "page": "\(info.pageSize)",
        "mappings": "\(info.availableMappings.map(String.init) ?? "unknown")",
      ])
    self.device = device
    self.group = group
    self.container = container
    self.logger = logger
    mappings = DMAMappings(
      device: name, ranges: info.ranges ?? host.impliedRanges(group: number, of: address),
      pageSize: info.pageSize, calls: host.calls)
    numaNode = host.node(address).numaNode
  }

  deinit {
    device.quiesce()
    let failures = mappings.removeAll { (iova, size) throws(SystemCallError) in
      try container.unmap(iova: iova, size: size)
    }
    for failure in failures {
      logger.warning(
        "a mapping was not removed as expected",
        metadata: ["device": "\(device.name)", "reason": "\(failure)"])
    }
  }

  /// Whether `reset()` works.
  public var supportsReset: Bool { device.supportsReset }

  /// What the group's number is, for messages.
  public var groupNumber: Int { group.number }

  /// How many more mappings the kernel grants, nil when it does not say.
  public func availableMappings() throws(VFIOError) -> UInt32? {
    try container.info().availableMappings
  }

  /// Size, access and mappable areas of a region; size 0 when it does not exist.
  public func regionInfo(_ region: RegionIndex) throws(VFIOError) -> RegionInfo {
    try device.regionInfo(region)
  }

  /// One naturally aligned little-endian read, by pread(2).
  public func read(
    _ region: RegionIndex, at offset: UInt64, width: AccessWidth
  ) throws(VFIOError) -> UInt64 {
    try device.read(region, at: offset, width: width)
  }

  /// One naturally aligned little-endian write, by pwrite(2).
  public func write(
    _ region: RegionIndex, at offset: UInt64, width: AccessWidth, value: UInt64
  ) throws(VFIOError) {
    try device.write(region, at: offset, width: width, value: value)
  }

  /// Maps pages of a region for plain loads and stores; memory decoding must be on when they are
  /// touched, else the process gets SIGBUS.
  public func map(
    _ region: RegionIndex, range: Range<UInt64>
  ) throws(VFIOError) -> MemoryMapping {
    try device.map(region, range: range)
  }

  /// IOVA ranges (inclusive) that may be mapped, sorted and disjoint.
  public var iovaRanges: [ClosedRange<UInt64>] { mappings.ranges }
  /// The mapping granularity in bytes, a power of two.
  public var iovaPageSize: UInt64 { mappings.pageSize }

  /// Pins `memory` and makes it visible to the device.
  ///
  /// - Throws: `VFIOError.invalidMapping`, `.mappingOverlaps`, `.mappingCountExhausted`,
  ///   `.lockedMemoryLimit`, `.system`.
  public func mapDMA(
    _ memory: DMARegion, at iova: UInt64, permissions: DMAPermissions
  ) throws(VFIOError) {
    logger.debug(
      "mapping memory for the device",
      metadata: ["device": "\(name)", "iova": "\(hex(iova))", "bytes": "\(memory.size)"])
    try mappings.map(memory, at: iova, permissions: permissions) { () throws(SystemCallError) in
      try container.map(memory, at: iova, permissions: permissions)
    }
  }

  /// Removes exactly what one `mapDMA` made.
  ///
  /// - Throws: `VFIOError.invalidMapping`, `.unmapMismatch`, `.system`.
  public func unmapDMA(iova: UInt64, size: UInt64) throws(VFIOError) {
    logger.debug(
      "unmapping memory",
      metadata: ["device": "\(name)", "iova": "\(hex(iova))", "bytes": "\(size)"])
    try mappings.unmap(iova: iova, size: size) { () throws(SystemCallError) in
      try container.unmap(iova: iova, size: size)
    }
  }

  /// Number of vectors of an interrupt index, 0 when it has none.
  public func interruptCount(_ index: IRQIndex) throws(VFIOError) -> Int {
    try device.interruptCount(index)
  }

  /// Connects vectors to eventfds in place of what was connected before; -1 leaves a hole.
  public func enableInterrupts(_ index: IRQIndex, eventFDs: [CInt]) throws(VFIOError) {
    try device.connect(index, eventFDs: eventFDs)
  }

  /// Disconnects every vector of the index; no error when none was connected.
  public func disableInterrupts(_ index: IRQIndex) throws(VFIOError) {
    try device.disable(index)
  }

  /// Fires a connected vector from software.
  public func triggerInterrupt(_ index: IRQIndex, vector: Int) throws(VFIOError) {
    try device.trigger(index, vector: vector)
  }

  /// Unmasks the pin.
  public func unmaskPin() throws(VFIOError) { try device.unmaskPin() }

  /// Resets the function; bus mastering is off and no vector connected afterwards, DMA mappings and
  /// the error and request notifiers stay.
  public func reset() throws(VFIOError) {
    try device.reset()
  }
}

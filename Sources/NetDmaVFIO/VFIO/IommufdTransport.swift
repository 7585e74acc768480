// SPDX-License-Identifier: Apache-2.0

import CNetDma
import Glibc
public import Logging
import SystemPackage

/// A device behind Linux VFIO's character device and iommufd (Linux 6.6 and later).
///
/// Closing happens when the last owner lets go: bus mastering off, interrupts disconnected, every
/// mapping removed, then device and iommufd closed in that order.
public final class IommufdTransport: DeviceTransport {
  // Members end in this order.
  private let device: VFIODevice
  private let iommufd: IOMMUFD
  private let mappings: DMAMappings
  private let logger: Logger

  /// The PCI address.
  public var name: String { device.name }
  /// Always `.iommufd`.
  public var kind: TransportKind { .iommufd }
  /// The NUMA node of the device, nil when unknown.
  public let numaNode: Int?

  /// Opens the function at `address`, which is bound to vfio-pci.
  ///
  /// - Throws: as `VFIOKernelTransport.open`.
  public static func open(
    address: PCIAddress, logger: Logger = Logger(label: "netdma.vfio")
  ) throws(VFIOError) -> IommufdTransport {
    try IommufdTransport(address, host: .local, logger: logger)
  }

  /// `open` on a machine of choice.
  package init(_ address: PCIAddress, host: VFIOHost, logger: Logger) throws(VFIOError) {
    let name = address.description
    func step(_ text: String) { logger.debug("\(text)", metadata: ["device": "\(name)"]) }
    let number = try host.checkedGroup(of: address)
    guard let node = host.node(address).vfioCharacterDevice else {
      throw .unsupportedKernel(
        device: name, missing: "VFIO character devices (CONFIG_VFIO_DEVICE_CDEV, Linux 6.6)")
    }
    step("opening \(host.iommufdPath)")
    let iommufd = try IOMMUFD(host, device: name)
    step("opening \(host.devicePath(node))")
    let file = try Self.openNode(node, host, address)
    step("binding \(node) to the iommufd")
    try Self.bind(file, to: iommufd, host, address, node: node, group: number)
    try iommufd.attach(file, host, group: number)
    let info = try iommufd.info()
    let device = try VFIODevice(file, name: name, calls: host.calls, logger: logger)
    logger.debug(
      "open",
      metadata: ["device": "\(name)", "group": "\(number)", "page": "\(info.pageSize)"])
    self.device = device
    self.iommufd = iommufd
    self.logger = logger
    mappings = DMAMappings(
      device: name, ranges: info.ranges ?? [], pageSize: info.pageSize, calls: host.calls)
    numaNode = host.node(address).numaNode
  }

  private static func openNode(
    _ node: String, _ host: VFIOHost, _ address: PCIAddress
  ) throws(VFIOError) -> KernelDescriptor<KernelFile.Device> {
    let device = address.description
    let path = host.devicePath(node)
    let number = "\(host.node(address).directory)/vfio-dev/\(node)/dev"
    if host.isStale(path, numberFile: number) { throw .staleNode(device: device, path: path) }
    do throws(SystemCallError) {
      return try KernelDescriptor.open(path, calls: host.calls)
    } catch {
      switch error.errno.rawValue {
      case ENOENT, ENODEV, ENXIO: throw .vfioMissing(device: device, error: error)
      case EACCES, EPERM: throw .permissionDenied(device: device, path: path)
      case EBUSY: throw .busy(device: device, path: path)
      default: throw .system(device: device, error: error)
      }
    }
  }

  /// Claims the group, enables and resets the function.
  private static func bind(
    _ file: borrowing KernelDescriptor<KernelFile.Device>,
    to iommufd: borrowing IOMMUFD, _ host: VFIOHost,
    _ address: PCIAddress, node: String, group: Int
  ) throws(VFIOError) {
    let device = address.description
    var argument = netdma_bind_iommufd()
    argument.argsz = UInt32(MemoryLayout<netdma_bind_iommufd>.size)
    argument.iommufd = iommufd.descriptor
    do throws(SystemCallError) {
      try file.call(.bindIOMMUFD, &argument)
    } catch {
      switch error.errno.rawValue {
      // The group's file is open somewhere.
      case EBUSY: throw .busy(device: device, path: host.groupPath(group))
      case EPERM:
        let others = host.blockers(ofGroup: group, of: address)
        // Without a blocking driver it is another user's iommufd that owns the group.
        throw others.isEmpty
          ? .busy(device: device, path: host.devicePath(node))
          : .groupNotViable(device: device, group: group, others: others)
      case ENOTTY:
        throw .unsupportedKernel(device: device, missing: "VFIO_DEVICE_BIND_IOMMUFD (Linux 6.6)")
      default: throw .system(device: device, error: error)
      }
    }
  }

  deinit {
    device.quiesce()
    let failures = mappings.removeAll { (iova, size) throws(SystemCallError) in
      try iommufd.unmap(iova: iova, size: size)
    }
    for failure in failures {
      logger.warning(
        "a mapping was not removed as expected",
        metadata: ["device": "\(device.name)", "reason": "\(failure)"])
    }
  }

  /// Whether `reset()` works.
  public var supportsReset: Bool { device.supportsReset }

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
  /// - Throws: `VFIOError.invalidMapping`, `.mappingOverlaps`, `.lockedMemoryLimit`, `.system`.
  public func mapDMA(
    _ memory: DMARegion, at iova: UInt64, permissions: DMAPermissions
  ) throws(VFIOError) {
    logger.debug(
      "mapping memory for the device",
      metadata: ["device": "\(name)", "iova": "\(hex(iova))", "bytes": "\(memory.size)"])
    try mappings.map(memory, at: iova, permissions: permissions) { () throws(SystemCallError) in
      try iommufd.map(memory, at: iova, permissions: permissions)
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
      try iommufd.unmap(iova: iova, size: size)
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

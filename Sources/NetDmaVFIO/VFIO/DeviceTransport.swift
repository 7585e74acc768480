// SPDX-License-Identifier: Apache-2.0

/// How the device is reached.
public enum TransportKind: String, Sendable, CaseIterable {
  /// The device model in this process.
  case mock
  /// A vfio-user server behind a UNIX socket.
  case vfioUser = "vfio-user"
  /// Linux VFIO: container, group and type1.
  case vfio
  /// Linux VFIO: character device and iommufd.
  case iommufd
}

/// A region of a VFIO PCI device (VFIO_PCI_*_REGION_INDEX).
public struct RegionIndex: RawRepresentable, Hashable, Sendable {
  /// The index as the VFIO ABI numbers it.
  public let rawValue: UInt32
  /// Names a region by its VFIO index.
  public init(rawValue: UInt32) { self.rawValue = rawValue }
  /// BAR0, where every IOAT register is.
  public static let bar0 = RegionIndex(rawValue: 0)
  /// PCI configuration space (VFIO_PCI_CONFIG_REGION_INDEX).
  public static let configuration = RegionIndex(rawValue: 7)
}

/// An interrupt index of a VFIO PCI device (VFIO_PCI_*_IRQ_INDEX).
public enum IRQIndex: UInt32, Sendable, CaseIterable {
  /// Legacy pin interrupt.
  case intx = 0
  /// Message signalled, one block.
  case msi = 1
  /// Message signalled, a table of vectors.
  case msix = 2
  /// An uncorrectable error was reported for the device.
  case error = 3
  /// The host wants the device back.
  case request = 4
}

/// The width of one register access.
public enum AccessWidth: Int, Sendable, CaseIterable {
  /// 8 bits.
  case byte = 1
  /// 16 bits.
  case word = 2
  /// 32 bits.
  case dword = 4
  /// 64 bits.
  case qword = 8
}

/// What VFIO_DEVICE_GET_REGION_INFO says of one region.
public struct RegionInfo: Hashable, Sendable {
  /// Bytes; 0 when the region does not exist.
  public var size: UInt64
  /// VFIO_REGION_INFO_FLAG_READ.
  public var isReadable: Bool
  /// VFIO_REGION_INFO_FLAG_WRITE.
  public var isWritable: Bool
  /// Byte ranges that can be mapped; empty when the region can only be read and written.
  public var mappableAreas: [Range<UInt64>]
  /// A mappable page that mirrors the region's first one for DMACOUNT alone: a 16-bit store to that
  /// register's offset within it has the meaning of a write of the register.
  ///
  /// No device has it; an emulated one may, because a driver in another process cannot reach its
  /// registers by loads and stores.
  public var doorbells: Range<UInt64>?

  /// Describes a region.
  public init(
    size: UInt64, isReadable: Bool, isWritable: Bool, mappableAreas: [Range<UInt64>] = [],
    doorbells: Range<UInt64>? = nil
  ) {
    self.size = size
    self.isReadable = isReadable
    self.isWritable = isWritable
    self.mappableAreas = mappableAreas
    self.doorbells = doorbells
  }
}

/// What the device may do with mapped memory, as the device sees it.
public struct DMAPermissions: OptionSet, Hashable, Sendable {
  /// VFIO_DMA_MAP_FLAG_READ is bit 0, VFIO_DMA_MAP_FLAG_WRITE bit 1.
  public let rawValue: UInt32
  /// A set by its VFIO flags.
  public init(rawValue: UInt32) { self.rawValue = rawValue }
  /// The device may read.
  public static let read = DMAPermissions(rawValue: 1)
  /// The device may write.
  public static let write = DMAPermissions(rawValue: 2)
  /// Both.
  public static let readWrite: DMAPermissions = [.read, .write]
}

/// Memory to be made visible to the device.
public struct DMARegion: Sendable {
  /// First byte in this process (page aligned).
  public let address: UInt
  /// Bytes (a multiple of the page size).
  public let size: UInt64
  /// The file behind the memory and the offset of its first byte there, where there is one: a
  /// transport to another process shares the memory through it.
  public let file: (fd: CInt, offset: UInt64)?

  /// Describes memory that the caller keeps mapped until it was unmapped from the device.
  public init(address: UInt, size: UInt64, file: (fd: CInt, offset: UInt64)? = nil) {
    self.address = address
    self.size = size
    self.file = file
  }
}

/// The one seam between the driver and a device: kernel VFIO, a vfio-user server, or the model.
///
/// Every method may be called from any thread. A transport is released by its last owner; then it
/// disables interrupts and closes what it opened, in the right order. Nothing above asks which
/// kind it is, except to name it.
public protocol DeviceTransport: AnyObject, Sendable {
  /// What messages call the device: a PCI address, a socket path, "mock".
  var name: String { get }
  /// How the device is reached.
  var kind: TransportKind { get }
  /// Whether `reset()` works (VFIO_DEVICE_FLAGS_RESET).
  var supportsReset: Bool { get }
  /// The NUMA node of the device, nil when unknown.
  var numaNode: Int? { get }

  /// Size, access and mappable areas of a region; size 0 when it does not exist.
  func regionInfo(_ region: RegionIndex) throws(VFIOError) -> RegionInfo
  /// One naturally aligned little-endian read.
  func read(_ region: RegionIndex, at offset: UInt64, width: AccessWidth) throws(VFIOError)
    -> UInt64
  /// One naturally aligned little-endian write of the low `width` bytes of `value`.
  ///
  /// May be posted: it returns before the device has acted, but stays in order with every later call.
  func write(
    _ region: RegionIndex, at offset: UInt64, width: AccessWidth, value: UInt64
  ) throws(VFIOError)
  /// Maps `range` (page aligned, inside one mappable area) of a region for plain loads and stores.
  func map(_ region: RegionIndex, range: Range<UInt64>) throws(VFIOError) -> MemoryMapping

  /// IOVA ranges (inclusive) that may be mapped now, sorted and disjoint.
  var iovaRanges: [ClosedRange<UInt64>] { get }
  /// The mapping granularity in bytes, a power of two.
  var iovaPageSize: UInt64 { get }
  /// Makes `memory` visible to the device at `iova`; an overlap with an existing mapping is an error.
  func mapDMA(
    _ memory: DMARegion, at iova: UInt64, permissions: DMAPermissions
  ) throws(VFIOError)
  /// Removes exactly what one `mapDMA` call made; afterwards the device cannot reach it any more.
  func unmapDMA(iova: UInt64, size: UInt64) throws(VFIOError)

  /// Number of vectors of an interrupt index, 0 when it has none.
  func interruptCount(_ index: IRQIndex) throws(VFIOError) -> Int
  /// Connects vectors 0..<eventFDs.count to eventfds that the caller keeps open; -1 leaves a hole.
  ///
  /// Replaces what was connected before.
  func enableInterrupts(_ index: IRQIndex, eventFDs: [CInt]) throws(VFIOError)
  /// Disconnects every vector of the index; no error when none was connected.
  func disableInterrupts(_ index: IRQIndex) throws(VFIOError)
  /// Fires vector `vector` from software (VFIO_IRQ_SET_DATA_NONE | ACTION_TRIGGER): tests the
  /// way from eventfd to ISR without the device.
  func triggerInterrupt(_ index: IRQIndex, vector: Int) throws(VFIOError)
  /// Lets the pin interrupt again, which VFIO masks with each interrupt of it
  /// (VFIO_IRQ_SET_ACTION_UNMASK on an AUTOMASKED index); a level that is still high fires at once.
  func unmaskPin() throws(VFIOError)

  /// Resets the function. Afterwards bus mastering, interrupts and registers are as after power-on;
  /// DMA mappings stay.
  func reset() throws(VFIOError)
}

extension DeviceTransport {
  /// For a transport to devices without a pin.
  public func unmaskPin() throws(VFIOError) {
    throw .missingFeature(device: name, feature: "pin interrupt")
  }
}

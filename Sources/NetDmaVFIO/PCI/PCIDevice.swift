// SPDX-License-Identifier: Apache-2.0

/// The numbers that say what a PCI function is.
public struct PCIIdentity: Hashable, Sendable {
  /// Vendor id; 0x8086 is Intel.
  public let vendor: UInt16
  /// Device id, given by the vendor.
  public let device: UInt16
  /// Base class in the high byte, subclass in the low one; 0x0880 is "other system peripheral".
  public let classCode: UInt16

  /// Describes a function.
  public init(vendor: UInt16, device: UInt16, classCode: UInt16) {
    self.vendor = vendor
    self.device = device
    self.classCode = classCode
  }

  /// Whether it is a bridge (base class 6).
  public var isBridge: Bool { classCode >> 8 == 0x06 }
}

/// A base address register, as the kernel assigned it.
public struct PCIBaseAddressRegister: Hashable, Sendable {
  /// What a register decodes.
  public enum Space: Hashable, Sendable {
    /// I/O ports.
    case io
    /// Memory below 4 GiB.
    case memory32
    /// Memory anywhere; the next register holds the upper half.
    case memory64
  }

  /// The register, 0...5; a 64-bit one takes two.
  public let index: Int
  /// The first address, 0 when none is assigned.
  public let base: UInt64
  /// Bytes, never 0.
  public let size: UInt64
  /// What it decodes.
  public let space: Space
  /// Whether reads have no side effects.
  public let isPrefetchable: Bool

  /// Describes a register.
  public init(index: Int, base: UInt64, size: UInt64, space: Space, isPrefetchable: Bool) {
    self.index = index
    self.base = base
    self.size = size
    self.space = space
    self.isPrefetchable = isPrefetchable
  }
}

/// One entry of a capability list.
public struct PCICapability: Hashable, Sendable {
  /// The capability's number: `PCICapabilityID` or, when extended, `PCIExtendedCapabilityID`.
  public let id: UInt16
  /// Its offset in configuration space, in bytes.
  public let offset: UInt64
  /// Whether it lies in extended configuration space (0x100...0xfff).
  public let isExtended: Bool

  /// Describes an entry.
  public init(id: UInt16, offset: UInt64, isExtended: Bool) {
    self.id = id
    self.offset = offset
    self.isExtended = isExtended
  }
}

/// A place in a BAR.
public struct BARLocation: Hashable, Sendable {
  /// The BAR, 0...7 as the register says; only 0...5 exist.
  public let bar: Int
  /// Bytes from its start.
  public let offset: UInt64

  /// Describes a place.
  public init(bar: Int, offset: UInt64) {
    self.bar = bar
    self.offset = offset
  }

  /// Splits an offset/BIR register: the low three bits name the BAR.
  init(register: UInt32) {
    self.init(bar: Int(register & 7), offset: UInt64(register & ~7))
  }
}

/// A function's MSI-X capability.
public struct MSIXCapability: Hashable, Sendable {
  /// Offset of the capability in configuration space.
  public let offset: UInt64
  /// Vectors in the table, 1...2048.
  public let vectorCount: Int
  /// Where the vector table is: 16 bytes a vector.
  public let table: BARLocation
  /// Where the pending bits are.
  public let pendingBits: BARLocation

  /// Decodes the three registers of the capability at `offset`: message control (16 bit at +2),
  /// table offset/BIR (32 bit at +4), PBA offset/BIR (32 bit at +8).
  public init(offset: UInt64, control: UInt16, table: UInt32, pendingBits: UInt32) {
    self.offset = offset
    vectorCount = Int(control & 0x7ff) + 1
    self.table = BARLocation(register: table)
    self.pendingBits = BARLocation(register: pendingBits)
  }

  /// The bytes of the vector table in its BAR.
  public var tableRange: Range<UInt64> {
    table.offset..<table.offset + 16 * UInt64(vectorCount)
  }
}

/// Another function of the same IOMMU group.
public struct PCIGroupMember: Hashable, Sendable {
  /// Where it is.
  public let address: PCIAddress
  /// The driver bound to it, nil for none.
  public let driver: String?
  /// Base class and subclass, nil when unknown.
  public let classCode: UInt16?

  /// Describes a member.
  public init(address: PCIAddress, driver: String?, classCode: UInt16?) {
    self.address = address
    self.driver = driver
    self.classCode = classCode
  }

  /// Whether its driver keeps the group from being used through VFIO.
  ///
  /// Unbound functions, VFIO's drivers, and those that promise not to do DMA for themselves
  /// (pcieport, pci-stub) do not.
  public var blocksGroup: Bool {
    guard let driver else { return false }
    return !VFIODrivers.sharesGroup(driver)
  }

  /// "0000:00:04.1 (ioatdma)".
  public var summary: String { "\(address) (\(driver ?? "no driver"))" }
}

/// Which kernel drivers go together with VFIO in one IOMMU group.
public enum VFIODrivers {
  /// The driver that offers a PCI function through VFIO.
  public static let pci = "vfio-pci"

  /// Whether `driver` offers functions through VFIO: vfio-pci or a variant of it.
  public static func isVFIO(_ driver: String) -> Bool {
    driver == pci || driver == "vfio_pci" || driver.hasSuffix("-vfio-pci")
      || driver.hasSuffix("_vfio_pci")
  }

  /// Whether a function bound to `driver` leaves its group usable through VFIO (the driver manages
  /// DMA ownership itself).
  public static func sharesGroup(_ driver: String) -> Bool {
    isVFIO(driver) || driver == "pcieport" || driver == "pci-stub"
  }
}

/// A PCI function of this machine as it was when it was looked at.
public struct PCIDevice: Hashable, Sendable, Identifiable {
  /// Where it is.
  public let address: PCIAddress
  /// Vendor, device and class.
  public let identity: PCIIdentity
  /// Programming interface, the third byte of the class.
  public let programmingInterface: UInt8
  /// Revision id.
  public let revision: UInt8
  /// Subsystem vendor and device, nil when the function has none.
  public let subsystem: PCISubsystem?
  /// The base address registers that decode something, by index.
  public let bars: [PCIBaseAddressRegister]
  /// The capabilities, nil when this user may not read them (the kernel shows ordinary users only the
  /// first 64 bytes of configuration space).
  public let capabilities: [PCICapability]?
  /// MSI-X, nil when it has none or `capabilities` is nil.
  public let msix: MSIXCapability?
  /// The NUMA node, nil when unknown.
  public let numaNode: Int?
  /// The IOMMU group, nil when there is none: then VFIO cannot offer the function.
  public let iommuGroup: Int?
  /// The other functions of the group, by address.
  public let groupMembers: [PCIGroupMember]
  /// The driver bound now, nil for none.
  public let driver: String?
  /// The only driver that may bind to it, nil when any may.
  public let driverOverride: String?
  /// Whether the kernel has enabled it, nil when unknown.
  public let isEnabled: Bool?

  /// The address.
  public var id: PCIAddress { address }

  /// The members of the group that keep it from being used through VFIO, itself not included.
  public var blockingMembers: [PCIGroupMember] { groupMembers.filter(\.blocksGroup) }
}

/// Who built the board that a function is on.
public struct PCISubsystem: Hashable, Sendable {
  /// Subsystem vendor id.
  public let vendor: UInt16
  /// Subsystem id, given by that vendor.
  public let device: UInt16

  /// Describes a subsystem.
  public init(vendor: UInt16, device: UInt16) {
    self.vendor = vendor
    self.device = device
  }
}

/// Names from pci.ids; nil where it has none.
public struct PCINames: Hashable, Sendable {
  /// For example "Intel Corporation".
  public let vendor: String?
  /// For example "Sky Lake-E CBDMA Registers".
  public let device: String?
  /// The subsystem's name.
  public let subsystem: String?
  /// For example "System peripheral".
  public let classCode: String?

  /// Collects names.
  public init(vendor: String?, device: String?, subsystem: String?, classCode: String?) {
    self.vendor = vendor
    self.device = device
    self.subsystem = subsystem
    self.classCode = classCode
  }
}

// SPDX-License-Identifier: Apache-2.0

import CLibPCI
public import Logging
import SystemPackage

/// The PCI functions of this machine, through libpci.
///
/// A snapshot of which functions exist; make another one to look again. Not for use by two threads
/// at once. Reads sysfs only: it takes no device from anybody, wakes none, and asks neither DNS nor
/// udev. Names are loaded when first asked for, since that takes longer than everything else.
public struct PCIEnumerator: ~Copyable {
  private let library: LibPCIAccess
  private let paths: HostPaths
  private let files: any SystemFiles
  private let logger: Logger

  /// Looks at the bus below `paths.sysfs`.
  ///
  /// `namesFile` stands in for the system's pci.ids.
  /// - Throws: `PCIError.noPCIBus`, `.enumerationFailed`.
  public init(
    paths: HostPaths = .host, namesFile: String? = nil,
    logger: Logger = Logger(label: "netdma.pci")
  ) throws(PCIError) {
    let files = HostFiles()
    let bus = paths.sysfs + "/bus/pci"
    let names: [String]
    do throws(SystemCallError) {
      names = try files.entries(of: bus + "/devices")
    } catch {
      throw .noPCIBus(path: bus + "/devices")
    }
    // libpci gives up on a name that is no address, and leaves the directory open.
    if let stray = names.first(where: { !$0.hasPrefix(".") && PCIAddress($0) == nil }) {
      throw .enumerationFailed(reason: "\(bus)/devices/\(stray) is not the address of a function")
    }
    library = try LibPCIAccess(bus: bus, namesFile: namesFile)
    self.paths = paths
    self.files = files
    self.logger = logger
  }

  /// The functions that `matches` accepts, by address.
  ///
  /// Only those are looked at closely. A function that goes away meanwhile is left out.
  public mutating func devices(
    matching matches: (PCIIdentity) -> Bool = { _ in true }
  ) -> [PCIDevice] {
    var found: [PCIDevice] = []
    // The list belongs to `access` and changes in no call made here.
    var next = unsafe library.access.pointee.devices
    while let entry = unsafe next {
      unsafe next = entry.pointee.next
      do throws(PCIError) {
        guard matches(unsafe try identity(of: entry)) else { continue }
        found.append(unsafe try describe(entry))
      } catch {
        logger.debug("a PCI function could not be read", metadata: ["reason": "\(error)"])
      }
    }
    return found.sorted { $0.address < $1.address }
  }

  /// The function at `address`.
  ///
  /// - Throws: `PCIError.noSuchDevice`, or `.deviceVanished` when it was there a moment ago.
  public mutating func device(at address: PCIAddress) throws(PCIError) -> PCIDevice {
    var next = unsafe library.access.pointee.devices
    // As in `devices`.
    while let entry = unsafe next {
      if unsafe Self.address(of: entry) == address { return unsafe try describe(entry) }
      unsafe next = entry.pointee.next
    }
    throw .noSuchDevice(device: address.description)
  }

  /// What pci.ids calls a function; loads that file the first time.
  public mutating func names(of device: PCIDevice) -> PCINames {
    let vendor = CInt(device.identity.vendor)
    let id = CInt(device.identity.device)
    return PCINames(
      vendor: name(NETDMA_PCI_NAME_VENDOR, vendor),
      device: name(NETDMA_PCI_NAME_DEVICE, vendor, id),
      subsystem: device.subsystem.flatMap { subsystem in
        name(
          NETDMA_PCI_NAME_SUBSYSTEM, vendor, id, CInt(subsystem.vendor), CInt(subsystem.device))
      },
      classCode: name(NETDMA_PCI_NAME_CLASS, CInt(device.identity.classCode)))
  }

  private func name(
    _ kind: netdma_pci_name, _ id1: CInt, _ id2: CInt = 0, _ id3: CInt = 0, _ id4: CInt = 0
  ) -> String? {
    var report = netdma_pci_report()
    var text = [CChar](repeating: 0, count: 256)
    // The buffers are this function's for the call; libpci keeps neither.
    let done = unsafe text.withUnsafeMutableBufferPointer { buffer in
      guard let base = buffer.baseAddress else { return CInt(0) }
      return unsafe netdma_pci_name(
        library.access, CInt(bitPattern: kind.rawValue), id1, id2, id3, id4, base,
        CInt(buffer.count),
        &report)
    }
    let bytes = text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }
    return done == 1 && !bytes.isEmpty ? String(decoding: bytes, as: UTF8.self) : nil
  }
}

/// The owner of libpci's object, from which everything libpci hands out hangs.
@safe struct LibPCIAccess: ~Copyable {
  // @safe: the pointer is this value's own and leads to the object until deinit.
  let access: UnsafeMutablePointer<pci_access>

  /// Finds the functions of `bus`, in place of /sys/bus/pci.
  init(bus: String, namesFile: String?) throws(PCIError) {
    guard let access = unsafe pci_alloc() else {
      throw .enumerationFailed(reason: "pci_alloc returned nothing")
    }
    // The texts are NUL-terminated copies for the calls, and libpci copies them again.
    if let namesFile { unsafe netdma_pci_set_names(access, namesFile) }
    var report = netdma_pci_report()
    guard unsafe netdma_pci_init(access, bus, &report) == 1,
      unsafe netdma_pci_scan(access, &report) == 1
    else {
      unsafe pci_cleanup(access)
      throw .enumerationFailed(reason: report.errorText)
    }
    unsafe self.access = access
  }

  deinit {
    // No object of libpci's outlives a call of the enumerator, which owns this value.
    unsafe pci_cleanup(access)
  }
}

// MARK: - One function

// In what follows `entry` is an element of the list of `access`, which lives as long as this value.
extension PCIEnumerator {
  private static func address(of entry: UnsafeMutablePointer<pci_dev>) -> PCIAddress? {
    PCIAddress(
      domain: unsafe UInt32(bitPattern: entry.pointee.domain), bus: unsafe entry.pointee.bus,
      device: unsafe entry.pointee.dev, function: unsafe entry.pointee.func)
  }

  private func fill(
    _ entry: UnsafeMutablePointer<pci_dev>, _ fields: CInt
  ) throws(PCIError) {
    var report = netdma_pci_report()
    let done = unsafe netdma_pci_fill(entry, fields, &report)
    let name = unsafe Self.address(of: entry)?.description ?? "an unnamed function"
    if report.warnings > 0 {
      let text = report.warningText
      logger.debug("libpci warns", metadata: ["device": "\(name)", "warning": "\(text)"])
    }
    guard done == 1 else {
      // libpci counts a field as known before it reads it; the next try must read it again.
      unsafe entry.pointee.known_fields &= ~UInt32(bitPattern: fields)
      let isThere = files.exists(paths.sysfs + "/bus/pci/devices/" + name)
      throw isThere
        ? .enumerationFailed(reason: report.errorText) : .deviceVanished(device: name)
    }
  }

  private func identity(
    of entry: UnsafeMutablePointer<pci_dev>
  ) throws(PCIError) -> PCIIdentity {
    unsafe try fill(entry, netdma_pci_fields_identity())
    return unsafe PCIIdentity(
      vendor: entry.pointee.vendor_id, device: entry.pointee.device_id,
      classCode: entry.pointee.device_class)
  }

  private func describe(_ entry: UnsafeMutablePointer<pci_dev>) throws(PCIError) -> PCIDevice {
    let identity = unsafe try identity(of: entry)
    unsafe try fill(entry, netdma_pci_fields_all())
    guard let address = unsafe Self.address(of: entry) else {
      throw .enumerationFailed(reason: "a function has an impossible address")
    }
    let node = SysFSDevice(address, paths: paths, files: files)
    let capabilities = unsafe try capabilities(of: entry)
    let header = unsafe extendedHeader(of: entry)
    let group = unsafe netdma_pci_group(entry).flatMap { unsafe Int(String(cString: $0)) }
    return PCIDevice(
      address: address, identity: identity, programmingInterface: header.programmingInterface,
      revision: header.revision, subsystem: header.subsystem, bars: unsafe Self.bars(of: entry),
      capabilities: capabilities,
      msix: unsafe msix(of: entry, capabilities ?? []),
      numaNode: unsafe entry.pointee.numa_node < 0 ? nil : Int(entry.pointee.numa_node),
      iommuGroup: group,
      groupMembers: group.map { node.members(ofGroup: $0).filter { $0.address != address } } ?? [],
      driver: node.driver, driverOverride: node.driverOverride, isEnabled: node.isEnabled)
  }

  private func extendedHeader(
    of entry: UnsafeMutablePointer<pci_dev>
  ) -> (programmingInterface: UInt8, revision: UInt8, subsystem: PCISubsystem?) {
    func subsystem(_ vendor: UInt16, _ device: UInt16) -> PCISubsystem? {
      vendor == 0 || vendor == 0xffff ? nil : PCISubsystem(vendor: vendor, device: device)
    }
    if netdma_pci_knows_class_extension() == 1 {
      return unsafe (
        netdma_pci_programming_interface(entry), netdma_pci_revision(entry),
        subsystem(netdma_pci_subsystem_vendor(entry), netdma_pci_subsystem_device(entry))
      )
    }
    // The standard header: revision at 0x08, programming interface at 0x09, and for the functions
    // that are no bridges the subsystem at 0x2c.
    guard let bytes = unsafe configuration(of: entry, at: 0, count: 64) else { return (0, 0, nil) }
    let isPlain = bytes[0x0e] & 0x7f == 0
    return (
      bytes[0x09], bytes[0x08],
      isPlain
        ? subsystem(
          UInt16(bytes[0x2c]) | UInt16(bytes[0x2d]) << 8,
          UInt16(bytes[0x2e]) | UInt16(bytes[0x2f]) << 8) : nil
    )
  }

  private static func bars(
    of entry: UnsafeMutablePointer<pci_dev>
  ) -> [PCIBaseAddressRegister] {
    (0..<6).compactMap { index in
      let size = unsafe netdma_pci_bar_size(entry, CInt(index))
      guard size > 0 else { return nil }
      // IORESOURCE_IO, IORESOURCE_PREFETCH and IORESOURCE_MEM_64 of <linux/ioport.h>; without
      // them, the low bits of the register say the same.
      let flags = unsafe netdma_pci_bar_flags(entry, CInt(index))
      let base = unsafe netdma_pci_bar_base(entry, CInt(index))
      let isIO = flags & 0x100 != 0 || base & 1 != 0
      let is64 = flags & 0x10_0000 != 0 || base & 6 == 4
      return PCIBaseAddressRegister(
        index: index, base: base & ~(isIO ? 3 : 0xf), size: size,
        space: isIO ? .io : is64 ? .memory64 : .memory32,
        isPrefetchable: !isIO && (flags & 0x2000 != 0 || base & 8 != 0))
    }
  }

  private func configuration(
    of entry: UnsafeMutablePointer<pci_dev>, at offset: Int, count: Int
  ) -> [UInt8]? {
    var report = netdma_pci_report()
    var bytes = [UInt8](repeating: 0, count: count)
    var complete: CInt = 0
    // The buffer is the array's for the call, and the count is its size.
    let done = unsafe bytes.withUnsafeMutableBufferPointer { buffer in
      guard let base = buffer.baseAddress else { return CInt(0) }
      return unsafe netdma_pci_read(
        entry, CInt(offset), base, CInt(buffer.count), &complete, &report)
    }
    return done == 1 && complete == 1 ? bytes : nil
  }

  private func capabilities(
    of entry: UnsafeMutablePointer<pci_dev>
  ) throws(PCIError) -> [PCICapability]? {
    // An ordinary user gets 64 bytes; libpci would take what is beyond for an empty list.
    guard unsafe configuration(of: entry, at: 0x40, count: 4) != nil else { return nil }
    unsafe try fill(entry, netdma_pci_fields_capabilities())
    var list: [PCICapability] = []
    // The list is built by the call above and belongs to `entry`.
    var next = unsafe entry.pointee.first_cap
    while let capability = unsafe next {
      unsafe list.append(
        PCICapability(
          id: capability.pointee.id, offset: UInt64(capability.pointee.addr),
          isExtended: CInt(capability.pointee.type) == PCI_CAP_EXTENDED))
      unsafe next = capability.pointee.next
    }
    return list
  }

  private func msix(
    of entry: UnsafeMutablePointer<pci_dev>, _ capabilities: [PCICapability]
  ) -> MSIXCapability? {
    guard
      let found = capabilities.first(where: { !$0.isExtended && $0.id == PCICapabilityID.msix }),
      let bytes = unsafe configuration(of: entry, at: Int(found.offset), count: 12)
    else { return nil }
    func dword(_ at: Int) -> UInt32 {
      (0..<4).reduce(0) { $0 | UInt32(bytes[at + $1]) << UInt32(8 * $1) }
    }
    return MSIXCapability(
      offset: found.offset, control: UInt16(bytes[2]) | UInt16(bytes[3]) << 8, table: dword(4),
      pendingBits: dword(8))
  }
}

extension netdma_pci_report {
  fileprivate var errorText: String {
    mutating get {
      // NUL-terminated by vsnprintf, and the report lives for the call.
      unsafe String(cString: netdma_pci_error_text(&self))
    }
  }

  fileprivate var warningText: String {
    mutating get {
      // As above.
      unsafe String(cString: netdma_pci_warning_text(&self))
    }
  }
}

// SPDX-License-Identifier: Apache-2.0

import Logging
import NetDmaVFIO

/// What `show` prints.
struct ShowReport: Encodable {
  let schema = JSONOutput.schema
  let command = "show"
  let device: String
  /// "vfio", "iommufd", "vfio-user" or "mock"; "sysfs" when only sysfs was asked.
  let transport: String
  let vendorID: String
  let deviceID: String
  let name: String
  let cbVersion: String?
  /// What the kernel has to say of it, nil for a device that no kernel knows.
  let kernel: KernelState?
  let bars: [BAR]
  let configuration: [DecodedRegister]
  /// Whether all 256 or 4096 bytes of configuration space could be read.
  let seesCapabilities: Bool
  let capabilities: [Capability]
  let general: [DecodedRegister]
  let channels: [Channel]
  /// Why `general` and `channels` are empty, nil when they are not.
  let registersUnavailable: String?
  /// What would make them readable.
  let remedy: String?

  struct BAR: Encodable {
    let index: Int
    let size: UInt64
    let base: String?
    let kind: String?
    /// Byte ranges that VFIO lets a process map.
    let mappable: [String]?
  }

  struct Capability: Encodable {
    let id: Int
    let name: String
    let offset: String
    let isExtended: Bool
    let registers: [DecodedRegister]
  }

  struct Channel: Encodable {
    let index: Int
    let registers: [DecodedRegister]
  }

  struct KernelState: Encodable {
    let driver: String?
    let driverOverride: String?
    let numaNode: Int?
    let iommuGroup: Int?
    let groupMembers: [Member]
    /// Nodes that VFIO offers the function through.
    let nodes: [Node]

    struct Member: Encodable {
      let address: String
      let driver: String?
      let blocksGroup: Bool
    }

    struct Node: Encodable {
      let path: String
      let isAccessible: Bool
    }
  }

  enum CodingKeys: String, CodingKey {
    case schema, command, device, transport, vendorID, deviceID, name, cbVersion, kernel, bars,
      configuration, seesCapabilities, capabilities, general, channels, registersUnavailable,
      remedy
  }

  // MARK: - A device behind a transport

  /// A device that is not this machine's: all of it through `transport`.
  init(transport: any DeviceTransport, logger: Logger) throws {
    let image = try ConfigurationImage(transport)
    let registers = try RegisterReadout(transport, logger: logger)
    self.init(
      device: transport.name, transport: transport.kind.rawValue, image: image, kernel: nil,
      bars: try Self.bars(of: transport), registers: .success(registers))
  }

  private static func bars(of transport: any DeviceTransport) throws(VFIOError) -> [BAR] {
    var bars: [BAR] = []
    for index in 0..<6 {
      let info = try transport.regionInfo(RegionIndex(rawValue: UInt32(index)))
      if info.size > 0 { bars.append(BAR(index: index, info: info)) }
    }
    return bars
  }

  // MARK: - A function of this machine

  /// A function of `host`; its registers through VFIO, if that may have it.
  init(address: PCIAddress, host: HostOptions, logger: Logger) throws {
    var enumerator = try PCIEnumerator(paths: host.paths, logger: logger)
    let function = try enumerator.device(at: address)
    let machine = VFIOHost(paths: host.paths, files: HostFiles(), calls: HostKernel())
    let image = ConfigurationImage(sysfsDirectory: machine.node(address).directory)
    self.init(
      device: address.description, transport: "sysfs", image: image,
      kernel: KernelState(function, machine),
      bars: function.bars.map(BAR.init),
      registers: Self.registers(
        of: function, host, logger: logger, withConfiguration: image.isShort))
  }

  /// Why the registers of a function are not read.
  private struct Unavailable: Error {
    let reason: String
    let remedy: String?
  }

  private static func registers(
    of function: PCIDevice, _ host: HostOptions, logger: Logger, withConfiguration: Bool
  ) -> Result<RegisterReadout, Unavailable> {
    // Nothing is to be learned from the registers of another device by binding it.
    let remedy =
      IOATDeviceID(function.identity) == nil
      ? nil : "Bind it to vfio-pci with: netdma-probe bind \(function.address)"
    if let driver = function.driver, !VFIODrivers.isVFIO(driver) {
      return .failure(
        Unavailable(reason: "The kernel driver \(driver) owns them.", remedy: remedy))
    }
    guard function.driver != nil else {
      return .failure(Unavailable(reason: "No driver is bound to the function.", remedy: remedy))
    }
    guard !host.isStandIn else {
      return .failure(Unavailable(reason: "A directory stands in for the machine.", remedy: nil))
    }
    do {
      let transport = try openKernelDevice(address: function.address, logger: logger)
      return .success(
        try RegisterReadout(transport, logger: logger, withConfiguration: withConfiguration))
    } catch let error as any DiagnosticError {
      return .failure(Unavailable(reason: "\(error.what) \(error.why)", remedy: error.remedy))
    } catch {
      return .failure(Unavailable(reason: "\(error)", remedy: nil))
    }
  }

  // MARK: - Both

  private init(
    device: String, transport: String, image sysfsImage: ConfigurationImage, kernel: KernelState?,
    bars: [BAR], registers: Result<RegisterReadout, Unavailable>
  ) {
    let readout = try? registers.get()
    // VFIO shows all of it to whoever may open the device, sysfs to root only.
    let image = readout?.configuration ?? sysfsImage
    let vendor = UInt16(truncatingIfNeeded: image.read(at: 0, .word) ?? 0xffff)
    let id = UInt16(truncatingIfNeeded: image.read(at: 2, .word) ?? 0xffff)
    let known = IOATDeviceID(vendor: vendor, device: id)
    self.device = device
    self.transport = readout?.transport ?? transport
    vendorID = hexDigits(vendor, 4)
    deviceID = hexDigits(id, 4)
    name = known?.description ?? "not a known IOAT engine"
    cbVersion = readout?.version.description ?? known?.platform.version?.description
    self.kernel = kernel
    self.bars = readout.map { $0.merged(bars) } ?? bars
    configuration = image.decode(PCILayouts.header)
    seesCapabilities = !image.isShort
    let engineRegisters = known == nil ? [] : image.decode(IOATLayouts.configuration)
    capabilities = image.capabilities.map { capability in
      Capability(
        id: Int(capability.id), name: PCILayouts.name(capability), offset: hex(capability.offset),
        isExtended: capability.isExtended,
        registers: image.decode(PCILayouts.registers(capability), base: capability.offset))
    }
    general = (readout?.general ?? []) + (readout == nil ? [] : engineRegisters)
    channels = readout?.channels ?? []
    if case .failure(let unavailable) = registers {
      registersUnavailable = unavailable.reason
      remedy = unavailable.remedy
    } else {
      registersUnavailable = nil
      remedy = nil
    }
  }
}

extension ShowReport.BAR {
  init(_ bar: PCIBaseAddressRegister) {
    let space =
      switch bar.space {
      case .io: "I/O ports"
      case .memory32: "32-bit memory"
      case .memory64: "64-bit memory"
      }
    self.init(
      index: bar.index, size: bar.size, base: hex(bar.base),
      kind: space + (bar.isPrefetchable ? ", prefetchable" : ""), mappable: nil)
  }

  init(index: Int, info: RegionInfo) {
    self.init(
      index: index, size: info.size, base: nil, kind: nil,
      mappable: info.mappableAreas.map { "\(hex($0.lowerBound))-\(hex($0.upperBound - 1))" })
  }
}

extension ShowReport.KernelState {
  init(_ function: PCIDevice, _ machine: VFIOHost) {
    driver = function.driver
    driverOverride = function.driverOverride
    numaNode = function.numaNode
    iommuGroup = function.iommuGroup
    groupMembers = function.groupMembers.map {
      Member(address: $0.address.description, driver: $0.driver, blocksGroup: $0.blocksGroup)
    }
    var paths: [String] = []
    if let group = function.iommuGroup {
      paths += [machine.groupPath(group), machine.noIOMMUPath(group)]
    }
    if let name = machine.node(function.address).vfioCharacterDevice {
      paths.append(machine.devicePath(name))
    }
    nodes = paths.filter(machine.files.exists).map {
      Node(path: $0, isAccessible: machine.files.isReadableAndWritable($0))
    }
  }
}

/// The engine's registers as they were when they were read.
private struct RegisterReadout {
  let transport: String
  let version: CBVersion
  let general: [DecodedRegister]
  let channels: [ShowReport.Channel]
  /// Configuration space, where it was asked for.
  let configuration: ConfigurationImage?
  private let mappable: [Int: [String]]

  /// Identifies the engine, which turns memory decoding on, and reads.
  init(
    _ transport: any DeviceTransport, logger: Logger, withConfiguration: Bool = false
  ) throws {
    configuration = withConfiguration ? try ConfigurationImage(transport) : nil
    let device = try IOATDevice(transport, logger: logger)
    self.transport = transport.kind.rawValue
    version = device.version
    func read(_ layout: RegisterLayout, _ base: UInt64) throws(VFIOError) -> DecodedRegister {
      guard layout.sideEffect == nil else { return layout.decode(nil, base: base) }
      let value = try transport.read(.bar0, at: base + layout.offset, width: layout.width)
      return layout.decode(value, base: base)
    }
    general = try IOATLayouts.general(device.version).map { try read($0, 0) }
    channels = try (0..<device.channelCount).map { index in
      let base = IOATRegister.channelWindow(index)
      return ShowReport.Channel(
        index: index,
        registers: try IOATLayouts.channel(device.version).map { try read($0, base) })
    }
    var mappable: [Int: [String]] = [:]
    for index in 0..<6 {
      let info = try transport.regionInfo(RegionIndex(rawValue: UInt32(index)))
      mappable[index] = ShowReport.BAR(index: index, info: info).mappable
    }
    self.mappable = mappable
  }

  /// `bars` with what VFIO says of each.
  func merged(_ bars: [ShowReport.BAR]) -> [ShowReport.BAR] {
    bars.map {
      ShowReport.BAR(
        index: $0.index, size: $0.size, base: $0.base, kind: $0.kind,
        mappable: mappable[$0.index] ?? $0.mappable)
    }
  }
}

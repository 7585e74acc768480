// SPDX-License-Identifier: Apache-2.0

import NetDmaVFIO

/// One PCI function, as `list` shows it.
struct ListEntry: Encodable {
  let address: String
  let vendorID: String
  let deviceID: String
  let classCode: String
  let revision: UInt8
  let name: String
  let platform: String?
  let cbVersion: String?
  let channels: Int?
  let channel: Int?
  let hasRAID: Bool?
  let isIOAT: Bool
  let numaNode: Int?
  let iommuGroup: Int?
  let groupMembers: [String]
  let groupFunctions: [GroupFunction]
  let driver: String?
  let msixVectors: Int?
  let bars: [BAR]
  let isUsable: Bool
  let reason: String?

  struct BAR: Encodable {
    let index: Int
    let base: String
    let size: UInt64
  }

  /// Another function of the IOMMU group.
  struct GroupFunction: Encodable {
    let address: String
    let driver: String?
    let blocksGroup: Bool

    var summary: String { "\(address) (\(driver ?? "no driver"))" }
  }

  /// `kernelChannels` is how many channels a kernel driver has found on the function, 0 for unknown.
  init(_ device: PCIDevice, names: PCINames?, kernelChannels: Int) {
    let engine = IOATDeviceID(device.identity)
    address = device.address.description
    vendorID = Self.hex(device.identity.vendor)
    deviceID = Self.hex(device.identity.device)
    classCode = Self.hex(device.identity.classCode)
    revision = device.revision
    platform = engine?.platform.name
    cbVersion = engine.map { $0.platform.version?.description ?? "\($0.platform.major).x" }
    channel = engine?.channel
    // CHANCNT would tell, but only of a device that is opened: what its driver counted, or what
    // every part of version 3 has.
    channels =
      kernelChannels > 0 ? kernelChannels : engine.flatMap { $0.platform.major >= 3 ? 1 : nil }
    hasRAID = engine?.hasRAID
    isIOAT = engine != nil
    numaNode = device.numaNode
    iommuGroup = device.iommuGroup
    groupMembers = device.groupMembers.map(\.address.description)
    groupFunctions = device.groupMembers.map {
      GroupFunction(
        address: $0.address.description, driver: $0.driver, blocksGroup: $0.blocksGroup)
    }
    driver = device.driver
    msixVectors = device.msix?.vectorCount
    bars = device.bars.map {
      BAR(index: $0.index, base: "0x" + String($0.base, radix: 16), size: $0.size)
    }
    name =
      engine?.description
      ?? [names?.vendor, names?.device].compactMap(\.self).joined(separator: " ")
    reason = Self.obstacle(device, engine)
    isUsable = reason == nil
  }

  /// Why netdma-probe cannot use the function now, nil when it can.
  private static func obstacle(_ device: PCIDevice, _ engine: IOATDeviceID?) -> String? {
    guard let engine else { return "not an IOAT engine" }
    if let refusal = engine.refusal { return refusal }
    guard device.iommuGroup != nil else { return "no IOMMU group: the IOMMU is off" }
    guard let driver = device.driver else { return "not bound to \(VFIODrivers.pci)" }
    guard VFIODrivers.isVFIO(driver) else { return "bound to \(driver)" }
    let others = device.blockingMembers.map(\.summary)
    guard others.isEmpty else { return "group shared with \(others.joined(separator: ", "))" }
    return nil
  }

  private static func hex(_ value: UInt16) -> String {
    let digits = String(value, radix: 16)
    return String(repeating: "0", count: 4 - digits.count) + digits
  }
}

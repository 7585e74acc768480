// SPDX-License-Identifier: Apache-2.0

/// What sysfs says of one PCI function beyond what libpci reads: drivers and group.
package struct SysFSDevice: Sendable {
  package let address: PCIAddress
  private let paths: HostPaths
  private let files: any SystemFiles

  package init(_ address: PCIAddress, paths: HostPaths, files: any SystemFiles) {
    self.address = address
    self.paths = paths
    self.files = files
  }

  /// The function's directory.
  package var directory: String { Self.directory(address, paths) }

  package static func directory(_ address: PCIAddress, _ paths: HostPaths) -> String {
    "\(paths.sysfs)/bus/pci/devices/\(address)"
  }

  package var exists: Bool { files.exists(directory) }

  /// The driver bound now.
  package var driver: String? { files.linkName(directory + "/driver") }

  /// The only driver that may bind; the kernel shows "(null)" when any may.
  package var driverOverride: String? {
    guard let text = files.text(directory + "/driver_override"), !text.isEmpty, text != "(null)"
    else { return nil }
    return text
  }

  /// The count of pci_enable_device calls is not zero.
  package var isEnabled: Bool? {
    files.text(directory + "/enable").flatMap { Int($0) }.map { $0 > 0 }
  }

  /// The number of its IOMMU group.
  package var iommuGroup: Int? {
    files.linkName(directory + "/iommu_group").flatMap { Int($0) }
  }

  /// -1 in sysfs means unknown.
  package var numaNode: Int? {
    files.text(directory + "/numa_node").flatMap { Int($0) }.flatMap { $0 < 0 ? nil : $0 }
  }

  /// Base class and subclass.
  package var classCode: UInt16? {
    hexadecimalFile("class").map { UInt16(truncatingIfNeeded: $0 >> 8) }
  }

  /// Vendor and device id.
  package var vendorAndDevice: (vendor: UInt16, device: UInt16)? {
    guard let vendor = hexadecimalFile("vendor"), let device = hexadecimalFile("device") else {
      return nil
    }
    return (UInt16(truncatingIfNeeded: vendor), UInt16(truncatingIfNeeded: device))
  }

  /// The entry below /dev/vfio/devices that offers the function alone, for example "vfio3".
  package var vfioCharacterDevice: String? {
    let names = try? files.entries(of: directory + "/vfio-dev")
    return names?.first { $0.hasPrefix("vfio") && Int($0.dropFirst(4)) != nil }
  }

  /// DMA channels that a kernel driver registered, 0 without one.
  package var kernelChannelCount: Int {
    ((try? files.entries(of: directory + "/dma")) ?? []).count
  }

  /// Every PCI function of the group, by address.
  package func members(ofGroup group: Int) -> [PCIGroupMember] {
    let names = (try? files.entries(of: Self.groupDirectory(group, paths) + "/devices")) ?? []
    return names.compactMap { PCIAddress($0) }.sorted().map { member in
      let node = SysFSDevice(member, paths: paths, files: files)
      return PCIGroupMember(address: member, driver: node.driver, classCode: node.classCode)
    }
  }

  package static func groupDirectory(_ group: Int, _ paths: HostPaths) -> String {
    "\(paths.sysfs)/kernel/iommu_groups/\(group)"
  }

  private func hexadecimalFile(_ name: String) -> UInt32? {
    guard let text = files.text("\(directory)/\(name)"), text.hasPrefix("0x") else { return nil }
    return UInt32(text.dropFirst(2), radix: 16)
  }
}

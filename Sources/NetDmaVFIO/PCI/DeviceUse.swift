// SPDX-License-Identifier: Apache-2.0

/// Somebody who uses a PCI function, and would lose it when its driver changes.
public enum DeviceUse: Hashable, Sendable, CustomStringConvertible {
  /// A DMA channel of the kernel's, with the number of its clients.
  case dmaChannel(name: String, clients: Int)
  /// A network interface that is up.
  case network(interface: String)
  /// A disk; where it or its partitions are mounted, as far as is known.
  case disk(name: String, mountedAt: [String])
  /// A process that has the function or its group open through VFIO.
  case process(id: Int, command: String)

  /// For example "network interface eth0".
  public var description: String {
    switch self {
    case .dmaChannel(let name, let clients):
      "DMA channel \(name) (\(clients) client\(clients == 1 ? "" : "s"))"
    case .network(let interface): "network interface \(interface)"
    case .disk(let name, let places):
      places.isEmpty
        ? "disk \(name)" : "disk \(name) (mounted at \(places.joined(separator: ", ")))"
    case .process(let id, let command): "process \(id) (\(command))"
    }
  }
}

/// Finds who uses a function, through sysfs and procfs.
package struct DeviceUseFinder: Sendable {
  private let paths: HostPaths
  private let files: any SystemFiles

  package init(paths: HostPaths, files: any SystemFiles) {
    self.paths = paths
    self.files = files
  }

  /// The users of a function that belongs to a kernel driver or to VFIO.
  ///
  /// What cannot be read counts as use, for what is lost cannot be given back.
  package func uses(of address: PCIAddress) -> [DeviceUse] {
    let node = SysFSDevice(address, paths: paths, files: files)
    guard let driver = node.driver else { return [] }
    if VFIODrivers.isVFIO(driver) { return processes(using: node) }
    return dmaChannels(of: address) + networks(of: address) + disks(of: address)
  }

  /// Entries of a class in sysfs that lie below the function: each is a link into the device tree.
  private func entries(ofClass name: String, below address: PCIAddress) -> [String] {
    let directory = "\(paths.sysfs)/class/\(name)"
    let names = (try? files.entries(of: directory)) ?? []
    return names.filter { entry in
      let target = (try? files.target(of: "\(directory)/\(entry)")) ?? ""
      return target.split(separator: "/").contains { $0 == address.name }
    }
  }

  private func dmaChannels(of address: PCIAddress) -> [DeviceUse] {
    entries(ofClass: "dma", below: address).compactMap { name in
      let clients = files.text("\(paths.sysfs)/class/dma/\(name)/in_use").flatMap { Int($0) } ?? 1
      return clients > 0 ? .dmaChannel(name: name, clients: clients) : nil
    }
  }

  private func networks(of address: PCIAddress) -> [DeviceUse] {
    entries(ofClass: "net", below: address).compactMap { name in
      // IFF_UP is bit 0.
      let flags = files.text("\(paths.sysfs)/class/net/\(name)/flags")
        .flatMap { UInt32($0.dropFirst(2), radix: 16) }
      return (flags ?? 1) & 1 != 0 ? .network(interface: name) : nil
    }
  }

  /// Every disk counts, mounted or not: file systems over several disks, and swap, show elsewhere.
  private func disks(of address: PCIAddress) -> [DeviceUse] {
    let all = entries(ofClass: "block", below: address)
    func file(_ name: String, _ entry: String) -> String {
      "\(paths.sysfs)/class/block/\(entry)/\(name)"
    }
    let disks = all.filter { !files.exists(file("partition", $0)) }
    let mounts = (files.text("\(paths.procfs)/self/mountinfo") ?? "").split(separator: "\n")
      .map { $0.split(separator: " ") }
    return disks.compactMap { disk in
      guard files.text(file("size", disk)) != "0" else { return nil }
      // A partition lies below its disk.
      let parts = all.filter { entry in
        let target = (try? files.target(of: "\(paths.sysfs)/class/block/\(entry)")) ?? ""
        return target.split(separator: "/").contains { $0 == disk }
      }
      let numbers = Set(parts.compactMap { files.text(file("dev", $0)) })
      // Field 3 of mountinfo is the device's number, field 5 the mount point.
      let places = mounts.filter { $0.count > 4 && numbers.contains(String($0[2])) }
        .map { String($0[4]) }
      return .disk(name: disk, mountedAt: places)
    }
  }

  /// Who has the function's character device or its group open.
  private func processes(using node: SysFSDevice) -> [DeviceUse] {
    var nodes: Set<String> = []
    if let group = node.iommuGroup { nodes.insert("\(paths.devices)/vfio/\(group)") }
    if let name = node.vfioCharacterDevice { nodes.insert("\(paths.devices)/vfio/devices/\(name)") }
    let ids = ((try? files.entries(of: paths.procfs)) ?? []).compactMap { Int($0) }.sorted()
    return ids.compactMap { id in
      let directory = "\(paths.procfs)/\(id)"
      let open = (try? files.entries(of: directory + "/fd")) ?? []
      let isUser = open.contains { entry in
        (try? files.target(of: "\(directory)/fd/\(entry)")).map { nodes.contains($0) } ?? false
      }
      return isUser ? .process(id: id, command: files.text(directory + "/comm") ?? "?") : nil
    }
  }
}

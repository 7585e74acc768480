// SPDX-License-Identifier: Apache-2.0

import SystemPackage

/// The machine that a kernel transport is opened on: its files, its kernel, its paths.
package struct VFIOHost: Sendable {
  package let paths: HostPaths
  package let files: any SystemFiles
  package let calls: any KernelCalls

  package init(paths: HostPaths, files: any SystemFiles, calls: any KernelCalls) {
    self.paths = paths
    self.files = files
    self.calls = calls
  }

  /// This machine.
  package static var local: VFIOHost {
    VFIOHost(paths: .host, files: HostFiles(), calls: HostKernel())
  }

  /// The function's entry in sysfs.
  package func node(_ address: PCIAddress) -> SysFSDevice {
    SysFSDevice(address, paths: paths, files: files)
  }

  package var containerPath: String { paths.devices + "/vfio/vfio" }
  package var iommufdPath: String { paths.devices + "/iommu" }
  package func groupPath(_ group: Int) -> String { "\(paths.devices)/vfio/\(group)" }
  package func noIOMMUPath(_ group: Int) -> String { "\(paths.devices)/vfio/noiommu-\(group)" }
  package func devicePath(_ name: String) -> String { "\(paths.devices)/vfio/devices/\(name)" }

  /// The IOMMU group of a function that exists, has one, and is bound to VFIO.
  ///
  /// - Throws: `VFIOError.noSuchDevice`, `.noIOMMUGroup`, `.notBoundToVFIO`.
  package func checkedGroup(of address: PCIAddress) throws(VFIOError) -> Int {
    let node = node(address)
    guard node.exists else { throw .noSuchDevice(device: address.description) }
    guard let group = node.iommuGroup else { throw .noIOMMUGroup(device: address.description) }
    let driver = node.driver
    guard let driver, VFIODrivers.isVFIO(driver) else {
      throw .notBoundToVFIO(device: address.description, driver: driver)
    }
    return group
  }

  /// The functions of a group that keep it from being used, "0000:00:04.1 (ioatdma)".
  package func blockers(ofGroup group: Int, of address: PCIAddress) -> [String] {
    node(address).members(ofGroup: group).filter(\.blocksGroup).map(\.summary)
  }

  /// `path` stands for the device whose numbers sysfs keeps in `numberFile`, as far as both can
  /// be read.
  package func isStale(_ path: String, numberFile: String) -> Bool {
    guard let wanted = files.text(numberFile), let found = files.status(of: path)?.deviceNumber
    else { return false }
    return wanted != found
  }

  /// Why the platform refused to hand a group out with EPERM: what is known, or else that interrupt
  /// remapping is missing, which is all that is left.
  package func refusalReason(group: Int, override: String) -> String {
    knownRefusalReason(group: group, override: override) ?? Self.noRemapping(override)
  }

  /// Why the platform would refuse to hand a group out, nil when nothing says that it would:
  /// reserved_regions lists "direct" ranges for memory that firmware keeps identity-mapped, and
  /// /proc/interrupts shows whether interrupts are remapped.
  package func knownRefusalReason(group: Int, override: String) -> String? {
    let file = SysFSDevice.groupDirectory(group, paths) + "/reserved_regions"
    let direct = (files.text(file) ?? "").split(separator: "\n").filter {
      $0.split(separator: " ").last == "direct"
    }
    if let first = direct.first {
      let range = first.split(separator: " ").prefix(2).joined(separator: "...")
      return "Firmware keeps memory identity-mapped for the device (RMRR \(range))."
    }
    return isInterruptRemappingOff ? Self.noRemapping(override) : nil
  }

  private static func noRemapping(_ override: String) -> String {
    "Interrupt remapping is off, so the device could forge interrupts"
      + " (the last resort, which is unsafe, is \(override))."
  }

  /// Whether it is known to be off: x86 names its interrupt controllers "IR-IO-APIC" and "IR-PCI-MSI"
  /// while it is on, and without the prefix while it is off; other machines have no such names.
  private var isInterruptRemappingOff: Bool {
    guard let interrupts = files.text(paths.procfs + "/interrupts") else { return false }
    return interrupts.contains("IO-APIC") && !interrupts.contains(" IR-")
  }

  /// The ranges that sysfs implies for a kernel that reports none: everything that the IOMMU's
  /// address width reaches, without the group's reserved regions.
  package func impliedRanges(group: Int, of address: PCIAddress) -> [ClosedRange<UInt64>] {
    // VT-d's capability register: bits 21:16 are the address width less one. 39 bits is the
    // narrowest that is built.
    let capability = files.text(node(address).directory + "/iommu/intel-iommu/cap")
    let width = capability.flatMap { UInt64($0, radix: 16) }.map { ($0 >> 16 & 0x3f) + 1 } ?? 39
    let last = width >= 64 ? UInt64.max : (1 << width) - 1
    var ranges: [ClosedRange<UInt64>] = [0...last]
    let text = files.text(SysFSDevice.groupDirectory(group, paths) + "/reserved_regions")
    // The doorbells of message signalled interrupts, if sysfs does not say better.
    var reserved: [ClosedRange<UInt64>] = [0xfee0_0000...0xfeef_ffff]
    for line in (text ?? "").split(separator: "\n") {
      let fields = line.split(separator: " ")
      guard fields.count >= 2, let start = UInt64(fields[0].dropFirst(2), radix: 16),
        let end = UInt64(fields[1].dropFirst(2), radix: 16), start <= end
      else { continue }
      reserved.append(start...end)
    }
    for hole in reserved { ranges = ranges.flatMap { IOVARanges.cut(hole, from: $0) } }
    return ranges
  }
}

/// Arithmetic on inclusive address ranges.
package enum IOVARanges {
  /// What is left of `range` without `hole`.
  package static func cut(
    _ hole: ClosedRange<UInt64>, from range: ClosedRange<UInt64>
  ) -> [ClosedRange<UInt64>] {
    guard hole.overlaps(range) else { return [range] }
    var rest: [ClosedRange<UInt64>] = []
    if range.lowerBound < hole.lowerBound { rest.append(range.lowerBound...hole.lowerBound - 1) }
    if range.upperBound > hole.upperBound { rest.append(hole.upperBound + 1...range.upperBound) }
    return rest
  }

  /// Sorted, with ranges that touch or overlap joined, and those with start > last dropped.
  package static func normalized(
    _ pairs: [(start: UInt64, last: UInt64)]
  ) -> [ClosedRange<UInt64>] {
    var result: [ClosedRange<UInt64>] = []
    for pair in pairs.filter({ $0.start <= $0.last }).sorted(by: { $0.start < $1.start }) {
      if let previous = result.last,
        previous.upperBound == .max || pair.start <= previous.upperBound + 1
      {
        result[result.count - 1] =
          previous.lowerBound...max(previous.upperBound, pair.last)
      } else {
        result.append(pair.start...pair.last)
      }
    }
    return result
  }
}

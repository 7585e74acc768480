// SPDX-License-Identifier: Apache-2.0

import NetDmaVFIO
import Synchronization
import SystemPackage

/// A kernel with VFIO in it, played from the numbers of <linux/vfio.h> and <linux/iommufd.h> written
/// out here, so that the driver and this stand-in cannot share a mistake.
///
/// Every call is recorded; any call can be made to fail. Descriptors are numbers that no real file
/// has. The rules of the kernel that matter are kept: what is not enabled cannot be disabled, what
/// overlaps cannot be mapped, and so on.
package final class FakeKernel: Sendable {
  /// What a descriptor is open on.
  package enum File: String, Sendable {
    case container, group, device, iommufd
  }

  /// One region of the device.
  package struct Region: Sendable {
    package var size: UInt64
    package var flags: UInt32
    /// Bytes behind the fixed 32 of VFIO_DEVICE_GET_REGION_INFO; cap_offset is 32 when not empty.
    package var capabilities: [UInt8]
    package var contents: [UInt8]

    package init(
      size: UInt64, flags: UInt32, capabilities: [UInt8] = [], contents: [UInt8]? = nil
    ) {
      self.size = size
      self.flags = flags
      self.capabilities = capabilities
      self.contents = contents ?? [UInt8](repeating: 0, count: Int(size))
    }
  }

  /// One interrupt index.
  package struct Interrupts: Sendable {
    package var count: UInt32
    package var flags: UInt32
    /// The eventfds that are connected, nil when the index is not enabled.
    package var connected: [Int32]?

    package init(count: UInt32, flags: UInt32) {
      self.count = count
      self.flags = flags
    }
  }

  /// Everything that a test may set, and what the calls leave behind.
  package struct State: Sendable {
    package init() {}

    // The tree of files.
    package var texts: [String: String] = [:]
    package var links: [String: String] = [:]
    package var statuses: [String: FileStatus] = [:]

    // Forced failures by name of call: "open /dev/vfio/7", "VFIO_SET_IOMMU", "pread", "mmap".
    package var failures: [String: [Errno]] = [:]

    // VFIO.
    package var apiVersion: Int32 = 0
    package var extensions: Set<UInt> = [1, 3]
    package var groupFlags: UInt32 = 1
    package var pageSizes: UInt64 = 0x4020_1000
    package var infoCapabilities: [UInt8] = FakeKernel.rangeCapability([
      (0, 0xfedf_ffff), (0xfef0_0000, 0xffff_ffff_ffff),
    ])
    package var infoFlags: UInt32 = 3
    package var infoCapabilityOffset: UInt32 = 24
    package var deviceFlags: UInt32 = 3
    package var regionCount: UInt32 = 9
    package var interruptCount: UInt32 = 5
    package var regions: [UInt32: Region] = [:]
    package var interrupts: [UInt32: Interrupts] = [:]
    package var limit: UInt64? = 8 << 20
    /// MSI and MSI-X vectors that the host can give a device, nil for as many as it has.
    package var freeVectors: UInt32?
    /// What an unmap reports in place of the truth.
    package var unmapReport: UInt64?
    package var ioasRanges: [(UInt64, UInt64)] = [
      (0, 0xfedf_ffff), (0xfef0_0000, 0xffff_ffff_ffff),
    ]

    // Left behind.
    package var trace: [String] = []
    package var open: [Int32: File] = [:]
    package var mappings: [UInt64: UInt64] = [:]
    package var mapFlags: [UInt64: UInt32] = [:]
    package var resets = 0
    package var hasIOMMU = false
    package var nextDescriptor: Int32 = 100_000
  }

  let state: Mutex<State>

  package init(_ state: State = State()) {
    self.state = Mutex(state)
  }

  /// Reads or changes anything.
  package func with<R: Sendable>(_ body: (inout sending State) -> sending R) -> R {
    state.withLock(body)
  }

  /// The calls so far, oldest first: "open /dev/vfio/vfio", "VFIO_SET_IOMMU", "close group".
  package var trace: [String] { state.withLock { $0.trace } }
  /// Descriptors that nobody closed.
  package var openFiles: [File] { state.withLock { Array($0.open.values) } }

  /// Makes the next call of that name fail, once for each errno.
  package func fail(_ call: String, _ errnos: Errno...) {
    state.withLock { $0.failures[call, default: []] += errnos }
  }

  /// {id 1, version 1, next 0}, count, 0, pairs.
  package static func rangeCapability(_ ranges: [(UInt64, UInt64)], next: UInt32 = 0) -> [UInt8] {
    bytes(UInt16(1)) + bytes(UInt16(1)) + bytes(next) + bytes(UInt32(ranges.count))
      + bytes(UInt32(0)) + ranges.flatMap { bytes($0.0) + bytes($0.1) }
  }

  /// {id 1, version 1, next}, count, 0, pairs of offset and size: SPARSE_MMAP.
  package static func sparseCapability(
    _ areas: [(UInt64, UInt64)], next: UInt32 = 0
  ) -> [UInt8] {
    rangeCapability(areas, next: next)
  }

  /// A capability without payload, as MSIX_MAPPABLE (3) is.
  package static func emptyCapability(_ id: UInt16, next: UInt32 = 0) -> [UInt8] {
    bytes(id) + bytes(UInt16(1)) + bytes(next)
  }

  /// Little-endian bytes.
  package static func bytes<T: FixedWidthInteger>(_ value: T) -> [UInt8] {
    (0..<(T.bitWidth / 8)).map { UInt8(truncatingIfNeeded: value >> T(8 * $0)) }
  }
}

// MARK: - A machine with one IOAT function

extension FakeKernel {
  /// Where the function is in `machine`.
  package static let address = "0000:00:04.0"

  /// A machine with an IOAT function in group 7, bound to vfio-pci, with everything in order:
  /// container and group, and the character device "vfio3" and /dev/iommu beside them.
  package static func machine(_ change: (inout State) -> Void = { _ in }) -> FakeKernel {
    var state = State()
    let device = "/sys/bus/pci/devices/\(address)"
    state.texts[device + "/vendor"] = "0x8086\n"
    state.texts[device + "/class"] = "0x088000\n"
    state.texts[device + "/numa_node"] = "1\n"
    state.texts[device + "/vfio-dev/vfio3/dev"] = "511:3\n"
    state.links[device + "/iommu_group"] = "../../../kernel/iommu_groups/7"
    state.links[device + "/driver"] = "../../../bus/pci/drivers/vfio-pci"
    state.texts["/sys/kernel/iommu_groups/7/reserved_regions"] =
      "0x00000000fee00000 0x00000000feefffff msi\n"
    state.links["/sys/kernel/iommu_groups/7/devices/\(address)"] =
      "../../../../devices/pci0000:00/\(address)"
    state.texts["/sys/class/vfio/7/dev"] = "243:0\n"
    for (path, number) in [
      ("/dev/vfio/vfio", "10:196"), ("/dev/vfio/7", "243:0"), ("/dev/iommu", "10:122"),
      ("/dev/vfio/devices/vfio3", "511:3"),
    ] {
      state.statuses[path] = FileStatus(permissions: 0o600, deviceNumber: number)
    }
    // BAR0 of 16 KiB, all of it mappable.
    state.regions[0] = Region(size: 0x4000, flags: 0xf, capabilities: emptyCapability(3))
    state.regions[7] = Region(size: 0x1000, flags: 0x3, contents: configuration())
    state.interrupts[0] = Interrupts(count: 1, flags: 0x7)
    state.interrupts[1] = Interrupts(count: 0, flags: 0x9)
    state.interrupts[2] = Interrupts(count: 4, flags: 0x9)
    state.interrupts[3] = Interrupts(count: 1, flags: 0x9)
    state.interrupts[4] = Interrupts(count: 1, flags: 0x9)
    change(&state)
    return FakeKernel(state)
  }

  /// A second function of group 7 with a driver.
  package static func addSibling(
    _ address: String, driver: String?, classCode: String = "0x088000", to state: inout State
  ) {
    let device = "/sys/bus/pci/devices/\(address)"
    state.texts[device + "/class"] = classCode + "\n"
    state.links["/sys/kernel/iommu_groups/7/devices/\(address)"] =
      "../../../../devices/pci0000:00/\(address)"
    state.links[device + "/iommu_group"] = "../../../kernel/iommu_groups/7"
    if let driver { state.links[device + "/driver"] = "../../../bus/pci/drivers/\(driver)" }
  }

  /// 4096 bytes: 8086:2021, MSI-X at 0x80 (4 vectors, table in BAR0 at 0x2000, pending bits at
  /// 0x3000), PCI Express at 0x90, AER at 0x100.
  package static func configuration() -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: 4096)
    func put(_ offset: Int, _ values: UInt8...) {
      for (index, value) in values.enumerated() { bytes[offset + index] = value }
    }
    put(0x00, 0x86, 0x80, 0x21, 0x20)
    put(0x06, 0x10, 0x00)
    put(0x08, 0x04, 0x00, 0x80, 0x08)
    put(0x34, 0x80)
    put(0x80, 0x11, 0x90, 0x03, 0x00, 0x00, 0x20, 0x00, 0x00, 0x00, 0x30, 0x00, 0x00)
    put(0x90, 0x10, 0x00)
    // DEVCTL with relaxed ordering.
    put(0x98, 0x10, 0x28)
    put(0x100, 0x01, 0x00, 0x01, 0x14)
    put(0x140, 0x0b, 0x00, 0x01, 0x00)
    return bytes
  }

  /// The machine as the transports want it.
  package var host: VFIOHost {
    VFIOHost(paths: .host, files: self, calls: self)
  }
}

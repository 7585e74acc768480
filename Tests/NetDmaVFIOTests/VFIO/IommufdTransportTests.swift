// SPDX-License-Identifier: Apache-2.0

import NetDmaVFIO
import SystemPackage
import TestSupport
import Testing

/// Opening through character device and iommufd, and what each refusal becomes.
///
/// Mapping, interrupts and the end are tested together with the other interface.
struct IommufdTransportTests {
  static let device = FakeKernel.address

  private func failure(_ kernel: FakeKernel) throws -> VFIOError {
    let error = try #require(throws: VFIOError.self) { _ = try kernel.openCharacterDevice() }
    #expect(kernel.openFiles.isEmpty)
    return error
  }

  @Test("The calls come in the order that iommufd wants: bind, attach, then ask for the ranges")
  func sequence() throws {
    let kernel = FakeKernel.machine()
    let transport = try kernel.openCharacterDevice()
    #expect(
      kernel.trace == [
        "open /dev/iommu", "IOMMU_IOAS_ALLOC", "open /dev/vfio/devices/vfio3",
        "VFIO_DEVICE_BIND_IOMMUFD", "VFIO_DEVICE_ATTACH_IOMMUFD_PT", "IOMMU_IOAS_IOVA_RANGES",
        "VFIO_DEVICE_GET_INFO",
      ])
    #expect(transport.kind == .iommufd)
    #expect(transport.name == Self.device)
    #expect(transport.numaNode == 1)
    #expect(transport.iovaRanges == [0...0xfedf_ffff, 0xfef0_0000...0xffff_ffff_ffff])
  }

  @Test(
    "A failure at any step closes what was opened, the device first",
    arguments: [
      ("open /dev/vfio/devices/vfio3", ["close iommufd"]),
      ("VFIO_DEVICE_BIND_IOMMUFD", ["close device", "close iommufd"]),
      ("IOMMU_IOAS_ALLOC", ["close iommufd"]),
      ("VFIO_DEVICE_ATTACH_IOMMUFD_PT", ["close device", "close iommufd"]),
      ("IOMMU_IOAS_IOVA_RANGES", ["close device", "close iommufd"]),
      ("VFIO_DEVICE_GET_INFO", ["close device", "close iommufd"]),
    ])
  func partialFailures(call: String, closes: [String]) throws {
    let kernel = FakeKernel.machine()
    kernel.fail(call, .ioError)
    _ = try failure(kernel)
    #expect(kernel.trace.suffix(closes.count + 1) == [call] + closes)
  }

  @Test("A kernel without character devices says which kernel has them")
  func noCharacterDevice() throws {
    let kernel = FakeKernel.machine {
      $0.texts["/sys/bus/pci/devices/\(Self.device)/vfio-dev/vfio3/dev"] = nil
    }
    let error = try failure(kernel)
    #expect(error.why.contains("CONFIG_VFIO_DEVICE_CDEV"))
    #expect(error.remedy.contains("group interface"))
    #expect(kernel.trace.isEmpty)
  }

  @Test(
    "Missing and forbidden nodes are named", arguments: ["/dev/iommu", "/dev/vfio/devices/vfio3"])
  func nodes(path: String) throws {
    let missing = FakeKernel.machine { $0.statuses[path] = nil }
    guard case .vfioMissing(Self.device, let cause) = try failure(missing) else {
      Issue.record("another error")
      return
    }
    #expect(cause.subject == path)
    let forbidden = FakeKernel.machine()
    forbidden.fail("open \(path)", .permissionDenied)
    #expect(try failure(forbidden) == .permissionDenied(device: Self.device, path: path))
  }

  @Test("A character device of another number is stale, and not opened")
  func stale() throws {
    let path = "/dev/vfio/devices/vfio3"
    let kernel = FakeKernel.machine { $0.statuses[path]?.deviceNumber = "511:4" }
    #expect(try failure(kernel) == .staleNode(device: Self.device, path: path))
  }

  @Test("A group file that is open somewhere makes the function busy")
  func groupOpen() throws {
    let kernel = FakeKernel.machine()
    kernel.fail("VFIO_DEVICE_BIND_IOMMUFD", .resourceBusy)
    #expect(try failure(kernel) == .busy(device: Self.device, path: "/dev/vfio/7"))
  }

  @Test("A claim is refused for a kernel driver in the group, or for another iommufd")
  func claimRefused() throws {
    let driver = FakeKernel.machine { state in
      FakeKernel.addSibling("0000:00:04.1", driver: "ioatdma", to: &state)
    }
    driver.fail("VFIO_DEVICE_BIND_IOMMUFD", .notPermitted)
    #expect(
      try failure(driver)
        == .groupNotViable(device: Self.device, group: 7, others: ["0000:00:04.1 (ioatdma)"]))
    let other = FakeKernel.machine()
    other.fail("VFIO_DEVICE_BIND_IOMMUFD", .notPermitted)
    #expect(try failure(other) == .busy(device: Self.device, path: "/dev/vfio/devices/vfio3"))
  }

  @Test("A kernel that does not know the request is too old; EINVAL sends to the other interface")
  func bindUnknown() throws {
    let old = FakeKernel.machine()
    old.fail("VFIO_DEVICE_BIND_IOMMUFD", .inappropriateIOCTLForDevice)
    guard case .unsupportedKernel(Self.device, _) = try failure(old) else {
      Issue.record("another error")
      return
    }
    let refused = FakeKernel.machine()
    refused.fail("VFIO_DEVICE_BIND_IOMMUFD", .invalidArgument)
    #expect(try failure(refused).remedy.contains("group interface"))
  }

  private static let interrupts = "/proc/interrupts"
  private static let reserved = "/sys/kernel/iommu_groups/7/reserved_regions"

  @Test("An attach that is not permitted is the platform's refusal, with the override's place")
  func attachForbidden() throws {
    let kernel = FakeKernel.machine()
    kernel.fail("VFIO_DEVICE_ATTACH_IOMMUFD_PT", .notPermitted)
    guard case .platformRefused(Self.device, let reason) = try failure(kernel) else {
      Issue.record("another error")
      return
    }
    #expect(reason.contains("/sys/module/iommufd/parameters/allow_unsafe_interrupts"))
  }

  @Test(
    "An attach with EINVAL is the platform's refusal where the machine shows why",
    arguments: [
      (reserved, "0x000000007b800000 0x000000007bffffff direct", "0x000000007b800000"),
      (
        interrupts, "  9:  0  IO-APIC  9-fasteoi  acpi\n 24:  0  PCI-MSI  0-edge  nvme0",
        "remapping"
      ),
    ])
  func attachRefused(path: String, text: String, cause: String) throws {
    let kernel = FakeKernel.machine { $0.texts[path] = text }
    kernel.fail("VFIO_DEVICE_ATTACH_IOMMUFD_PT", .invalidArgument)
    guard case .platformRefused(Self.device, let reason) = try failure(kernel) else {
      Issue.record("another error")
      return
    }
    #expect(reason.contains(cause))
  }

  @Test(
    "An attach with EINVAL is the kernel's error, errno and all, where nothing shows why",
    arguments: [
      nil, "  9:  0  IR-IO-APIC  9-fasteoi  acpi\n 24:  0  IR-PCI-MSI  0-edge  nvme0",
      " 11:  0  GICv3  27 Level  arch_timer\n 24:  0  ITS-MSI  0 Edge  nvme0",
    ])
  func attachInvalid(interrupts: String?) throws {
    let kernel = FakeKernel.machine { $0.texts[Self.interrupts] = interrupts }
    kernel.fail("VFIO_DEVICE_ATTACH_IOMMUFD_PT", .invalidArgument)
    let error = try failure(kernel)
    guard case .system(Self.device, let cause) = error else {
      Issue.record("\(error)")
      return
    }
    #expect(cause.errno == .invalidArgument)
    #expect(error.remedy.contains("group interface"))
  }

  @Test("A list of ranges that is longer than expected is asked for again")
  func manyRanges() throws {
    let many = (0..<40).map { (UInt64($0) * 0x10_0000, UInt64($0) * 0x10_0000 + 0x7_ffff) }
    let kernel = FakeKernel.machine { $0.ioasRanges = many }
    let transport = try kernel.openCharacterDevice()
    #expect(transport.iovaRanges.count == 40)
    #expect(transport.iovaRanges.last == 0x270_0000...0x277_ffff)
    #expect(kernel.trace.count { $0 == "IOMMU_IOAS_IOVA_RANGES" } == 2)
  }

  @Test("EMSGSIZE that asks for no more than was offered is an error, not a loop")
  func uselessMessageSize() throws {
    let kernel = FakeKernel.machine()
    kernel.fail("IOMMU_IOAS_IOVA_RANGES", .messageTooLong)
    guard case .system(Self.device, let cause) = try failure(kernel) else {
      Issue.record("another error")
      return
    }
    #expect(cause.errno == .messageTooLong)
  }
}

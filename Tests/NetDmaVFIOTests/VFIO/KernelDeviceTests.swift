// SPDX-License-Identifier: Apache-2.0

import NetDmaVFIO
import TestSupport
import Testing

struct KernelDeviceTests {
  private func kind(
    preferring preferred: KernelInterface, _ change: (inout FakeKernel.State) -> Void = { _ in }
  ) throws -> TransportKind {
    let address = try #require(PCIAddress(FakeKernel.address))
    return try openKernelDevice(
      address: address, preferring: preferred, host: FakeKernel.machine(change).host,
      logger: .silent
    ).kind
  }

  @Test("Where both interfaces exist the preferred one is taken")
  func both() throws {
    #expect(try kind(preferring: .group) == .vfio)
    #expect(try kind(preferring: .characterDevice) == .iommufd)
  }

  @Test(
    "Where only the group exists it is taken", arguments: ["/dev/iommu", "/dev/vfio/devices/vfio3"])
  func onlyGroup(missing: String) throws {
    #expect(try kind(preferring: .characterDevice) { $0.statuses[missing] = nil } == .vfio)
  }

  @Test(
    "Where only the character device exists it is taken",
    arguments: ["/dev/vfio/vfio", "/dev/vfio/7"])
  func onlyCharacterDevice(missing: String) throws {
    #expect(try kind(preferring: .group) { $0.statuses[missing] = nil } == .iommufd)
  }

  @Test("Where neither exists the group's errors explain why")
  func neither() throws {
    let error = try #require(throws: VFIOError.self) {
      _ = try kind(preferring: .characterDevice) { $0.statuses = [:] }
    }
    guard case .vfioMissing(_, let cause) = error else {
      Issue.record("\(error)")
      return
    }
    #expect(cause.subject == "/dev/vfio/vfio")
  }
}

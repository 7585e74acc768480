// SPDX-License-Identifier: Apache-2.0

import NetDmaVFIO
import SystemPackage
import Testing

struct VFIOErrorTests {
  static let call = SystemCallError(call: "open", subject: "/dev/vfio/7", errno: .ioError)
  static let all: [VFIOError] = [
    .noSuchDevice(device: "D"), .noIOMMUGroup(device: "D"), .vfioMissing(device: "D", error: call),
    .notBoundToVFIO(device: "D", driver: "ioatdma"), .notBoundToVFIO(device: "D", driver: nil),
    .groupNotViable(device: "D", group: 7, others: ["A"]),
    .groupNotViable(device: "D", group: 7, others: []), .busy(device: "D", path: "/dev/vfio/7"),
    .permissionDenied(device: "D", path: "/dev/vfio/7"),
    .unsupportedKernel(device: "D", missing: "X"), .noIOMMUMode(device: "D"),
    .platformRefused(device: "D", reason: "It is so."),
    .staleNode(device: "D", path: "/dev/vfio/7"),
    .missingFeature(device: "D", feature: "X"),
    .vectorsExhausted(device: "D", kind: .msix, wanted: 8, offered: 1),
    .lockedMemoryLimit(device: "D", needed: 1, limit: 2),
    .lockedMemoryLimit(device: "D", needed: 1, limit: nil),
    .mappingOverlaps(device: "D", iova: 1, size: 2), .mappingCountExhausted(device: "D"),
    .invalidMapping(device: "D", iova: 1, size: 2, reason: "It is so."),
    .unmapMismatch(device: "D", iova: 1, expected: 2, unmapped: 3),
    .iovaExhausted(device: "D", size: 1),
    .invalidAccess(device: "D", region: 0, offset: 1, width: 2),
    .configurationRefused(device: "D", register: 4, wanted: 6, found: 2),
    .deviceGone(device: "D"), .system(device: "D", error: call),
    .noServer(device: "D", error: call),
    .noServer(
      device: "D", error: SystemCallError(call: "connect", subject: "D", errno: .notSocket)),
    .socketDenied(device: "D"), .serverBusy(device: "D"),
    .refused(device: "D", command: "X", errno: .ioError),
    .protocolViolation(device: "D", command: "X", detail: "It is so."),
    .timedOut(device: "D", command: "X", seconds: 1), .disconnected(device: "D"),
  ]

  @Test("Each error says what, why and what to do, and names the device", arguments: all)
  func sentences(error: VFIOError) {
    #expect(error.device == "D")
    #expect(error.what.contains("D") && error.what.hasSuffix("."))
    #expect(!error.why.isEmpty && error.why.hasSuffix("."))
    #expect(!error.remedy.isEmpty)
    #expect(error.description == "\(error.what) \(error.why) \(error.remedy)")
  }

  @Test(
    "The remedy for a missing node fits the node",
    arguments: [
      ("/dev/vfio/vfio", Errno.noSuchFileOrDirectory, "modprobe vfio-pci"),
      ("/dev/vfio/vfio", .operationNotSupportedByDevice, "modprobe vfio vfio_iommu_type1"),
      ("/dev/iommu", .noSuchFileOrDirectory, "modprobe iommufd"),
      ("/dev/vfio/7", .noSuchFileOrDirectory, "Bind the device again"),
      ("/dev/vfio/devices/vfio3", .noSuchFileOrDirectory, "--device /dev/vfio/devices/vfio3"),
    ])
  func missingNodes(path: String, errno: Errno, remedy: String) {
    let error = VFIOError.vfioMissing(
      device: "D", error: SystemCallError(call: "open", subject: path, errno: errno))
    #expect(error.remedy.contains(remedy))
  }

  @Test(
    "The remedy for a kernel call fits call and errno",
    arguments: [
      ("open", Errno.operationNotSupportedByDevice, "going away"),
      ("open", .tooManyOpenFiles, "ulimit -n"),
      ("VFIO_SET_IOMMU", .resourceBusy, "DMAR"),
      ("VFIO_GROUP_GET_DEVICE_FD", .notPermitted, "CAP_SYS_RAWIO"),
      ("VFIO_IOMMU_MAP_DMA", .noMemory, "out of memory"),
      ("VFIO_DEVICE_SET_IRQS", .invalidArgument, "exclude one another"),
      ("VFIO_DEVICE_ATTACH_IOMMUFD_PT", .invalidArgument, "group interface"),
      ("VFIO_DEVICE_RESET", .resourceTemporarilyUnavailable, "try again"),
      ("VFIO_GROUP_SET_CONTAINER", .badFileDescriptor, "bug"),
      ("VFIO_DEVICE_RESET", .ioError, "dmesg"),
    ])
  func kernelCalls(call: String, errno: Errno, remedy: String) {
    let error = VFIOError.system(
      device: "D", error: SystemCallError(call: call, subject: "X", errno: errno))
    #expect(error.remedy.contains(remedy))
  }
}

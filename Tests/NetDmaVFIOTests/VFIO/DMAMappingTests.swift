// SPDX-License-Identifier: Apache-2.0

import NetDmaVFIO
import SystemPackage
import TestSupport
import Testing

/// Mapping and unmapping through both kernel interfaces.
struct DMAMappingTests {
  static let device = FakeKernel.address
  static let mapCall: [KernelInterface: String] = [
    .group: "VFIO_IOMMU_MAP_DMA", .characterDevice: "IOMMU_IOAS_MAP",
  ]
  static let unmapCall: [KernelInterface: String] = [
    .group: "VFIO_IOMMU_UNMAP_DMA", .characterDevice: "IOMMU_IOAS_UNMAP",
  ]

  private func memory(_ size: UInt64 = 0x2000, at address: UInt = 0x7000_0000) -> DMARegion {
    DMARegion(address: address, size: size)
  }

  private func mapFailure(
    _ interface: KernelInterface, _ errno: Errno, limit: UInt64? = 8 << 20
  ) throws -> VFIOError {
    let kernel = FakeKernel.machine { $0.limit = limit }
    let transport = try kernel.open(interface)
    let call = try #require(Self.mapCall[interface])
    kernel.fail(call, errno)
    let error = try #require(throws: VFIOError.self) {
      try transport.mapDMA(memory(), at: 0x10_0000, permissions: .readWrite)
    }
    // What failed is not in the table: the same range can be mapped now.
    try transport.mapDMA(memory(), at: 0x10_0000, permissions: .readWrite)
    return error
  }

  @Test(
    "What is mapped and unmapped is what the kernel was told", arguments: KernelInterface.allCases)
  func mapAndUnmap(interface: KernelInterface) throws {
    let kernel = FakeKernel.machine()
    let transport = try kernel.open(interface)
    try transport.mapDMA(memory(), at: 0x10_0000, permissions: .readWrite)
    try transport.mapDMA(memory(), at: 0x10_2000, permissions: .read)
    try transport.mapDMA(memory(), at: 0xfef0_0000, permissions: .write)
    #expect(
      kernel.with { $0.mappings } == [0x10_0000: 0x2000, 0x10_2000: 0x2000, 0xfef0_0000: 0x2000])
    let flags = kernel.with { $0.mapFlags }
    switch interface {
    case .group: #expect(flags == [0x10_0000: 3, 0x10_2000: 1, 0xfef0_0000: 2])
    case .characterDevice: #expect(flags == [0x10_0000: 7, 0x10_2000: 5, 0xfef0_0000: 3])
    }
    try transport.unmapDMA(iova: 0x10_2000, size: 0x2000)
    #expect(kernel.with { $0.mappings.keys.sorted() } == [0x10_0000, 0xfef0_0000])
    // And it can be mapped again.
    try transport.mapDMA(memory(), at: 0x10_2000, permissions: .read)
  }

  @Test(
    "What cannot be mapped is refused with its reason, before the kernel is asked",
    arguments: [
      (0x7000_0000, 0x10_0000, 0, "empty"),
      (0x7000_0800, 0x10_0000, 0x1000, "multiples"),
      (0x7000_0000, 0x10_0800, 0x1000, "multiples"),
      (0x7000_0000, 0x10_0000, 0x1800, "multiples"),
      (0x7000_0000, 0xffff_ffff_ffff_f000, 0x2000, "end of the address space"),
      (0xffff_ffff_ffff_f000, 0x10_0000, 0x2000, "end of the address space"),
      (0x7000_0000, 0xfee0_0000, 0x1000, "0xfef00000...0xffffffffffff"),
      (0x7000_0000, 0xfedf_f000, 0x2000, "outside"),
      (0x7000_0000, 0x1_0000_0000_0000, 0x1000, "outside"),
    ] as [(UInt, UInt64, UInt64, String)])
  func refusals(address: UInt, iova: UInt64, size: UInt64, reason: String) throws {
    let kernel = FakeKernel.machine()
    let transport = try kernel.openGroup()
    kernel.clearTrace()
    let error = try #require(throws: VFIOError.self) {
      try transport.mapDMA(memory(size, at: address), at: iova, permissions: .readWrite)
    }
    guard case .invalidMapping(Self.device, iova, size, let why) = error else {
      Issue.record("\(error)")
      return
    }
    #expect(why.contains(reason))
    #expect(kernel.trace.isEmpty)
  }

  @Test("A mapping that the device can neither read nor write is refused")
  func noPermissions() throws {
    let transport = try FakeKernel.machine().openGroup()
    #expect(throws: VFIOError.self) {
      try transport.mapDMA(memory(), at: 0x10_0000, permissions: [])
    }
  }

  @Test("The last page of a range can be mapped, the first page after it cannot")
  func rangeEdges() throws {
    let transport = try FakeKernel.machine().openGroup()
    try transport.mapDMA(memory(0x1000), at: 0xfedf_f000, permissions: .read)
    try transport.mapDMA(memory(0x1000), at: 0xfef0_0000, permissions: .read)
    #expect(throws: VFIOError.self) {
      try transport.mapDMA(memory(0x1000), at: 0xfee0_0000, permissions: .read)
    }
  }

  @Test(
    "An overlap by a single page is refused, whoever notices",
    arguments: [0x10_0000, 0x0f_f000, 0x10_1000, 0x0f_e000 + 0x1000] as [UInt64])
  func overlaps(iova: UInt64) throws {
    let transport = try FakeKernel.machine().openGroup()
    try transport.mapDMA(memory(), at: 0x10_0000, permissions: .readWrite)
    #expect(throws: VFIOError.mappingOverlaps(device: Self.device, iova: iova, size: 0x2000)) {
      try transport.mapDMA(memory(), at: iova, permissions: .readWrite)
    }
    // Neighbours that only touch are no overlap.
    try transport.mapDMA(memory(), at: 0x10_2000, permissions: .readWrite)
    try transport.mapDMA(memory(), at: 0x0f_e000, permissions: .readWrite)
  }

  @Test(
    "The kernel's EEXIST is an overlap, never ignored",
    arguments: KernelInterface.allCases, [.fileExists, .addressInUse] as [Errno])
  func kernelOverlap(interface: KernelInterface, errno: Errno) throws {
    #expect(
      try mapFailure(interface, errno)
        == .mappingOverlaps(device: Self.device, iova: 0x10_0000, size: 0x2000))
  }

  @Test("A used-up budget is said so", arguments: KernelInterface.allCases)
  func budget(interface: KernelInterface) throws {
    #expect(
      try mapFailure(interface, .noSpace) == .mappingCountExhausted(device: Self.device))
  }

  @Test("ENOMEM under a limit names the limit", arguments: KernelInterface.allCases)
  func memoryLimit(interface: KernelInterface) throws {
    let error = try mapFailure(interface, .noMemory, limit: 65_536)
    #expect(
      error == .lockedMemoryLimit(device: Self.device, needed: 0x2000, limit: 65_536))
    #expect(error.why.contains("65536"))
  }

  @Test("ENOMEM without a limit is no matter of limits", arguments: KernelInterface.allCases)
  func outOfMemory(interface: KernelInterface) throws {
    let error = try mapFailure(interface, .noMemory, limit: nil)
    guard case .system = error else {
      Issue.record("\(error)")
      return
    }
    #expect(error.remedy.contains("out of memory"))
  }

  @Test("EFAULT names the memory that cannot be pinned", arguments: KernelInterface.allCases)
  func badMemory(interface: KernelInterface) throws {
    let error = try mapFailure(interface, .badAddress)
    #expect(error.why.contains("8192 bytes at 0x70000000"))
  }

  @Test("EINVAL is an invalid mapping", arguments: KernelInterface.allCases)
  func invalid(interface: KernelInterface) throws {
    guard case .invalidMapping = try mapFailure(interface, .invalidArgument) else {
      Issue.record("another error")
      return
    }
  }

  // MARK: - Unmapping

  @Test(
    "Only what was mapped can be unmapped",
    arguments: [(0x10_0000, 0x1000), (0x10_1000, 0x1000), (0x20_0000, 0x2000), (0x10_0000, 0x3000)]
      as [(UInt64, UInt64)])
  func unmapUnknown(iova: UInt64, size: UInt64) throws {
    let kernel = FakeKernel.machine()
    let transport = try kernel.openGroup()
    try transport.mapDMA(memory(), at: 0x10_0000, permissions: .readWrite)
    kernel.clearTrace()
    let error = try #require(throws: VFIOError.self) {
      try transport.unmapDMA(iova: iova, size: size)
    }
    guard case .invalidMapping(Self.device, iova, size, _) = error else {
      Issue.record("\(error)")
      return
    }
    #expect(kernel.trace.isEmpty)
  }

  @Test(
    "An unmap that removes another number of bytes is an error, and the range stays taken",
    arguments: KernelInterface.allCases, [0, 0x1000, 0x4000] as [UInt64])
  func shortUnmap(interface: KernelInterface, reported: UInt64) throws {
    let kernel = FakeKernel.machine()
    let transport = try kernel.open(interface)
    try transport.mapDMA(memory(), at: 0x10_0000, permissions: .readWrite)
    kernel.with { $0.unmapReport = reported }
    #expect(
      throws: VFIOError.unmapMismatch(
        device: Self.device, iova: 0x10_0000, expected: 0x2000, unmapped: reported)
    ) {
      try transport.unmapDMA(iova: 0x10_0000, size: 0x2000)
    }
    kernel.with { $0.unmapReport = nil }
    #expect(throws: VFIOError.mappingOverlaps(device: Self.device, iova: 0x10_0000, size: 0x2000)) {
      try transport.mapDMA(memory(), at: 0x10_0000, permissions: .readWrite)
    }
  }

  @Test(
    "ENOENT and EINVAL mean that nothing was unmapped", arguments: KernelInterface.allCases,
    [.noSuchFileOrDirectory, .invalidArgument] as [Errno])
  func nothingUnmapped(interface: KernelInterface, errno: Errno) throws {
    let kernel = FakeKernel.machine()
    let transport = try kernel.open(interface)
    try transport.mapDMA(memory(), at: 0x10_0000, permissions: .readWrite)
    kernel.fail(try #require(Self.unmapCall[interface]), errno)
    #expect(
      throws: VFIOError.unmapMismatch(
        device: Self.device, iova: 0x10_0000, expected: 0x2000, unmapped: 0)
    ) {
      try transport.unmapDMA(iova: 0x10_0000, size: 0x2000)
    }
  }

  @Test(
    "The end removes what is left, before the device closes", arguments: KernelInterface.allCases)
  func endRemovesAll(interface: KernelInterface) throws {
    let kernel = FakeKernel.machine()
    let unmap = try #require(Self.unmapCall[interface])
    do {
      let transport = try kernel.open(interface)
      try transport.mapDMA(memory(), at: 0x10_0000, permissions: .readWrite)
      try transport.mapDMA(memory(), at: 0x20_0000, permissions: .readWrite)
      // One that the kernel does not know any more must not stop the others.
      kernel.with { _ = $0.mappings.removeValue(forKey: 0x10_0000) }
      kernel.clearTrace()
    }
    #expect(kernel.with { $0.mappings.isEmpty })
    let trace = kernel.trace
    #expect(trace.count { $0 == unmap } == 2)
    let lastUnmap = try #require(trace.lastIndex(of: unmap))
    let close = try #require(trace.firstIndex(of: "close device"))
    #expect(lastUnmap < close)
  }

  @Test("Threads that map and unmap at once leave the table and the kernel agreeing")
  func concurrency() async throws {
    let kernel = FakeKernel.machine()
    let transport = try kernel.openGroup()
    await withTaskGroup(of: Int.self) { group in
      for lane in 0..<8 {
        group.addTask {
          let base = 0x1_0000_0000 + UInt64(lane) * 0x10_0000
          var failures = 0
          for _ in 0..<100 {
            do {
              try transport.mapDMA(
                DMARegion(address: 0x7000_0000, size: 0x1000), at: base, permissions: .read)
              try transport.unmapDMA(iova: base, size: 0x1000)
            } catch {
              failures += 1
            }
          }
          return failures
        }
      }
      for await failures in group { #expect(failures == 0) }
    }
    #expect(kernel.with { $0.mappings.isEmpty })
  }
}

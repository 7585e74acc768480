// SPDX-License-Identifier: Apache-2.0

import NetDmaVFIO
import SystemPackage
import TestSupport
import Testing

struct VFIODeviceRegionTests {
  static let device = FakeKernel.address
  private let bar0 = RegionIndex.bar0
  private let configuration = RegionIndex.configuration

  private func transport(_ change: (inout FakeKernel.State) -> Void = { _ in }) throws
    -> (FakeKernel, VFIOKernelTransport)
  {
    let kernel = FakeKernel.machine(change)
    return (kernel, try kernel.openGroup())
  }

  // MARK: - What a region is

  @Test("A region is asked for once")
  func regionIsCached() throws {
    let (kernel, transport) = try transport()
    kernel.clearTrace()
    for _ in 0..<3 { _ = try transport.regionInfo(bar0) }
    // Two calls, because the first reply does not fit.
    #expect(kernel.trace.count { $0 == "VFIO_DEVICE_GET_REGION_INFO" } == 2)
  }

  @Test("Regions that do not exist have size 0", arguments: [1, 8, 9, 100] as [UInt32])
  func absentRegions(index: UInt32) throws {
    let (_, transport) = try transport()
    let info = try transport.regionInfo(RegionIndex(rawValue: index))
    #expect(info.size == 0)
    #expect(info.mappableAreas.isEmpty)
    #expect(throws: VFIOError.self) {
      try transport.read(RegionIndex(rawValue: index), at: 0, width: .byte)
    }
  }

  @Test("With MSIX_MAPPABLE the whole BAR may be mapped")
  func msixMappable() throws {
    let (_, transport) = try transport()
    #expect(try transport.regionInfo(bar0).mappableAreas == [0..<0x4000])
  }

  @Test("Without it the pages of the vector table are left out")
  func msixTableLeftOut() throws {
    let (_, transport) = try transport { $0.regions[0]?.capabilities = [] }
    #expect(try transport.regionInfo(bar0).mappableAreas == [0..<0x2000, 0x3000..<0x4000])
  }

  @Test("A table that spans pages takes all of them out")
  func longTable() throws {
    let (_, transport) = try transport { state in
      state.regions[0]?.capabilities = []
      // 512 vectors of 16 bytes from 0xff0 on: pages 0 to 2.
      state.regions[7]?.contents.replaceSubrange(
        0x82..<0x88, with: [0xff, 0x01, 0xf0, 0x0f, 0x00, 0x00])
    }
    #expect(try transport.regionInfo(bar0).mappableAreas == [0x3000..<0x4000])
  }

  @Test("A table in another BAR takes nothing out of this one")
  func tableElsewhere() throws {
    let (_, transport) = try transport { state in
      state.regions[0]?.capabilities = []
      state.regions[7]?.contents[0x84] = 0x02
    }
    #expect(try transport.regionInfo(bar0).mappableAreas == [0..<0x4000])
  }

  @Test("A sparse list is what may be mapped, as far as it makes sense")
  func sparse() throws {
    let (_, transport) = try transport {
      $0.regions[0]?.capabilities =
        FakeKernel.sparseCapability(
          [
            (0x3000, 0x1000), (0, 0x1000), (0x1000, 0x800), (0x10000, 0x1000),
            (0x3000, .max), (0x2800, 0x1800), (0, 0),
          ], next: 32 + 16 + 7 * 16) + FakeKernel.emptyCapability(3)
    }
    #expect(
      try transport.regionInfo(bar0).mappableAreas == [
        0..<0x1000, 0x3000..<0x4000, 0x3000..<0x4000,
      ])
  }

  @Test("A sparse list that offers the vector table is not believed")
  func sparseWithTable() throws {
    let (_, transport) = try transport {
      $0.regions[0]?.capabilities = FakeKernel.sparseCapability([(0, 0x4000)])
    }
    #expect(try transport.regionInfo(bar0).mappableAreas == [0..<0x2000, 0x3000..<0x4000])
  }

  @Test("An empty sparse list means that nothing may be mapped")
  func sparseEmpty() throws {
    let (_, transport) = try transport {
      $0.regions[0]?.capabilities = FakeKernel.sparseCapability([])
    }
    #expect(try transport.regionInfo(bar0).mappableAreas.isEmpty)
  }

  @Test("A region without the flag is not mapped")
  func notMappable() throws {
    let (_, transport) = try transport {
      $0.regions[0]?.flags = 3
      $0.regions[0]?.capabilities = []
    }
    #expect(try transport.regionInfo(bar0).mappableAreas.isEmpty)
  }

  // MARK: - Access

  @Test("Every width reads and writes exactly its bytes", arguments: AccessWidth.allCases)
  func widths(width: AccessWidth) throws {
    let (kernel, transport) = try transport()
    _ = try transport.regionInfo(bar0)
    kernel.clearTrace()
    let value: UInt64 = 0x8877_6655_4433_2211
    try transport.write(bar0, at: 0x40, width: width, value: value)
    let bytes = (0x40..<0x50).map { index in
      kernel.with { $0.regions[0]?.contents[index] ?? 0 }
    }
    let expected: [UInt8] = [0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88]
    #expect(
      bytes == expected.prefix(width.rawValue) + [UInt8](repeating: 0, count: 16 - width.rawValue))
    let mask = width == .qword ? UInt64.max : (1 << UInt64(8 * width.rawValue)) - 1
    #expect(try transport.read(bar0, at: 0x40, width: width) == value & mask)
    #expect(kernel.trace.count == 1)
  }

  @Test(
    "Accesses that are misaligned or leave the region are refused",
    arguments: [
      (0x4000, .byte), (0x3fff, .word), (0x3ffe, .dword), (0x3ffc, .qword), (0x41, .word),
      (0x42, .dword), (0x44, .qword), (.max, .byte), (.max - 7, .qword),
    ] as [(UInt64, AccessWidth)])
  func badAccesses(offset: UInt64, width: AccessWidth) throws {
    let (kernel, transport) = try transport()
    kernel.clearTrace()
    let expected = VFIOError.invalidAccess(
      device: Self.device, region: 0, offset: offset, width: width.rawValue)
    #expect(throws: expected) { try transport.read(bar0, at: offset, width: width) }
    #expect(throws: expected) { try transport.write(bar0, at: offset, width: width, value: 0) }
    #expect(!kernel.trace.contains { $0.hasPrefix("write") })
  }

  @Test("Configuration space takes no 64-bit accesses")
  func wideConfigurationAccess() throws {
    let (_, transport) = try transport()
    #expect(throws: VFIOError.self) { try transport.read(configuration, at: 0, width: .qword) }
    #expect(try transport.read(configuration, at: 0, width: .dword) == 0x2021_8086)
  }

  @Test("A region that may not be written or read is not")
  func directions() throws {
    let (_, transport) = try transport {
      $0.regions[2] = FakeKernel.Region(size: 0x1000, flags: 1)
      $0.regions[3] = FakeKernel.Region(size: 0x1000, flags: 2)
    }
    #expect(try transport.read(RegionIndex(rawValue: 2), at: 0, width: .byte) == 0)
    #expect(throws: VFIOError.self) {
      try transport.write(RegionIndex(rawValue: 2), at: 0, width: .byte, value: 1)
    }
    try transport.write(RegionIndex(rawValue: 3), at: 0, width: .byte, value: 1)
    #expect(throws: VFIOError.self) {
      try transport.read(RegionIndex(rawValue: 3), at: 0, width: .byte)
    }
  }

  @Test("A short count or EINVAL is an access that is not possible")
  func shortCounts() throws {
    // Configuration space claims 4096 bytes and has 256.
    let (kernel, transport) = try transport {
      $0.regions[7]?.contents = Array(FakeKernel.configuration().prefix(256))
    }
    let expected = VFIOError.invalidAccess(device: Self.device, region: 7, offset: 0x180, width: 4)
    #expect(throws: expected) { try transport.read(configuration, at: 0x180, width: .dword) }
    #expect(throws: expected) {
      try transport.write(configuration, at: 0x180, width: .dword, value: 0)
    }
    kernel.fail("pread", .invalidArgument)
    #expect(throws: VFIOError.invalidAccess(device: Self.device, region: 0, offset: 0, width: 1)) {
      try transport.read(bar0, at: 0, width: .byte)
    }
  }

  @Test("ENODEV from an access means that the device is gone")
  func gone() throws {
    let (kernel, transport) = try transport()
    kernel.fail("pread", .operationNotSupportedByDevice)
    #expect(throws: VFIOError.deviceGone(device: Self.device)) {
      try transport.read(bar0, at: 0, width: .byte)
    }
    kernel.fail("pwrite", .ioError)
    let error = try #require(throws: VFIOError.self) {
      try transport.write(bar0, at: 8, width: .byte, value: 0)
    }
    #expect(error.why.contains("region 0 at 0x8"))
  }

  // MARK: - Mapping

  @Test("Pages inside one area are mapped at the region's place in the file")
  func mapping() throws {
    let (kernel, transport) = try transport { $0.regions[0]?.capabilities = [] }
    kernel.clearTrace()
    let mapping = try transport.map(bar0, range: 0x3000..<0x4000)
    #expect(mapping.count == 0x1000)
    #expect(kernel.trace.last == "mmap region 0 at 3000 4096")
  }

  @Test(
    "What is not wholly inside one area is not mapped",
    arguments: [0x1000..<0x3000, 0x2000..<0x3000, 0..<0x800, 0x800..<0x1800, 0..<0, 0..<0x10000]
      as [Range<UInt64>])
  func badMappings(range: Range<UInt64>) throws {
    let (kernel, transport) = try transport { $0.regions[0]?.capabilities = [] }
    #expect(throws: VFIOError.self) {
      _ = try transport.map(bar0, range: range)
    }
    #expect(!kernel.trace.contains { $0.hasPrefix("mmap") })
  }

  @Test("A kernel that refuses to map says why")
  func mappingFails() throws {
    let (kernel, transport) = try transport()
    kernel.fail("mmap", .invalidArgument)
    let error = try #require(throws: VFIOError.self) {
      _ = try transport.map(bar0, range: 0..<0x1000)
    }
    guard case .system(Self.device, let cause) = error else {
      Issue.record("\(error)")
      return
    }
    #expect(cause.call == "mmap")
  }
}

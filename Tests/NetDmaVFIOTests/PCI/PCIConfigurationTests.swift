// SPDX-License-Identifier: Apache-2.0

import NetDmaVFIO
import Synchronization
import SystemPackage
import TestSupport
import Testing

struct PCIConfigurationTests {
  static let device = FakeKernel.address

  private func configuration(_ change: (inout [UInt8]) -> Void = { _ in }) throws
    -> (FakeKernel, PCIConfiguration)
  {
    var bytes = FakeKernel.configuration()
    change(&bytes)
    let kernel = FakeKernel.machine {
      $0.regions[7] = FakeKernel.Region(size: UInt64(bytes.count), flags: 3, contents: bytes)
    }
    return (kernel, PCIConfiguration(try kernel.openGroup()))
  }

  private func stored(_ kernel: FakeKernel, _ range: Range<Int>) -> [UInt8] {
    kernel.with { Array($0.regions[7]?.contents[range] ?? []) }
  }

  @Test("Registers are read and written in their width")
  func registers() throws {
    let (kernel, configuration) = try configuration()
    #expect(try configuration.size == 4096)
    #expect(try configuration.read16(at: 0) == 0x8086)
    #expect(try configuration.read32(at: 0) == 0x2021_8086)
    #expect(try configuration.read8(at: 0x34) == 0x80)
    try configuration.write8(0xaa, at: 0x40)
    try configuration.write16(0xbbcc, at: 0x42)
    try configuration.write32(0x1122_3344, at: 0x44)
    #expect(stored(kernel, 0x40..<0x48) == [0xaa, 0, 0xcc, 0xbb, 0x44, 0x33, 0x22, 0x11])
  }

  // MARK: - COMMAND

  @Test("Bus mastering is set and cleared without touching other bits")
  func busMaster() throws {
    let (kernel, configuration) = try configuration { $0[4] = 0x42 }
    try configuration.setBusMaster(true)
    #expect(stored(kernel, 4..<6) == [0x46, 0])
    kernel.with { $0.trace = [] }
    try configuration.setBusMaster(true)
    #expect(kernel.trace.isEmpty)
    try configuration.setBusMaster(false)
    #expect(stored(kernel, 4..<6) == [0x42, 0])
  }

  @Test("Enabling memory silences the pin too")
  func memory() throws {
    let (kernel, configuration) = try configuration()
    try configuration.enableMemory()
    #expect(stored(kernel, 4..<6) == [0x02, 0x04])
    #expect(try configuration.command() == [.memorySpace, .interruptDisable])
  }

  @Test("A bit that does not take is an error that shows both values")
  func stuckBit() throws {
    let transport = StuckCommandTransport()
    #expect(
      throws: VFIOError.configurationRefused(
        device: "stuck", register: 4, wanted: 0x4, found: 0)
    ) {
      try PCIConfiguration(transport).setBusMaster(true)
    }
  }

  @Test("A pin that cannot be silenced does not matter")
  func stuckPin() throws {
    let transport = StuckCommandTransport(writable: 0x0002)
    try PCIConfiguration(transport).enableMemory()
  }

  @Test("All-ones means that the device is gone")
  func gone() throws {
    let (_, configuration) = try configuration { bytes in
      for index in bytes.indices { bytes[index] = 0xff }
    }
    #expect(throws: VFIOError.deviceGone(device: Self.device)) { try configuration.command() }
    #expect(throws: VFIOError.deviceGone(device: Self.device)) {
      try configuration.setBusMaster(false)
    }
    #expect(try configuration.capabilities().isEmpty)
    #expect(try configuration.extendedCapabilities().isEmpty)
  }

  // MARK: - Capabilities

  @Test("Both lists are walked in order")
  func lists() throws {
    let (_, configuration) = try configuration()
    #expect(
      try configuration.capabilities() == [
        PCICapability(id: 0x11, offset: 0x80, isExtended: false),
        PCICapability(id: 0x10, offset: 0x90, isExtended: false),
      ])
    #expect(
      try configuration.extendedCapabilities() == [
        PCICapability(id: 0x0001, offset: 0x100, isExtended: true),
        PCICapability(id: 0x000b, offset: 0x140, isExtended: true),
      ])
    #expect(try configuration.offset(ofCapability: PCICapabilityID.express) == 0x90)
    #expect(try configuration.offset(ofCapability: PCICapabilityID.msi) == nil)
  }

  @Test("MSI-X is decoded as the specification lays it out")
  func msix() throws {
    let (_, configuration) = try configuration()
    let msix = try #require(try configuration.msix())
    #expect(msix.offset == 0x80)
    #expect(msix.vectorCount == 4)
    #expect(msix.table == BARLocation(bar: 0, offset: 0x2000))
    #expect(msix.pendingBits == BARLocation(bar: 0, offset: 0x3000))
    #expect(msix.tableRange == 0x2000..<0x2040)
    // Enable and mask bits of message control are no part of the size.
    let largest = MSIXCapability(offset: 0, control: 0xffff, table: 0x1005, pendingBits: 0)
    #expect(largest.vectorCount == 2048)
    #expect(largest.table == BARLocation(bar: 5, offset: 0x1000))
  }

  @Test("A function without a list has no capabilities")
  func noList() throws {
    let (_, configuration) = try configuration { $0[6] = 0 }
    #expect(try configuration.capabilities().isEmpty)
    #expect(try configuration.msix() == nil)
    #expect(try configuration.clearRelaxedOrdering() == false)
  }

  @Test("Lists that loop, or lead into the header, end", arguments: [0x80, 0x90, 0x04, 0x3c, 0x01])
  func brokenList(next: UInt8) throws {
    let (_, configuration) = try configuration { $0[0x91] = next }
    #expect(try configuration.capabilities().map(\.offset) == [0x80, 0x90])
  }

  @Test("A list of every possible entry is walked to its end")
  func longestList() throws {
    let (_, configuration) = try configuration { bytes in
      bytes[0x34] = 0x40
      for offset in stride(from: 0x40, to: 0x100, by: 4) {
        bytes[offset] = 0x09
        bytes[offset + 1] = UInt8(truncatingIfNeeded: offset + 4)
      }
    }
    #expect(try configuration.capabilities().count == 48)
  }

  @Test("The low bits of links are reserved and ignored")
  func reservedLinkBits() throws {
    let (_, configuration) = try configuration {
      $0[0x34] = 0x83
      $0[0x81] = 0x92
    }
    #expect(try configuration.capabilities().map(\.offset) == [0x80, 0x90])
  }

  @Test(
    "An extended list that loops or leaves configuration space ends",
    arguments: [0x100, 0x0fc, 0x140, 0])
  func brokenExtendedList(next: Int) throws {
    let (_, configuration) = try configuration { bytes in
      bytes[0x142] = UInt8(truncatingIfNeeded: (next & 0xf) << 4 | 1)
      bytes[0x143] = UInt8(truncatingIfNeeded: next >> 4)
    }
    #expect(try configuration.extendedCapabilities().map(\.offset) == [0x100, 0x140])
  }

  @Test("With 256 bytes there is no extended list, and its registers are absent")
  func conventionalSpace() throws {
    let (_, configuration) = try configuration { $0 = Array($0.prefix(256)) }
    #expect(try configuration.size == 256)
    #expect(try configuration.extendedCapabilities().isEmpty)
    #expect(try configuration.readIfPresent(at: 0x180) == nil)
    #expect(try configuration.acknowledge(at: 0x180) == nil)
    #expect(throws: VFIOError.self) { try configuration.read32(at: 0x180) }
  }

  @Test("Extended space that is claimed but not reachable counts as absent")
  func unreachableSpace() throws {
    let kernel = FakeKernel.machine {
      $0.regions[7]?.contents = Array(FakeKernel.configuration().prefix(256))
    }
    let configuration = PCIConfiguration(try kernel.openGroup())
    #expect(try configuration.readIfPresent(at: 0x180) == nil)
    #expect(try configuration.extendedCapabilities().isEmpty)
  }

  @Test("Acknowledging writes back exactly what was set")
  func acknowledging() throws {
    let (kernel, configuration) = try configuration {
      $0.replaceSubrange(0x180..<0x184, with: [0x01, 0, 0x10, 0])
    }
    #expect(try configuration.size == 4096)
    kernel.with { $0.trace = [] }
    #expect(try configuration.acknowledge(at: 0x180) == 0x0010_0001)
    #expect(kernel.trace == ["write region 7 at 180: 1 0 10 0"])
    #expect(try configuration.acknowledge(at: 0x184) == 0)
    #expect(kernel.trace.count == 1)
  }

  @Test("Errors that are no absence are passed on")
  func realErrors() throws {
    let (kernel, configuration) = try configuration()
    kernel.fail("pread", .operationNotSupportedByDevice)
    #expect(throws: VFIOError.deviceGone(device: Self.device)) {
      try configuration.readIfPresent(at: 0x180)
    }
  }

  @Test("Relaxed ordering is cleared, alone")
  func relaxedOrdering() throws {
    let (kernel, configuration) = try configuration()
    #expect(try configuration.clearRelaxedOrdering())
    #expect(stored(kernel, 0x98..<0x9a) == [0x00, 0x28])
    kernel.with { $0.trace = [] }
    #expect(try configuration.clearRelaxedOrdering())
    #expect(kernel.trace.isEmpty)
  }
}

/// A function whose COMMAND keeps only some bits.
private final class StuckCommandTransport: DeviceTransport {
  let name = "stuck"
  let kind = TransportKind.mock
  let supportsReset = false
  let numaNode: Int? = nil
  let iovaRanges: [ClosedRange<UInt64>] = []
  let iovaPageSize: UInt64 = 4096
  private let writable: UInt64
  private let command = Atomic<UInt64>(0)

  init(writable: UInt64 = 0) { self.writable = writable }

  func regionInfo(_ region: RegionIndex) throws(VFIOError) -> RegionInfo {
    RegionInfo(size: 256, isReadable: true, isWritable: true)
  }
  func read(_ region: RegionIndex, at offset: UInt64, width: AccessWidth) throws(VFIOError)
    -> UInt64
  { offset == 4 ? command.load(ordering: .relaxed) : 0 }
  func write(
    _ region: RegionIndex, at offset: UInt64, width: AccessWidth, value: UInt64
  ) throws(VFIOError) {
    if offset == 4 { command.store(value & writable, ordering: .relaxed) }
  }
  func map(_ region: RegionIndex, range: Range<UInt64>) throws(VFIOError) -> MemoryMapping {
    throw .missingFeature(device: name, feature: "mapping")
  }
  func mapDMA(_ memory: DMARegion, at iova: UInt64, permissions: DMAPermissions) {}
  func unmapDMA(iova: UInt64, size: UInt64) {}
  func interruptCount(_ index: IRQIndex) -> Int { 0 }
  func enableInterrupts(_ index: IRQIndex, eventFDs: [CInt]) {}
  func disableInterrupts(_ index: IRQIndex) {}
  func triggerInterrupt(_ index: IRQIndex, vector: Int) {}
  func reset() {}
}

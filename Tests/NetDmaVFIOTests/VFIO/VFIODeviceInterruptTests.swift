// SPDX-License-Identifier: Apache-2.0

import NetDmaVFIO
import SystemPackage
import TestSupport
import Testing

struct VFIODeviceInterruptTests {
  static let device = FakeKernel.address

  private func recipes(_ kernel: FakeKernel) -> [String] {
    kernel.trace.filter { $0.hasPrefix("  irq") }.map { String($0.dropFirst(2)) }
  }

  @Test("Counts are those of the kernel, 0 for an index that it does not know")
  func counts() throws {
    let kernel = FakeKernel.machine { $0.interrupts[3] = nil }
    let transport = try kernel.openGroup()
    #expect(try transport.interruptCount(.intx) == 1)
    #expect(try transport.interruptCount(.msi) == 0)
    #expect(try transport.interruptCount(.msix) == 4)
    #expect(try transport.interruptCount(.error) == 0)
    #expect(try transport.interruptCount(.request) == 1)
  }

  @Test("An index beyond those of the device has no vectors and is not asked for")
  func fewIndexes() throws {
    let kernel = FakeKernel.machine { $0.interruptCount = 3 }
    let transport = try kernel.openGroup()
    kernel.clearTrace()
    #expect(try transport.interruptCount(.request) == 0)
    #expect(kernel.trace.isEmpty)
  }

  @Test("Vectors are connected in one block, holes kept")
  func connecting() throws {
    let kernel = FakeKernel.machine()
    let transport = try kernel.openGroup()
    let first = try EventFD()
    let second = try EventFD()
    try transport.enableInterrupts(
      .msix, eventFDs: [first.rawValue, -1, second.rawValue])
    #expect(recipes(kernel) == ["irq 2 flags 24 start 0 count 3"])
    #expect(
      kernel.with { $0.interrupts[2]?.connected } == [first.rawValue, -1, second.rawValue])
  }

  @Test("Connecting again disconnects first, since an enabled index takes no more vectors")
  func replacing() throws {
    let kernel = FakeKernel.machine()
    let transport = try kernel.openGroup()
    let event = try EventFD()
    try transport.enableInterrupts(.msix, eventFDs: [event.rawValue])
    try transport.enableInterrupts(.msix, eventFDs: [event.rawValue, event.rawValue])
    try transport.enableInterrupts(.msix, eventFDs: [event.rawValue])
    #expect(
      recipes(kernel) == [
        "irq 2 flags 24 start 0 count 1", "irq 2 flags 21 start 0 count 0",
        "irq 2 flags 24 start 0 count 2", "irq 2 flags 21 start 0 count 0",
        "irq 2 flags 24 start 0 count 1",
      ])
    #expect(kernel.with { $0.interrupts[2]?.connected?.count } == 1)
  }

  @Test("Disconnecting has count 0, for any other count would fire the vectors")
  func disconnecting() throws {
    let kernel = FakeKernel.machine()
    let transport = try kernel.openGroup()
    let event = try EventFD()
    try transport.enableInterrupts(.msix, eventFDs: [event.rawValue])
    try transport.disableInterrupts(.msix)
    #expect(recipes(kernel).last == "irq 2 flags 21 start 0 count 0")
    #expect(event.drain() == 0)
    #expect(kernel.with { $0.interrupts[2]?.connected } == nil)
  }

  @Test("Disconnecting what was not connected is no error and no call")
  func disconnectingNothing() throws {
    let kernel = FakeKernel.machine()
    let transport = try kernel.openGroup()
    kernel.clearTrace()
    for index in IRQIndex.allCases { try transport.disableInterrupts(index) }
    #expect(kernel.trace.isEmpty)
  }

  @Test("EINVAL from disconnecting means that it is so already; other errors are errors")
  func disconnectingFails() throws {
    let kernel = FakeKernel.machine()
    let transport = try kernel.openGroup()
    let event = try EventFD()
    try transport.enableInterrupts(.msix, eventFDs: [event.rawValue])
    kernel.with { $0.interrupts[2]?.connected = nil }
    try transport.disableInterrupts(.msix)
    try transport.enableInterrupts(.msix, eventFDs: [event.rawValue])
    kernel.fail("VFIO_DEVICE_SET_IRQS", .ioError)
    #expect(throws: VFIOError.self) { try transport.disableInterrupts(.msix) }
    // Still connected, so another attempt is made.
    try transport.disableInterrupts(.msix)
    #expect(kernel.with { $0.interrupts[2]?.connected } == nil)
  }

  @Test("An empty list disconnects")
  func emptyList() throws {
    let kernel = FakeKernel.machine()
    let transport = try kernel.openGroup()
    let event = try EventFD()
    try transport.enableInterrupts(.msix, eventFDs: [event.rawValue])
    try transport.enableInterrupts(.msix, eventFDs: [])
    #expect(kernel.with { $0.interrupts[2]?.connected } == nil)
  }

  @Test("More vectors than there are, or none that eventfds can have, are refused")
  func tooMany() throws {
    let kernel = FakeKernel.machine { $0.interrupts[1] = .init(count: 8, flags: 0) }
    let transport = try kernel.openGroup()
    kernel.clearTrace()
    for (index, count) in [(IRQIndex.msix, 5), (.msi, 1), (.error, 2)] {
      #expect(throws: VFIOError.self) {
        try transport.enableInterrupts(
          index, eventFDs: [CInt](repeating: -1, count: count))
      }
    }
    #expect(recipes(kernel).isEmpty)
  }

  @Test("A refusal to connect leaves nothing believed connected")
  func connectingFails() throws {
    let kernel = FakeKernel.machine()
    let transport = try kernel.openGroup()
    let event = try EventFD()
    kernel.fail("VFIO_DEVICE_SET_IRQS", .noSpace)
    #expect(throws: VFIOError.self) {
      try transport.enableInterrupts(.msix, eventFDs: [event.rawValue])
    }
    kernel.clearTrace()
    try transport.disableInterrupts(.msix)
    #expect(kernel.trace.isEmpty)
  }

  @Test(
    "Fewer vectors than were asked for are an error that tells both, and none is believed connected",
    arguments: KernelInterface.allCases)
  func fewVectors(interface: KernelInterface) throws {
    let kernel = FakeKernel.machine { $0.freeVectors = 1 }
    let transport = try kernel.open(interface)
    let event = try EventFD()
    let error = try #require(throws: VFIOError.self) {
      try transport.enableInterrupts(.msix, eventFDs: [event.rawValue, event.rawValue])
    }
    #expect(
      error == .vectorsExhausted(device: Self.device, kind: .msix, wanted: 2, offered: 1))
    kernel.clearTrace()
    try transport.disableInterrupts(.msix)
    #expect(kernel.trace.isEmpty)
    // As many as there are can be had.
    try transport.enableInterrupts(.msix, eventFDs: [event.rawValue])
    try transport.triggerInterrupt(.msix, vector: 0)
    #expect(event.drain() == 1)
  }

  @Test("Two kinds of interrupt exclude one another, and the remedy says so")
  func exclusion() throws {
    let kernel = FakeKernel.machine()
    let transport = try kernel.openGroup()
    let event = try EventFD()
    try transport.enableInterrupts(.intx, eventFDs: [event.rawValue])
    let error = try #require(throws: VFIOError.self) {
      try transport.enableInterrupts(.msix, eventFDs: [event.rawValue])
    }
    #expect(error.remedy.contains("exclude one another"))
    try transport.disableInterrupts(.intx)
    try transport.enableInterrupts(.msix, eventFDs: [event.rawValue])
  }

  @Test("A trigger fires one vector's eventfd and no other")
  func triggering() throws {
    let kernel = FakeKernel.machine()
    let transport = try kernel.openGroup()
    let first = try EventFD()
    let second = try EventFD()
    try transport.enableInterrupts(.msix, eventFDs: [first.rawValue, second.rawValue])
    try transport.triggerInterrupt(.msix, vector: 1)
    #expect(recipes(kernel).last == "irq 2 flags 21 start 1 count 1")
    #expect(first.drain() == 0)
    #expect(second.drain() == 1)
  }

  @Test(
    "A trigger of what is not there is an error",
    arguments: [(IRQIndex.msix, 4), (.msix, -1), (.msi, 0), (.msix, .max)])
  func triggeringNothing(index: IRQIndex, vector: Int) throws {
    let transport = try FakeKernel.machine().openGroup()
    #expect(throws: VFIOError.self) { try transport.triggerInterrupt(index, vector: vector) }
  }

  @Test("A trigger of a vector that is not connected is the kernel's error")
  func triggeringDisconnected() throws {
    let transport = try FakeKernel.machine().openGroup()
    #expect(throws: VFIOError.self) { try transport.triggerInterrupt(.msix, vector: 0) }
  }

  @Test(
    "Error and request notifiers are connected like vectors", arguments: [IRQIndex.error, .request])
  func notifiers(index: IRQIndex) throws {
    let kernel = FakeKernel.machine()
    let transport = try kernel.openGroup()
    let event = try EventFD()
    try transport.enableInterrupts(index, eventFDs: [event.rawValue])
    #expect(recipes(kernel) == ["irq \(index.rawValue) flags 24 start 0 count 1"])
    try transport.triggerInterrupt(index, vector: 0)
    #expect(event.drain() == 1)
  }

  // MARK: - Reset and the end

  @Test("A reset takes the function off the bus and disconnects its vectors, not the notifiers")
  func reset() throws {
    let kernel = FakeKernel.machine()
    let transport = try kernel.openGroup()
    let event = try EventFD()
    try transport.enableInterrupts(.msix, eventFDs: [event.rawValue])
    try transport.enableInterrupts(.request, eventFDs: [event.rawValue])
    try PCIConfiguration(transport).setBusMaster(true)
    kernel.clearTrace()
    try transport.reset()
    #expect(kernel.with { $0.resets } == 1)
    #expect(kernel.with { $0.interrupts[2]?.connected } == nil)
    #expect(kernel.with { $0.interrupts[4]?.connected } == [event.rawValue])
    #expect(try PCIConfiguration(transport).command().contains(.busMaster) == false)
    // Before the reset, since the kernel restores configuration space afterwards.
    let write = try #require(kernel.trace.firstIndex { $0.hasPrefix("write region 7 at 4") })
    let call = try #require(kernel.trace.firstIndex(of: "VFIO_DEVICE_RESET"))
    #expect(write < call)
    try transport.enableInterrupts(.msix, eventFDs: [event.rawValue, event.rawValue])
  }

  @Test("A function without reset says so", arguments: [false, true])
  func noReset(onlyWhenAsked: Bool) throws {
    let kernel = FakeKernel.machine { $0.deviceFlags = onlyWhenAsked ? 3 : 2 }
    let transport = try kernel.openGroup()
    #expect(transport.supportsReset == onlyWhenAsked)
    kernel.fail("VFIO_DEVICE_RESET", .invalidArgument)
    let error = try #require(throws: VFIOError.self) { try transport.reset() }
    guard case .missingFeature(Self.device, _) = error else {
      Issue.record("\(error)")
      return
    }
  }

  @Test("A reset waits for what holds the function's lock")
  func resetContention() throws {
    let kernel = FakeKernel.machine()
    let transport = try kernel.openGroup()
    kernel.fail(
      "VFIO_DEVICE_RESET", .resourceTemporarilyUnavailable, .resourceTemporarilyUnavailable)
    try transport.reset()
    #expect(kernel.with { $0.resets } == 1)
    #expect(kernel.trace.count { $0 == "VFIO_DEVICE_RESET" } == 3)
  }

  @Test("A lock that is never let go is told, with what to do, and the next reset works")
  func endlessContention() throws {
    let kernel = FakeKernel.machine()
    let transport = try kernel.openGroup()
    kernel.with {
      $0.failures["VFIO_DEVICE_RESET"] = Array(
        repeating: .resourceTemporarilyUnavailable, count: 100_000)
    }
    let error = try #require(throws: VFIOError.self) { try transport.reset() }
    guard case .system(Self.device, let cause) = error else {
      Issue.record("\(error)")
      return
    }
    #expect(cause.errno == .resourceTemporarilyUnavailable)
    #expect(error.remedy.contains("try again"))
    kernel.with { $0.failures = [:] }
    try transport.reset()
  }

  @Test("Mappings survive a reset")
  func resetKeepsMappings() throws {
    let kernel = FakeKernel.machine()
    let transport = try kernel.openGroup()
    try transport.mapDMA(
      DMARegion(address: 0x7000_0000, size: 0x1000), at: 0x10_0000, permissions: .read)
    try transport.reset()
    try transport.unmapDMA(iova: 0x10_0000, size: 0x1000)
  }

  @Test(
    "The end is bus mastering off, interrupts off, mappings gone, then the descriptors",
    arguments: KernelInterface.allCases)
  func end(interface: KernelInterface) throws {
    let kernel = FakeKernel.machine()
    let event = try EventFD()
    do {
      let transport = try kernel.open(interface)
      let configuration = PCIConfiguration(transport)
      try configuration.enableMemory()
      try configuration.setBusMaster(true)
      try transport.enableInterrupts(.msix, eventFDs: [event.rawValue])
      try transport.enableInterrupts(.request, eventFDs: [event.rawValue])
      try transport.mapDMA(
        DMARegion(address: 0x7000_0000, size: 0x1000), at: 0x10_0000, permissions: .read)
      kernel.clearTrace()
    }
    let unmap = try #require(DMAMappingTests.unmapCall[interface])
    let closes: [String] =
      interface == .group
      ? ["close device", "close group", "close container"] : ["close device", "close iommufd"]
    #expect(
      kernel.trace == [
        "write region 7 at 4: 2 4", "VFIO_DEVICE_SET_IRQS", "  irq 2 flags 21 start 0 count 0",
        "VFIO_DEVICE_SET_IRQS", "  irq 4 flags 21 start 0 count 0", unmap,
      ] + closes)
    #expect(event.drain() == 0)
  }

  @Test("A device that is gone does not keep the end from happening")
  func endWithoutDevice() throws {
    let kernel = FakeKernel.machine()
    let event = try EventFD()
    do {
      let transport = try kernel.openGroup()
      try transport.enableInterrupts(.msix, eventFDs: [event.rawValue])
      try transport.mapDMA(
        DMARegion(address: 0x7000_0000, size: 0x1000), at: 0x10_0000, permissions: .read)
      kernel.fail("pread", .operationNotSupportedByDevice)
      kernel.fail("VFIO_DEVICE_SET_IRQS", .operationNotSupportedByDevice)
      kernel.fail("VFIO_IOMMU_UNMAP_DMA", .operationNotSupportedByDevice)
    }
    #expect(kernel.openFiles.isEmpty)
  }
}

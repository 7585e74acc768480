// SPDX-License-Identifier: Apache-2.0

import CNetDma
import Glibc
import NetDmaVFIO
import Testing

@testable import NetDmaMock

/// A function with a page of descriptors, and nothing of a driver.
final class PCIBench {
  let function: PCIFunction
  private let memory = LocalMemory()
  private let page: UnsafeMutableRawPointer
  private static let iova: UInt64 = 0x4000_0000
  /// Completion words, one per channel, behind the descriptors.
  private static let words: UInt64 = 0x800

  init(
    _ name: String = "skylake", tableOwner: MSIXTableOwner = .host,
    _ options: DeviceProfile.Options = DeviceProfile.Options()
  ) throws {
    var options = options
    options.timing = .fast
    function = try PCIFunction(
      DeviceProfile(named: name, options: options), memory: memory, tableOwner: tableOwner)
    page = .allocate(byteCount: 4096, alignment: 4096)
    page.initializeMemory(as: UInt8.self, repeating: 0, count: 4096)
    try memory.map(
      iova: Self.iova, size: 4096, pointer: page, isReadable: true, isWritable: true)
  }

  deinit {
    function.model.stop()
    page.deallocate()
  }

  // MARK: - Registers

  func config(_ offset: Int, _ width: Int = 4) -> UInt64 {
    function.read(.configuration, at: offset, width: width)
  }
  func setConfig(_ offset: Int, _ value: UInt64, _ width: Int = 4) {
    function.write(.configuration, at: offset, width: width, value: value)
  }
  func register(_ offset: Int, _ width: Int) -> UInt64 {
    function.read(.bar0, at: offset, width: width)
  }
  func setRegister(_ offset: Int, _ value: UInt64, _ width: Int) {
    function.write(.bar0, at: offset, width: width, value: value)
  }

  var command: UInt64 {
    get { config(4, 2) }
    set { setConfig(4, newValue, 2) }
  }
  var hasPendingPin: Bool { config(6, 2) & 8 != 0 }
  var pendingBits: UInt64 { register(function.profile.model.msixPendingOffset, 8) }
  /// The offset of a capability, 0 when it is absent.
  func capability(_ id: UInt64) -> Int { capabilities[id] ?? 0 }
  /// The list by id, as software walks it.
  var capabilities: [UInt64: Int] {
    var found: [UInt64: Int] = [:]
    var offset = Int(config(0x34, 1))
    while offset != 0, found.count < 48 {
      found[config(offset, 1)] = offset
      offset = Int(config(offset + 1, 1))
    }
    return found
  }

  // MARK: - Interrupts

  /// Makes a channel raise its interrupt: a null descriptor that asks for one.
  ///
  /// Returns when the descriptor is complete, which the interrupt follows.
  func raise(channel: Int = 0) throws {
    let window = 0x80 * (channel + 1)
    setRegister(0x03, channel == 0 && function.model.configuration.channelCount == 1 ? 1 : 9, 1)
    setRegister(window + 4, 0x20, 1)
    let slot = (page + 64 * channel).assumingMemoryBound(to: UInt64.self)
    slot[0] = 8 | 0x29 << 32
    slot[1] = 0
    slot[2] = 0
    slot[3] = Self.iova + UInt64(64 * channel)
    netdma_fence_release()
    setRegister(window, 1, 2)
    setRegister(window + 0x18, Self.iova + Self.words + UInt64(8 * channel), 8)
    setRegister(window + 0x10, Self.iova + UInt64(64 * channel), 8)
    setRegister(window + 6, 1, 2)
    try #require(eventually { register(window + 8, 8) & 7 == 1 })
  }

  /// The state of a channel, CHANSTS bits 2:0.
  func status(channel: Int = 0) -> UInt64 { register(0x80 * (channel + 1) + 8, 8) & 7 }
}

/// Whether something comes true before a test would better be called hung.
func eventually(_ condition: () -> Bool) -> Bool {
  let deadline = Deadline(after: .seconds(20))
  while !condition() {
    if deadline.hasPassed { return false }
    usleep(50)
  }
  return true
}

/// An eventfd that a test looks at.
final class Bell {
  private let event: EventFD
  init() throws { event = try EventFD() }
  var target: InterruptTarget { InterruptTarget(borrowing: event.rawValue) }
  var descriptor: CInt { event.rawValue }
  /// Signals since the last look.
  var rings: UInt64 { event.drain() }
}

// SPDX-License-Identifier: Apache-2.0

import Glibc
import NetDmaVFIO
import Synchronization
import Testing

@testable import NetDmaMock

@Suite("PCI function: interrupts")
struct FunctionInterruptTests {
  private static let master: UInt64 = 6
  private static let enable: UInt64 = 0x8000
  private static let functionMask: UInt64 = 0x4000

  /// A bus master with vector 0 connected.
  private func connected(
    _ name: String = "skylake", tableOwner: MSIXTableOwner = .host
  ) throws -> (PCIBench, Bell) {
    let bench = try PCIBench(name, tableOwner: tableOwner)
    let bell = try Bell()
    bench.command = Self.master
    bench.function.connect(.msix, [bell.target])
    return (bench, bell)
  }

  private func pinned() throws -> (PCIBench, Bell) {
    let bench = try PCIBench()
    let bell = try Bell()
    bench.command = Self.master
    bench.function.connect(.intx, [bell.target])
    return (bench, bell)
  }

  // MARK: - MSI-X

  @Test("connecting enables MSI-X and fills the table, disconnecting undoes it")
  func connecting() throws {
    let (bench, _) = try connected()
    #expect(bench.config(0x82, 2) == Self.enable)
    #expect(bench.register(0x2000, 8) == 0xfee0_0000)
    #expect(bench.register(0x200c, 4) == 0)
    bench.function.disconnect(.msix)
    #expect(bench.config(0x82, 2) == 0)
    #expect(bench.register(0x200c, 4) == 1)
  }

  @Test("the table takes what is written, but no reserved bit; every vector begins masked")
  func table() throws {
    let bench = try PCIBench()
    #expect(bench.register(0x2000, 8) == 0)
    #expect(bench.register(0x2008, 8) == 1 << 32)
    bench.setRegister(0x2000, .max, 8)
    bench.setRegister(0x2008, .max, 8)
    #expect(bench.register(0x2000, 8) == 0xffff_ffff_ffff_fffc)
    #expect(bench.register(0x2008, 8) == 0x1_ffff_ffff)
    bench.setRegister(0x2009, 0x12, 1)
    #expect(bench.register(0x2008, 4) == 0xffff_12ff)
  }

  @Test("the pending bits ignore writes")
  func pendingIsReadOnly() throws {
    let bench = try PCIBench()
    bench.setRegister(0x3000, .max, 8)
    #expect(bench.pendingBits == 0)
  }

  @Test("an interrupt arrives once and leaves nothing pending")
  func delivery() throws {
    let (bench, bell) = try connected()
    try bench.raise()
    #expect(eventually { bell.rings == 1 })
    #expect(bench.pendingBits == 0)
  }

  @Test("a masked vector's message is pending until unmasked, then arrives once")
  func vectorMask() throws {
    let (bench, bell) = try connected()
    bench.setRegister(0x200c, 1, 4)
    try bench.raise()
    try #require(eventually { bench.pendingBits == 1 })
    #expect(bell.rings == 0)
    bench.setRegister(0x200c, 0, 4)
    #expect(bell.rings == 1)
    #expect(bench.pendingBits == 0)
    bench.setRegister(0x200c, 1, 4)
    bench.setRegister(0x200c, 0, 4)
    #expect(bell.rings == 0)
  }

  @Test("the function mask holds every vector, and its end delivers them all")
  func functionMask() throws {
    var options = DeviceProfile.Options()
    options.channels = 3
    let bench = try PCIBench("skylake", options)
    let bells = [try Bell(), try Bell(), try Bell()]
    bench.command = Self.master
    bench.function.connect(.msix, bells.map(\.target))
    bench.setConfig(0x82, Self.enable | Self.functionMask, 2)
    try bench.raise(channel: 0)
    try bench.raise(channel: 2)
    try #require(eventually { bench.pendingBits == 0b101 })
    #expect(bells.map(\.rings) == [0, 0, 0])
    bench.setConfig(0x82, Self.enable, 2)
    #expect(bells.map(\.rings) == [1, 0, 1])
    #expect(bench.pendingBits == 0)
  }

  @Test("without bus mastering a message waits for it")
  func busMaster() throws {
    let (bench, bell) = try connected()
    bench.setConfig(0x82, Self.enable | Self.functionMask, 2)
    try bench.raise()
    try #require(eventually { bench.pendingBits == 1 })
    bench.command = 2
    bench.setConfig(0x82, Self.enable, 2)
    #expect(bell.rings == 0)
    #expect(bench.pendingBits == 1)
    bench.command = Self.master
    #expect(bell.rings == 1)
  }

  @Test("a vector that nobody is connected to waits for its eventfd")
  func lateConnection() throws {
    let bench = try PCIBench(tableOwner: .client)
    bench.command = Self.master
    bench.function.connect(.msix, [nil])
    try bench.raise()
    try #require(eventually { bench.pendingBits == 1 })
    let bell = try Bell()
    bench.function.connect(.msix, [bell.target])
    #expect(bell.rings == 1)
  }

  @Test("another eventfd for a masked vector loses nothing")
  func replacement() throws {
    let (bench, old) = try connected()
    bench.setConfig(0x82, Self.enable | Self.functionMask, 2)
    try bench.raise()
    try #require(eventually { bench.pendingBits == 1 })
    let new = try Bell()
    bench.function.connect(.msix, [new.target])
    bench.setConfig(0x82, Self.enable, 2)
    #expect(old.rings == 0)
    #expect(new.rings == 1)
  }

  @Test("re-arming a channel withdraws its pending message")
  func withdrawal() throws {
    let (bench, bell) = try connected()
    bench.setRegister(0x200c, 1, 4)
    try bench.raise()
    try #require(eventually { bench.pendingBits == 1 })
    bench.setRegister(0x80, 1, 2)
    #expect(bench.pendingBits == 0)
    bench.setRegister(0x200c, 0, 4)
    #expect(bell.rings == 0)
  }

  @Test("re-arming a channel leaves a message that channels share")
  func sharedVector() throws {
    var options = DeviceProfile.Options()
    options.channels = 2
    let bench = try PCIBench("skylake", options)
    let bell = try Bell()
    bench.command = Self.master
    bench.function.connect(.msix, [bell.target, nil])
    bench.setConfig(0x82, Self.enable | Self.functionMask, 2)
    try bench.raise(channel: 0)
    try bench.raise(channel: 1)
    try #require(eventually { bench.pendingBits == 0b11 })
    // One vector for all, from here on.
    bench.setRegister(0x03, 1, 1)
    bench.setRegister(0x100, 1, 2)
    bench.setConfig(0x82, Self.enable, 2)
    #expect(eventually { bell.rings > 0 })
  }

  @Test("a part that wipes its table with a channel reset goes silent until it is written anew")
  func wipedTable() throws {
    let (bench, bell) = try connected("broadwell-de")
    #expect(bench.register(0x100c, 4) == 0)
    let entry = (bench.register(0x1000, 8), bench.register(0x1008, 8))
    bench.setRegister(0x84, 0x20, 1)
    #expect(bench.register(0x1000, 8) == 0)
    #expect(bench.register(0x100c, 4) == 1)
    try bench.raise()
    try #require(eventually { bench.register(0x1800, 8) == 1 })
    #expect(bell.rings == 0)
    bench.setRegister(0x1000, entry.0, 8)
    bench.setRegister(0x1008, entry.1, 8)
    #expect(bell.rings == 1)
  }

  @Test("a client that owns the table does not notice that the device's was wiped")
  func wipedTableOfClient() throws {
    let (bench, bell) = try connected("broadwell-de", tableOwner: .client)
    try bench.raise()
    #expect(eventually { bell.rings == 1 })
  }

  @Test("no interrupt is lost while another thread masks and unmasks")
  func racingMasks() throws {
    let (bench, bell) = try connected()
    let isDone = Flag()
    let masker = try PinnedThread(name: "masker") { [function = bench.function] _ in
      var isMasked = false
      while !isDone.isSet {
        isMasked.toggle()
        let control = Self.enable | (isMasked ? Self.functionMask : 0)
        function.write(.configuration, at: 0x82, width: 2, value: control)
        function.write(.bar0, at: 0x200c, width: 4, value: isMasked ? 1 : 0)
      }
      function.write(.bar0, at: 0x200c, width: 4, value: 0)
      function.write(.configuration, at: 0x82, width: 2, value: Self.enable)
    }
    for _ in 0..<300 {
      try bench.raise()
      if !eventually({ bell.rings == 1 }) {
        Issue.record("an interrupt was lost")
        break
      }
    }
    isDone.set()
    _ = consume masker
  }

  private final class Flag: Sendable {
    private let value = Atomic<Bool>(false)
    var isSet: Bool { value.load(ordering: .acquiring) }
    func set() { value.store(true, ordering: .releasing) }
  }

  // MARK: - The pin

  @Test("without messages the pin goes high, STATUS says so, and the host is told once")
  func pin() throws {
    let (bench, bell) = try pinned()
    #expect(!bench.hasPendingPin)
    try bench.raise()
    #expect(eventually { bell.rings == 1 })
    #expect(bench.hasPendingPin)
    // Until the host unmasks it.
    #expect(bench.register(0x03, 1) & 7 == 7)
    bench.setRegister(0x03, 1, 1)
    #expect(bench.hasPendingPin)
    #expect(bell.rings == 0)
  }

  @Test("a pin that is still high when the host unmasks it fires again, one that fell does not")
  func unmaskedPin() throws {
    let (bench, bell) = try pinned()
    try bench.raise()
    #expect(eventually { bell.rings == 1 })
    bench.function.setPinMask(false)
    #expect(bell.rings == 1)
    // Reading ATTNSTATUS lets it fall.
    #expect(bench.register(0x04, 4) == 1)
    #expect(!bench.hasPendingPin)
    bench.function.setPinMask(false)
    #expect(bell.rings == 0)
  }

  @Test("COMMAND's interrupt disable keeps the pin low, not its status; its end shows the level")
  func disabledPin() throws {
    let (bench, bell) = try pinned()
    bench.command = Self.master | 0x400
    try bench.raise()
    try #require(eventually { bench.hasPendingPin })
    #expect(bell.rings == 0)
    bench.command = Self.master
    #expect(bell.rings == 1)
  }

  @Test("a pin that went high before its eventfd came is told then")
  func latePin() throws {
    let bench = try PCIBench()
    bench.command = Self.master
    try bench.raise()
    try #require(eventually { bench.hasPendingPin })
    let bell = try Bell()
    bench.function.connect(.intx, [bell.target])
    #expect(bell.rings == 1)
  }

  @Test("with MSI-X enabled the pin is silent, and its level shows when MSI-X is disabled")
  func pinAfterMessages() throws {
    let (bench, message) = try connected()
    let pin = try Bell()
    bench.function.connect(.intx, [pin.target])
    try bench.raise()
    #expect(eventually { message.rings == 1 })
    #expect(!bench.hasPendingPin)
    #expect(pin.rings == 0)
    bench.setConfig(0x82, 0, 2)
    #expect(bench.hasPendingPin)
    #expect(pin.rings == 1)
  }

  @Test("a function without a pin has no level")
  func noPin() throws {
    var options = DeviceProfile.Options()
    options.interrupts = .msix
    let bench = try PCIBench("skylake", options)
    bench.command = Self.master
    #expect(bench.config(0x3d, 1) == 0)
    #expect(bench.function.interruptCount(.intx) == 0)
    try bench.raise()
    #expect(!bench.hasPendingPin)
  }

  @Test("functions of a chip share the pins A to D in turn")
  func pins() throws {
    for function in 0..<8 {
      var options = DeviceProfile.Options()
      options.function = function
      let profile = try DeviceProfile(named: "haswell", options: options)
      #expect(Int(profile.interruptPin) == function % 4 + 1)
    }
  }

  // MARK: - MSI

  private func withMSI(channels: Int = 1) throws -> (PCIBench, [Bell]) {
    var options = DeviceProfile.Options()
    options.interrupts = [.msi, .pin]
    options.channels = channels
    let bench = try PCIBench("skylake", options)
    let bells = try (0..<channels).map { _ in try Bell() }
    bench.command = Self.master
    bench.function.connect(.msi, bells.map(\.target))
    return (bench, bells)
  }

  @Test("a message of MSI arrives; connecting allocates as many as there are eventfds")
  func msi() throws {
    let (bench, bells) = try withMSI(channels: 3)
    // Enabled, 4 of 4 messages, 64 bit, maskable.
    #expect(bench.config(0x62, 2) == 0x1a5)
    try bench.raise(channel: 1)
    #expect(eventually { bells[1].rings == 1 })
    #expect(bells[0].rings == 0)
  }

  @Test("a masked message of MSI is pending until unmasked")
  func msiMask() throws {
    let (bench, bells) = try withMSI()
    bench.setConfig(0x70, 0xffff_ffff)
    #expect(bench.config(0x70) == 1)
    try bench.raise()
    try #require(eventually { bench.config(0x74) == 1 })
    #expect(bells[0].rings == 0)
    bench.setConfig(0x70, 0)
    #expect(bells[0].rings == 1)
    #expect(bench.config(0x74) == 0)
  }

  @Test("with fewer messages allocated than channels, the first is everybody's")
  func fewerMessages() throws {
    let (bench, bells) = try withMSI(channels: 2)
    bench.setConfig(0x62, 1, 2)
    try bench.raise(channel: 1)
    #expect(eventually { bells[0].rings == 1 })
    #expect(bells[1].rings == 0)
  }
}

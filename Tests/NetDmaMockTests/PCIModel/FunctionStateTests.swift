// SPDX-License-Identifier: Apache-2.0

import NetDmaVFIO
import Testing

@testable import NetDmaMock

@Suite("PCI function: decoding, power, reset")
struct FunctionStateTests {
  @Test("a function that was opened decodes memory and masters nothing")
  func opened() throws {
    let bench = try PCIBench()
    #expect(bench.command == 2)
    #expect(bench.register(0x08, 1) == 0x33)
  }

  @Test("with memory decoding off BAR0 reads all ones and takes no write")
  func decoding() throws {
    let bench = try PCIBench()
    bench.command = 0
    #expect(bench.register(0x08, 1) == 0xff)
    #expect(bench.register(0x88, 8) == .max)
    bench.setRegister(0xac, 0x55, 4)
    bench.command = 2
    #expect(bench.register(0xac, 4) == 0)
  }

  @Test("COMMAND takes I/O, memory, master, parity, SERR and interrupt disable, nothing else")
  func command() throws {
    let bench = try PCIBench()
    bench.command = 0xffff
    #expect(bench.command == 0x547)
  }

  // MARK: - Power

  private static func bench(keepsState: Bool) throws -> PCIBench {
    var options = DeviceProfile.Options()
    options.keepsStateInD3 = keepsState
    return try PCIBench("skylake", options)
  }

  @Test("PMCSR's No_Soft_Reset says whether D3hot keeps the state", arguments: [true, false])
  func noSoftReset(keepsState: Bool) throws {
    let bench = try Self.bench(keepsState: keepsState)
    let control = bench.capability(1) + 4
    #expect(bench.config(control, 2) == (keepsState ? 8 : 0))
    bench.command = 6
    bench.setRegister(0xac, 0x55, 4)
    bench.setConfig(control, 3, 2)
    #expect(bench.config(control, 2) & 3 == 3)
    #expect(bench.config(0, 2) == 0x8086)
    bench.setConfig(control, 0, 2)
    #expect(bench.command == (keepsState ? 6 : 0))
    bench.command = 2
    #expect(bench.register(0xac, 4) == (keepsState ? 0x55 : 0))
  }

  @Test("in D3hot BAR0 is gone and messages wait")
  func d3hot() throws {
    let bench = try PCIBench()
    let bell = try Bell()
    bench.command = 6
    bench.function.connect(.msix, [bell.target])
    bench.setConfig(0x82, 0xc000, 2)
    try bench.raise()
    try #require(eventually { bench.pendingBits == 1 })
    bench.setConfig(0xe4, 3, 2)
    bench.setConfig(0x82, 0x8000, 2)
    #expect(bench.register(0x08, 1) == 0xff)
    #expect(bell.rings == 0)
    bench.setConfig(0xe4, 0, 2)
    #expect(bell.rings == 1)
    #expect(bench.register(0x08, 1) == 0x33)
  }

  @Test("D1 and D2, which do not exist, cannot be entered", arguments: [UInt64(1), 2])
  func missingStates(state: UInt64) throws {
    let bench = try PCIBench()
    bench.setConfig(0xe4, state, 2)
    #expect(bench.config(0xe4, 2) & 3 == 0)
    bench.setConfig(0xe4, 3, 2)
    bench.setConfig(0xe4, state, 2)
    #expect(bench.config(0xe4, 2) & 3 == 3)
  }

  // MARK: - Reset

  /// A function with something in every place that a reset clears.
  private func used(_ tableOwner: MSIXTableOwner) throws -> (PCIBench, Bell) {
    let bench = try PCIBench("ivy-bridge", tableOwner: tableOwner)
    let bell = try Bell()
    bench.command = 6
    bench.setConfig(0x10, 0xfe00_0000)
    bench.setConfig(0x98, 0x20, 2)
    bench.setConfig(0x108, 0x10_0000)
    bench.setConfig(0x184, 0x3e07)
    bench.function.connect(.msix, [bell.target])
    bench.setConfig(0x82, 0xc000, 2)
    try bench.raise()
    try #require(eventually { bench.pendingBits == 1 })
    bench.setRegister(0xac, 0x55, 4)
    bench.function.model.install(FaultPlan(channelErrorIntAtStart: 0x100))
    bench.function.model.install(.none)
    #expect(bench.config(0x180) == 0x100)
    return (bench, bell)
  }

  private func expectReset(_ bench: PCIBench) {
    #expect(bench.config(0x10) == 4)
    #expect(bench.config(0x98, 2) == 0x2810)
    #expect(bench.config(0x180) == 0)
    #expect(bench.config(0x184) == 0)
    bench.command = 2
    #expect(bench.status() == 3)
    #expect(bench.register(0xac, 4) == 0)
    #expect(bench.pendingBits == 0)
  }

  @Test("a function-level reset clears all but sticky registers, and its bit reads 0")
  func functionReset() throws {
    let (bench, bell) = try used(.host)
    bench.setConfig(0x99, 0x80, 1)
    #expect(bench.command == 0)
    #expect(bench.config(0x82, 2) == 0)
    #expect(bench.config(0x108) == 0x10_0000)
    expectReset(bench)
    #expect(bench.register(0x200c, 4) == 1)
    #expect(bell.rings == 0)
  }

  @Test("after a function-level reset a client's eventfds work as soon as MSI-X is enabled")
  func functionResetOfClient() throws {
    let (bench, bell) = try used(.client)
    bench.setConfig(0x98, 0x8000, 2)
    bench.command = 6
    bench.setConfig(0x82, 0x8000, 2)
    try bench.raise()
    #expect(eventually { bell.rings == 1 })
  }

  @Test("the host's reset keeps decoding as it was, and takes bus mastering", arguments: [0, 2, 6])
  func hostReset(command: UInt64) throws {
    let (bench, _) = try used(.client)
    bench.command = command
    bench.function.resetByHost(disconnecting: false)
    #expect(bench.command == command & 2)
    expectReset(bench)
  }

  @Test("after a client's reset its eventfds work without being sent again")
  func hostResetKeepsEventFDs() throws {
    let (bench, bell) = try used(.client)
    bench.function.resetByHost(disconnecting: false)
    #expect(bench.config(0x82, 2) == 0x8000)
    bench.command = 6
    try bench.raise()
    #expect(eventually { bell.rings == 1 })
  }

  @Test("a reset that disconnects leaves the host's own notifiers")
  func disconnectingReset() throws {
    let (bench, _) = try used(.host)
    let notifier = try Bell()
    bench.function.connect(.request, [notifier.target])
    bench.function.resetByHost(disconnecting: true)
    #expect(!bench.function.trigger(.msix, vector: 0))
    #expect(bench.function.trigger(.request, vector: 0))
    #expect(notifier.rings == 1)
  }

  @Test("power-on clears sticky registers too")
  func powerOn() throws {
    let (bench, _) = try used(.client)
    bench.function.powerOn()
    #expect(bench.config(0x108) == 0)
    #expect(bench.command == 2)
    expectReset(bench)
  }
}

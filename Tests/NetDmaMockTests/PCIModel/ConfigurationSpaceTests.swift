// SPDX-License-Identifier: Apache-2.0

import Foundation
import NetDmaVFIO
import Testing

@testable import NetDmaMock

@Suite("PCI function: configuration space")
struct ConfigurationSpaceTests {
  static let kinds: [DeviceProfile.InterruptKinds] = [
    [.msix, .pin], [.msix], [.msi, .pin], [.msix, .msi, .pin], [.pin],
  ]

  static func options(_ kinds: DeviceProfile.InterruptKinds) -> DeviceProfile.Options {
    var options = DeviceProfile.Options()
    options.interrupts = kinds
    return options
  }

  @Test("no two registers share a byte", arguments: DeviceProfile.names, kinds)
  func layout(name: String, kinds: DeviceProfile.InterruptKinds) throws {
    let profile = try DeviceProfile(named: name, options: Self.options(kinds))
    #expect(RegisterSet(ConfigurationLayout.registers(profile)).conflicts.isEmpty)
  }

  @Test("the header says vendor, device, revision, class and type")
  func header() throws {
    let bench = try PCIBench("ivy-bridge")
    #expect(bench.config(0x00) == 0x0e20_8086)
    #expect(bench.config(0x08) == 0x0880_0004)
    #expect(bench.config(0x0e, 1) == 0)
    #expect(bench.config(0x06, 2) & 0x10 != 0)
    #expect(bench.config(0x2c, 2) == 0x8086)
    #expect(bench.config(0x3d, 1) == 1)
  }

  @Test("BAR0 is 16 KiB of 64-bit memory that is not prefetchable, by its size and type bits")
  func sizing() throws {
    let bench = try PCIBench()
    bench.setConfig(0x10, 0xffff_ffff)
    bench.setConfig(0x14, 0xffff_ffff)
    #expect(bench.config(0x10, 8) == 0xffff_ffff_ffff_c004)
    bench.setConfig(0x10, 0xfe00_0000)
    bench.setConfig(0x14, 0x38)
    #expect(bench.config(0x10, 8) == 0x38_fe00_0004)
    for offset in stride(from: 0x18, through: 0x30, by: 4) where offset != 0x2c {
      bench.setConfig(offset, 0xffff_ffff)
      #expect(bench.config(offset) == 0)
    }
  }

  @Test("what is read-only keeps its value whatever is written", arguments: DeviceProfile.names)
  func readOnly(name: String) throws {
    let bench = try PCIBench(name)
    let profile = bench.function.profile
    let declared = ConfigurationLayout.registers(profile)
    for register in declared where register.writable == 0 && register.clearedByOne == 0 {
      if register.offset == ConfigurationLayout.channelError { continue }
      bench.setConfig(register.offset, 0xffff_ffff, register.width)
      #expect(
        bench.config(register.offset, register.width) == UInt64(register.reset),
        "register \(String(register.offset, radix: 16))")
    }
  }

  @Test("what does not exist reads 0 and ignores writes")
  func absent() throws {
    let bench = try PCIBench()
    for offset in stride(from: 0x190, to: 4096, by: 4) {
      bench.setConfig(offset, 0xffff_ffff)
      #expect(bench.config(offset) == 0)
    }
  }

  @Test("every width reads the same bytes")
  func widths() throws {
    let bench = try PCIBench("nehalem")
    for offset in stride(from: 0, to: 0x190, by: 8) {
      let whole = bench.config(offset, 8)
      for width in [1, 2, 4] {
        var joined: UInt64 = 0
        for part in stride(from: 0, to: 8, by: width) {
          joined |= bench.config(offset + part, width) << UInt64(8 * part)
        }
        #expect(joined == whole)
      }
    }
  }

  @Test("a byte write changes its byte only")
  func byteWrites() throws {
    let bench = try PCIBench()
    bench.setConfig(0x14, 0x1122_3344)
    bench.setConfig(0x15, 0xaa, 1)
    #expect(bench.config(0x14) == 0x1122_aa44)
    bench.setConfig(0x16, 0xbbcc, 2)
    #expect(bench.config(0x14) == 0xbbcc_aa44)
  }

  @Test("the capability list is MSI-X, PCI Express, power management, where silicon has them")
  func capabilities() throws {
    let bench = try PCIBench()
    #expect(bench.capabilities == [0x11: 0x80, 0x10: 0x90, 0x01: 0xe0])
    var options = Self.options([.msi, .pin])
    #expect(try PCIBench("skylake", options).capabilities == [0x05: 0x60, 0x10: 0x90, 0x01: 0xe0])
    options.interrupts = .pin
    #expect(try PCIBench("skylake", options).capabilities == [0x10: 0x90, 0x01: 0xe0])
  }

  @Test("MSI-X says where table and pending bits are", arguments: DeviceProfile.names)
  func msixPlaces(name: String) throws {
    var options = DeviceProfile.Options()
    options.channels = 3
    let bench = try PCIBench(name, options)
    let model = bench.function.profile.model
    let capability = bench.capability(0x11)
    #expect(bench.config(capability + 2, 2) == 2)
    #expect(bench.config(capability + 4) == UInt64(model.msixTableOffset))
    #expect(bench.config(capability + 8) == UInt64(model.msixPendingOffset))
  }

  @Test("PCI Express: a root complex integrated endpoint that can be reset")
  func express() throws {
    let bench = try PCIBench()
    let capability = bench.capability(0x10)
    #expect(bench.config(capability + 2, 2) == 0x92)
    #expect(bench.config(capability + 4) & 1 << 28 != 0)
    let control = bench.config(capability + 8, 2)
    #expect(control & 0x10 != 0, "relaxed ordering is on by default")
    bench.setConfig(capability + 8, control & ~0x10, 2)
    #expect(bench.config(capability + 8, 2) == control & ~0x10)
  }

  @Test("extended space begins with advanced error reporting, and nothing follows it")
  func extended() throws {
    let bench = try PCIBench()
    #expect(bench.config(0x100) == 0x0002_0001)
    bench.setConfig(0x108, 0x0010_0000)
    #expect(bench.config(0x108) == 0x0010_0000)
  }

  @Test("CHANERRMSK_INT and its severity take every error bit; the status register none")
  func channelErrorMask() throws {
    let bench = try PCIBench("ivy-bridge")
    bench.setConfig(0x184, 0xffff_ffff)
    #expect(bench.config(0x184) == 0x0fff_ffff)
    bench.setConfig(0x188, 0x3e07)
    #expect(bench.config(0x188) == 0x3e07)
    bench.setConfig(0x180, 0xffff_ffff)
    #expect(bench.config(0x180) == 0)
  }

  @Test("CHANERR_INT shows channel errors, CHANERRPTR the first; written ones clear")
  func channelError() throws {
    let bench = try PCIBench("ivy-bridge")
    bench.function.model.install(FaultPlan(channelErrorIntAtStart: 0x300))
    #expect(bench.config(0x180) == 0x300)
    #expect(bench.config(0x181, 1) == 0x03)
    #expect(bench.config(0x18c, 1) == 8)
    bench.setConfig(0x181, 0x01, 1)
    #expect(bench.config(0x180) == 0x200)
    #expect(bench.config(0x18c, 1) == 9)
    bench.setConfig(0x180, 0x200)
    #expect(bench.config(0x180) == 0)
    #expect(bench.config(0x18c, 1) == 0)
  }

  @Test("function 0 of a Nehalem powers on with a parity error in DMAUNCERRSTS; a one clears it")
  func spuriousParityError() throws {
    let bench = try PCIBench("nehalem")
    #expect(bench.config(0x148) == 0x10)
    bench.setConfig(0x148, 0x10)
    #expect(bench.config(0x148) == 0)
    #expect(try PCIBench("ivy-bridge").config(0x148) == 0)
  }

  @Test("a removed device reads all ones")
  func removed() throws {
    let bench = try PCIBench()
    bench.function.model.install(FaultPlan(isRemoved: true))
    #expect(bench.config(0) == 0xffff_ffff)
    #expect(bench.config(0x35, 1) == 0xff)
    bench.command = 0
    bench.function.model.install(.none)
    #expect(bench.config(0, 2) == 0x8086)
  }

  // MARK: - What lspci thinks

  static let lspci = "/usr/bin/lspci"

  @Test(
    "lspci understands all of it", .enabled(if: FileManager.default.fileExists(atPath: lspci)),
    arguments: DeviceProfile.names)
  func lspciOutput(name: String) throws {
    for kinds in Self.kinds {
      let output = try Self.describe(PCIBench(name, Self.options(kinds)))
      for word in ["<chain broken>", "<chain looped>", "unknown", "Unknown", "error", "!!!"] {
        #expect(!output.contains(word), "\(name) \(kinds): \(output)")
      }
      var expected = [
        "00:04.0 System peripheral", "Express (v2) Root Complex Integrated Endpoint",
        "Power Management version 3", "FLReset+", "Advanced Error Reporting", "Status: D0",
        "Memory at",
      ]
      if kinds.contains(.msix) { expected.append("MSI-X: Enable- Count=1 Masked-") }
      if kinds.contains(.msi) { expected.append("MSI: Enable- Count=1/1 Maskable+ 64bit+") }
      if kinds.contains(.pin) { expected.append("Interrupt: pin A") }
      for phrase in expected { #expect(output.contains(phrase), "\(phrase) in: \(output)") }
    }
  }

  /// What `lspci -vvv -xxxx` prints about configuration space.
  private static func describe(_ bench: PCIBench) throws -> String {
    bench.setConfig(0x10, 0xfe00_0000)
    var dump = "00:04.0 System peripheral\n"
    for line in stride(from: 0, to: 4096, by: 16) {
      let bytes = (line..<line + 16).map { hexDigits(bench.config($0, 1), 2) }
      dump += "\(hexDigits(UInt64(line), line < 0x100 ? 2 : 3)): \(bytes.joined(separator: " "))\n"
    }
    let file = FileManager.default.temporaryDirectory.appending(
      path: "netdma-lspci-\(UInt64.random(in: 0 ... .max))")
    try Data(dump.utf8).write(to: file)
    defer { try? FileManager.default.removeItem(at: file) }
    let process = Process()
    let pipe = Pipe()
    process.executableURL = URL(filePath: lspci)
    process.arguments = ["-vvv", "-xxxx", "-F", file.path]
    process.standardOutput = pipe
    process.standardError = FileHandle.nullDevice
    try process.run()
    let output = try pipe.fileHandleForReading.readToEnd() ?? Data()
    process.waitUntilExit()
    #expect(process.terminationStatus == 0)
    return String(decoding: output, as: UTF8.self)
  }
}

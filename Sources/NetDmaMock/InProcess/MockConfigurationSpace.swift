// SPDX-License-Identifier: Apache-2.0

/// 4 KiB of configuration space for the in-process mock: identity, COMMAND, the MSI-X, PCI Express
/// and power management capabilities.
struct MockConfigurationSpace: Sendable {
  private var bytes = [UInt8](repeating: 0, count: 4096)
  /// Bits that software can write.
  private var writable = [UInt8](repeating: 0, count: 4096)

  init(_ model: ModelConfiguration) {
    put(0x00, 0x8086)
    put(0x02, UInt64(model.deviceID))
    put(0x06, 0x0010)  // STATUS: there is a capability list.
    put(0x08, 0x08_8000 << 8)
    put(0x2c, 0x8086)
    put(0x34, 0x80)
    put(0x04, 0x0000, writable: 0x0546)
    put(0x0c, 0x00, writable: 0xff)
    // BAR0: 64 bit, 16 KiB.
    put(0x10, 0x0000_0004, writable: 0xffff_c000)
    put(0x14, 0x0000_0000, writable: 0xffff_ffff)
    // MSI-X: table at 0x2000, pending bits at 0x3000, both in BAR0.
    put(0x80, 0x11 | 0x90 << 8)
    put(0x82, UInt64(model.vectorCount - 1), writable: 0xc000)
    put(0x84, UInt64(model.msixTableOffset))
    put(0x88, UInt64(model.msixPendingOffset))
    // PCI Express: version 2, root complex integrated endpoint; DEVCAP with FLR.
    put(0x90, 0x10 | 0xd0 << 8)
    put(0x92, 0x0092)
    put(0x94, 0x1000_8000)
    // DEVCTL; bit 15 asks for a function-level reset and reads 0.
    put(0x98, 0x0010, writable: 0xffff)
    // Power management, version 3; PMCSR with PowerState, and registers are lost on the way back.
    put(0xd0, 0x01 | 0x00 << 8)
    put(0xd2, 0x0003)
    put(0xd4, 0x0000, writable: 0x0003)
    // CHANERRMSK_INT.
    put(0x184, 0, writable: 0x0fff_ffff)
  }

  private mutating func put(_ offset: Int, _ value: UInt64, writable mask: UInt64 = 0) {
    let width = max(
      (64 - value.leadingZeroBitCount + 7) / 8, (64 - mask.leadingZeroBitCount + 7) / 8)
    for index in 0..<width {
      bytes[offset + index] = UInt8(truncatingIfNeeded: value >> UInt64(8 * index))
      writable[offset + index] = UInt8(truncatingIfNeeded: mask >> UInt64(8 * index))
    }
  }

  func read(_ offset: Int, width: Int) -> UInt64 {
    var value: UInt64 = 0
    for index in 0..<width { value |= UInt64(bytes[offset + index]) << UInt64(8 * index) }
    return value
  }

  mutating func write(_ offset: Int, width: Int, value: UInt64) {
    for index in 0..<width {
      let mask = writable[offset + index]
      let new = UInt8(truncatingIfNeeded: value >> UInt64(8 * index))
      bytes[offset + index] = bytes[offset + index] & ~mask | new & mask
    }
  }

  /// Whether DEVCTL bit 15 was written; it reads 0 from then on.
  mutating func takeResetRequest() -> Bool {
    defer { bytes[0x99] &= 0x7f }
    return bytes[0x99] & 0x80 != 0
  }

  /// PMCSR says D3hot.
  var isAsleep: Bool { bytes[0xd4] & 0x03 == 3 }
  /// COMMAND bit 2.
  var isBusMaster: Bool { bytes[0x04] & 0x04 != 0 }
  /// COMMAND bit 1.
  var decodesMemory: Bool { bytes[0x04] & 0x02 != 0 }
}

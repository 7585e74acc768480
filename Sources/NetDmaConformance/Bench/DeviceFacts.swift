// SPDX-License-Identifier: Apache-2.0

import NetDmaVFIO

/// What the device says of itself, read once: which rules apply and how they are checked.
struct DeviceFacts: Sendable {
  /// CBVER.
  let version: UInt8
  /// CHANCNT 4:0; 0, the function is disabled.
  let channelCount: Int
  /// XFERCAP 4:0.
  let transferBits: Int
  /// DMACAPABILITY.
  let capabilities: UInt32
  /// The kind of message that interrupts come by, nil when there is none.
  let interruptIndex: IRQIndex?
  /// Vectors of that kind.
  let vectorCount: Int
  /// The transport can reset the function.
  let supportsReset: Bool

  init(_ transport: any DeviceTransport) throws(VFIOError) {
    func register(_ register: GeneralRegister) throws(VFIOError) -> UInt64 {
      try transport.read(.bar0, at: register.offset, width: register.width)
    }
    let capabilities = try register(.dmacapability)
    let version = try register(.cbver)
    if capabilities == 0xffff_ffff, version == 0xff { throw .deviceGone(device: transport.name) }
    self.capabilities = UInt32(truncatingIfNeeded: capabilities)
    self.version = UInt8(truncatingIfNeeded: version)
    channelCount = Int(try register(.chancnt) & 0x1f)
    transferBits = Int(try register(.xfercap) & 0x1f)
    supportsReset = transport.supportsReset
    let msix = try transport.interruptCount(.msix)
    let msi = msix > 0 ? 0 : try transport.interruptCount(.msi)
    interruptIndex = msix > 0 ? .msix : msi > 0 ? .msi : nil
    vectorCount = max(msix, msi)
  }

  /// Whether this test's idea of the registers holds at all.
  var hasVersion3Layout: Bool { version >> 4 == 3 }

  /// Before version 3.3 a 64-bit register is written as two halves, the low one first (FreeBSD).
  var splitsAddresses: Bool { version < 0x33 }

  /// The most bytes of one descriptor.
  var transferLimit: Int { transferBits == 0 ? Int(UInt32.max) : 1 << transferBits }

  /// "3.3".
  static func text(version: UInt8) -> String { "\(version >> 4).\(version & 0xf)" }
}

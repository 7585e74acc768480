// SPDX-License-Identifier: Apache-2.0

import NetDmaVFIO

/// The engine's registers, in the order of their offsets.
enum IOATLayouts {
  private static func address(_ value: UInt64) -> String? { hex(value) }

  private static func microseconds(_ value: UInt64) -> String? { "\(value) µs" }

  /// BAR0 below the channels' windows.
  static func general(_ version: CBVersion) -> [RegisterLayout] {
    [
      RegisterLayout(
        "CHANCNT", at: IOATRegister.chancnt, .byte, [.field("channels", 0...4)]),
      RegisterLayout(
        "XFERCAP", at: IOATRegister.xfercap, .byte,
        [.field("transfer-limit", 0...4) { $0 < 40 ? "\(UInt64(1) << $0) bytes" : nil }]),
      RegisterLayout("GENCTRL", at: IOATRegister.genctrl, .byte, [.flag("debug", 0)]),
      RegisterLayout(
        "INTRCTRL", at: IOATRegister.intrctrl, .byte,
        [
          .flag("MASTER_INT_EN", 0), .flag("INT_STATUS", 1), .flag("INT", 2),
          .flag("MSIX_VECTOR_CONTROL", 3),
        ], sideEffect: "reading clears MASTER_INT_EN"),
      RegisterLayout(
        "ATTNSTATUS", at: IOATRegister.attnstatus, .dword,
        [.field("channels-that-want-attention", 0...31)], sideEffect: "reading clears it"),
      RegisterLayout(
        "CBVER", at: IOATRegister.cbver, .byte, [.field("minor", 0...3), .field("major", 4...7)]),
      RegisterLayout(
        "PERPORTOFFSET", at: IOATRegister.perportoffset, .word, [.field("offset", 0...15, address)]),
      RegisterLayout(
        "INTRDELAY", at: IOATRegister.intrdelay, .word,
        [.field("delay", 0...13, microseconds), .flag("COALESCING_SUPPORTED", 15)]),
      RegisterLayout(
        "CS_STATUS", at: IOATRegister.csStatus, .word,
        [
          .flag("DEGRADED_MODE", 0), .flag("MMIO_RESTRICTED", 1), .flag("MEMORY_BYPASS", 2),
          .flag("ADDRESS_REMAPPING", 3),
        ]),
      RegisterLayout(
        "DMACAPABILITY", at: IOATRegister.dmacapability, .dword,
        (0..<32).compactMap { bit in
          DMACapability(rawValue: 1 << bit).names.first.map { .flag($0, bit) }
        }),
      RegisterLayout(
        "DCAOFFSET", at: IOATRegister.dcaoffset, .word,
        [.field("offset", 0...15) { $0 == 0 ? "none" : hex($0) }]),
    ]
      + (version >= .v3_4
        ? [
          RegisterLayout(
            "CHWPREFLMT", at: IOATRegister.chwpreflmt, .byte, [.field("prefetch-limit", 0...7)])
        ] : [])
  }

  /// A channel's window; offsets are relative to it.
  static func channel(_ version: CBVersion) -> [RegisterLayout] {
    [
      RegisterLayout(
        "CHANCTRL", at: IOATChannelRegister.chanctrl, .word,
        [
          .flag("INT_REARM", 0), .flag("ERR_COMPLETION_EN", 2), .flag("ANY_ERR_ABORT_EN", 3),
          .flag("ERR_INT_EN", 4), .flag("DESCRIPTOR_NO_SNOOP", 5), .flag("CHANNEL_IN_USE", 8),
          .flag("COMPL_DCA_EN", 9), .field("priority", 12...15),
        ], sideEffect: "reading takes the channel (CHANNEL_IN_USE)"),
      RegisterLayout(
        "DMA_COMP", at: IOATChannelRegister.dmaComp, .word, [.flag("CB1", 0), .flag("CB2", 1)]),
      RegisterLayout(
        "CHANCMD", at: IOATChannelRegister.chancmd, .byte,
        [
          .flag("START", 0), .flag("APPEND", 1), .flag("SUSPEND", 2), .flag("ABORT", 3),
          .flag("RESUME", 4), .flag("RESET", 5),
        ]),
      RegisterLayout(
        "DMACOUNT", at: IOATChannelRegister.dmacount, .word, [.field("descriptors", 0...15)]),
      RegisterLayout(
        "CHANSTS", at: IOATChannelRegister.chansts, .qword,
        [
          .field("state", 0...2) { ChannelState(rawValue: UInt8($0)).description },
          .flag("UNAFFILIATED_ERROR", 3), .flag("SOFT_ERROR", 4),
          .field("last-descriptor", 6...63) { $0 == 0 ? "none" : hex($0 << 6) },
        ]),
      RegisterLayout(
        "CHAINADDR", at: IOATChannelRegister.chainaddr, .qword,
        [.field("first-descriptor", 0...63, address)]),
      RegisterLayout(
        "CHANCMP", at: IOATChannelRegister.chancmp, .qword,
        [.field("completion-word", 0...63, address)]),
      RegisterLayout(
        "CDAR", at: IOATChannelRegister.cdar, .qword,
        [.field("current-descriptor", 0...63, address)]),
      RegisterLayout("CHANERR", at: IOATChannelRegister.chanerr, .dword, errors),
      RegisterLayout("CHANERRMASK", at: IOATChannelRegister.chanerrmask, .dword, errors),
      RegisterLayout(
        "DCACTRL", at: IOATChannelRegister.dcactrl, .dword,
        [.field("target-apic-id", 0...15), .flag("COMPLETION_WRITE_EN", 16)]),
    ] + (version >= .v3_4 ? additions34 : [])
  }

  private static let additions34 = [
    RegisterLayout(
      "DRSCTL", at: IOATChannelRegister.drsctl, .word,
      [
        .field("ring-region", 0...3) { "\(UInt64(4) << $0) KiB" }, .flag("DRS_EN", 8),
        .flag("AUTOWRAP", 9),
      ]),
    RegisterLayout("LTR_SWSEL", at: 0x3c, .byte, [.flag("IDLE", 0)]),
    RegisterLayout("LTR_ACTIVE", at: 0x40, .dword, latency),
    RegisterLayout("LTR_IDLE", at: 0x44, .dword, latency),
  ]

  private static let latency: [FieldLayout] = [
    .field("latency", 0...9), .field("scale", 10...12) { $0 == 2 ? "1 µs" : nil },
    .flag("SNOOP_REQUIREMENT", 15),
  ]

  private static let errors: [FieldLayout] = ChannelError.bitNames.enumerated().map {
    .flag($0.element, $0.offset)
  }

  /// In extended configuration space, where that can be reached.
  static let configuration = [
    RegisterLayout(
      "DMAUNCERRSTS", at: IOATConfigRegister.dmauncerrsts, .dword, [.flag("CFG_REG_PARITY", 4)]),
    RegisterLayout("CHANERR_INT", at: IOATConfigRegister.chanerrInt, .dword, errors),
    RegisterLayout("CHANERRMSK_INT", at: IOATConfigRegister.chanerrmskInt, .dword, errors),
  ]
}

// SPDX-License-Identifier: Apache-2.0

import NetDmaVFIO

/// PCI configuration space: the header and the capabilities that matter for a DMA engine.
enum PCILayouts {
  private static let statusErrors: [FieldLayout] = [
    .flag("MASTER_PARITY_ERROR", 8), .flag("SIGNALED_TARGET_ABORT", 11),
    .flag("RECEIVED_TARGET_ABORT", 12), .flag("RECEIVED_MASTER_ABORT", 13),
    .flag("SIGNALED_SYSTEM_ERROR", 14), .flag("PARITY_ERROR", 15),
  ]

  /// The header that every function has, as far as it says something.
  static let header = [
    RegisterLayout("VENDOR_ID", at: 0x00, .word),
    RegisterLayout("DEVICE_ID", at: 0x02, .word),
    RegisterLayout(
      "COMMAND", at: 0x04, .word,
      [
        .flag("IO", 0), .flag("MEMORY", 1), .flag("MASTER", 2), .flag("SPECIAL", 3),
        .flag("INVALIDATE", 4), .flag("VGA_PALETTE", 5), .flag("PARITY", 6), .flag("SERR", 8),
        .flag("FAST_BACK", 9), .flag("INTX_DISABLE", 10),
      ]),
    RegisterLayout(
      "STATUS", at: 0x06, .word,
      [.flag("INTERRUPT", 3), .flag("CAP_LIST", 4), .flag("66MHZ", 5)] + statusErrors),
    RegisterLayout("REVISION_ID", at: 0x08, .byte),
    RegisterLayout(
      "CLASS", at: 0x0a, .word,
      [.field("subclass", 0...7) { hex($0) }, .field("base", 8...15) { hex($0) }]),
    RegisterLayout(
      "HEADER_TYPE", at: 0x0e, .byte, [.field("layout", 0...6), .flag("MULTI_FUNCTION", 7)]),
    RegisterLayout("SUBSYSTEM_VENDOR", at: 0x2c, .word),
    RegisterLayout("SUBSYSTEM_ID", at: 0x2e, .word),
    RegisterLayout("INTERRUPT_LINE", at: 0x3c, .byte),
    RegisterLayout(
      "INTERRUPT_PIN", at: 0x3d, .byte,
      [
        .field("pin", 0...7) {
          $0 == 0 ? "none" : $0 <= 4 ? "INT\(Array("ABCD")[Int($0) - 1])" : nil
        }
      ]),
  ]

  /// A capability's name.
  static func name(_ capability: PCICapability) -> String {
    let names = capability.isExtended ? extendedNames : standardNames
    return names[capability.id] ?? "capability \(hex(capability.id))"
  }

  private static let standardNames: [UInt16: String] = [
    0x01: "Power Management", 0x03: "Vital Product Data", 0x05: "MSI", 0x09: "Vendor Specific",
    0x0d: "Bridge Subsystem", 0x10: "PCI Express", 0x11: "MSI-X", 0x13: "Advanced Features",
  ]

  private static let extendedNames: [UInt16: String] = [
    0x01: "Advanced Error Reporting", 0x02: "Virtual Channel", 0x03: "Device Serial Number",
    0x0b: "Vendor Specific (extended)", 0x0d: "Access Control Services",
    0x0e: "Alternative Routing-ID", 0x0f: "Address Translation Services", 0x13: "Page Requests",
    0x17: "TLP Processing Hints", 0x18: "Latency Tolerance Reporting", 0x1b: "PASID",
  ]

  /// The registers of a capability, relative to its start; empty for one that is only named.
  static func registers(_ capability: PCICapability) -> [RegisterLayout] {
    switch (capability.isExtended, capability.id) {
    case (false, PCICapabilityID.powerManagement): powerManagement
    case (false, PCICapabilityID.msi): msi
    case (false, PCICapabilityID.msix): msix
    case (false, PCICapabilityID.express): express
    case (true, PCIExtendedCapabilityID.advancedErrorReporting): errorReporting
    default: []
    }
  }

  private static let powerManagement = [
    RegisterLayout(
      "PMC", at: 0x02, .word, [.field("version", 0...2), .flag("D1", 9), .flag("D2", 10)]),
    RegisterLayout(
      "PMCSR", at: 0x04, .word,
      [
        .field("power", 0...1) { "D\($0)" + ($0 == 3 ? "hot" : "") }, .flag("NO_SOFT_RESET", 3),
        .flag("PME_EN", 8), .flag("PME_STATUS", 15),
      ]),
  ]

  private static let msi = [
    RegisterLayout(
      "MSI_CONTROL", at: 0x02, .word,
      [
        .flag("ENABLE", 0), .field("capable", 1...3) { "\(1 << $0) vectors" },
        .field("enabled", 4...6) { "\(1 << $0) vectors" }, .flag("64BIT", 7), .flag("MASKABLE", 8),
      ])
  ]

  private static let location: [FieldLayout] = [
    .field("bar", 0...2), .field("offset", 3...31) { hex($0 << 3) },
  ]

  private static let msix = [
    RegisterLayout(
      "MSIX_CONTROL", at: 0x02, .word,
      [
        .field("vectors", 0...10) { "\($0 + 1)" }, .flag("FUNCTION_MASK", 14), .flag("ENABLE", 15),
      ]),
    RegisterLayout("MSIX_TABLE", at: 0x04, .dword, location),
    RegisterLayout("MSIX_PBA", at: 0x08, .dword, location),
  ]

  @Sendable private static func bytes(_ code: UInt64) -> String? { "\(128 << code) bytes" }

  private static let express = [
    RegisterLayout(
      "PCIE_CAP", at: 0x02, .word,
      [
        .field("version", 0...3),
        .field("type", 4...7) {
          switch $0 {
          case 0: "endpoint"
          case 1: "legacy endpoint"
          case 9: "root complex integrated endpoint"
          default: nil
          }
        },
      ]),
    RegisterLayout(
      "DEVCAP", at: 0x04, .dword,
      [.field("payload", 0...2, bytes), .flag("EXT_TAG", 5), .flag("RBER", 15), .flag("FLR", 28)]),
    RegisterLayout(
      "DEVCTL", at: 0x08, .word,
      [
        .flag("CORRECTABLE_EN", 0), .flag("NON_FATAL_EN", 1), .flag("FATAL_EN", 2),
        .flag("UNSUPPORTED_EN", 3), .flag("RELAXED_ORDERING", 4), .field("payload", 5...7, bytes),
        .flag("EXT_TAG", 8), .flag("NO_SNOOP", 11), .field("read-request", 12...14, bytes),
      ]),
    RegisterLayout(
      "DEVSTS", at: 0x0a, .word,
      [
        .flag("CORRECTABLE", 0), .flag("NON_FATAL", 1), .flag("FATAL", 2), .flag("UNSUPPORTED", 3),
        .flag("AUX_POWER", 4), .flag("PENDING", 5),
      ]),
  ]

  private static let uncorrectable: [FieldLayout] = [
    .flag("LINK_PROTOCOL", 4), .flag("SURPRISE_DOWN", 5), .flag("POISONED_TLP", 12),
    .flag("FLOW_CONTROL", 13), .flag("COMPLETION_TIMEOUT", 14), .flag("COMPLETER_ABORT", 15),
    .flag("UNEXPECTED_COMPLETION", 16), .flag("RECEIVER_OVERFLOW", 17), .flag("MALFORMED_TLP", 18),
    .flag("ECRC", 19), .flag("UNSUPPORTED_REQUEST", 20), .flag("ACS_VIOLATION", 21),
  ]

  private static let errorReporting = [
    RegisterLayout("UNCORRECTABLE_STATUS", at: 0x04, .dword, uncorrectable),
    RegisterLayout("UNCORRECTABLE_MASK", at: 0x08, .dword, uncorrectable),
    RegisterLayout(
      "CORRECTABLE_STATUS", at: 0x10, .dword,
      [
        .flag("RECEIVER", 0), .flag("BAD_TLP", 6), .flag("BAD_DLLP", 7), .flag("ROLLOVER", 8),
        .flag("REPLAY_TIMEOUT", 12), .flag("ADVISORY_NON_FATAL", 13),
      ]),
  ]
}

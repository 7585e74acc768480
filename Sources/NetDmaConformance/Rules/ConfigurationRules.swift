// SPDX-License-Identifier: Apache-2.0

import NetDmaVFIO

/// PCI configuration space, as far as the field's drivers rely on it.
enum ConfigurationRules {
  static let all: [ConformanceRule] = header + capabilities + errors

  private static let header: [ConformanceRule] = [
    ConformanceRule(
      .config, "vendor", "The vendor is Intel and there is a device id.",
      source: "PCI header 0x00; every driver binds by it", .function
    ) { bench throws(Finding) in
      let identity = try bench.function.readConfiguration(0, .dword)
      try bench.expect(identity & 0xffff, is: 0x8086, "the vendor id")
      try bench.expect(
        identity >> 16 != 0 && identity >> 16 != 0xffff, "the device id is \(hex(identity >> 16))")
    },
    ConformanceRule(
      .config, "identity-fixed", "Vendor, device and class ignore what is written to them.",
      source: "PCI 3.0 6.2.1: RO", .function
    ) { bench throws(Finding) in
      for offset: UInt64 in [0x00, 0x08] {
        let before = try bench.function.readConfiguration(offset, .dword)
        try bench.function.writeConfiguration(offset, .dword, ~before & 0xffff_ffff)
        let after = try bench.function.readConfiguration(offset, .dword)
        try bench.expect(after, is: before, "offset \(hex(offset)) after writing its complement")
      }
    },
    ConformanceRule(
      .config, "class", "The base class is 08h, system peripheral.",
      source: "PCI class codes; DPDK's bind tool matches it", .function
    ) { bench throws(Finding) in
      try bench.expect(
        try bench.function.readConfiguration(0x0b, .byte), is: 0x08, "the base class")
    },
    ConformanceRule(
      .config, "header", "The header is that of an endpoint (type 0).",
      source: "PCI 3.0 6.2.1 header type", .function
    ) { bench throws(Finding) in
      let type = try bench.function.readConfiguration(0x0e, .byte)
      try bench.expect(type & 0x7f, is: 0, "the header type")
    },
    ConformanceRule(
      .config, "bar0", "BAR0 is a 64-bit memory BAR.",
      source: "PCI 3.0 6.2.5.1; IOAT BAR0 bits 2:0", .function
    ) { bench throws(Finding) in
      let bar = try bench.function.readConfiguration(0x10, .dword)
      try bench.expect(bar & 0x7, is: 0x4, "BAR0 2:0")
    },
    ConformanceRule(
      .config, "command", "COMMAND keeps memory decoding and bus mastering as written.",
      source: "PCI 3.0 6.2.2; drivers set both", .function
    ) { bench throws(Finding) in
      let both = FunctionBench.memorySpace | FunctionBench.busMaster
      for isOn in [true, false, true] {
        try bench.function.setBusMaster(isOn)
        let seen = try bench.function.readConfiguration(FunctionBench.commandRegister, .word)
        try bench.expect(
          seen & both, is: isOn ? both : FunctionBench.memorySpace, "COMMAND 2:1")
      }
    },
    ConformanceRule(
      .config, "access-widths", "The header reads alike by bytes, words and double words.",
      source: "PCI 3.0 3.2.2.3: byte enables", .function
    ) { bench throws(Finding) in
      for offset: UInt64 in [0x00, 0x08, 0x2c] {
        let whole = try bench.function.readConfiguration(offset, .dword)
        var bytes: UInt64 = 0
        for part: UInt64 in 0..<4 {
          bytes |= try bench.function.readConfiguration(offset + part, .byte) << (8 * part)
        }
        try bench.expect(bytes, is: whole, "offset \(hex(offset)) read by bytes")
        let low = try bench.function.readConfiguration(offset, .word)
        let high = try bench.function.readConfiguration(offset + 2, .word)
        try bench.expect(low | high << 16, is: whole, "offset \(hex(offset)) read by words")
      }
    },
  ]

  private static let capabilities: [ConformanceRule] = [
    ConformanceRule(
      .config, "capability-list", "The capability list is aligned, ends, and has no loop.",
      source: "PCI 3.0 6.7: STATUS 4, CAP_PTR", .function
    ) { bench throws(Finding) in
      let status = try bench.function.readConfiguration(0x06, .word)
      try bench.expect(status & 0x10, is: 0x10, "STATUS bit 4")
      try bench.expect(try !bench.capabilities().isEmpty, "the list is empty")
    },
    ConformanceRule(
      .config, "express", "There is a PCI Express capability.",
      source: "PCIe 7.8; Linux changes DEVCTL through it", .function
    ) { bench throws(Finding) in
      try bench.expect(try bench.capability(0x10) != nil, "the list has no capability 10h")
    },
    ConformanceRule(
      .config, "relaxed-ordering", "DEVCTL's relaxed ordering can be switched off and on.",
      source: "PCIe 7.8.4 bit 4; Linux clears it", .function
    ) { bench throws(Finding) in
      guard let express = try bench.capability(0x10) else {
        throw .notApplicable("there is no PCI Express capability")
      }
      let before = try bench.function.readConfiguration(express + 8, .word)
      for value in [before & ~0x10, before | 0x10] {
        try bench.function.writeConfiguration(express + 8, .word, value)
        let seen = try bench.function.readConfiguration(express + 8, .word)
        try bench.expect(seen & 0x10, is: value & 0x10, "DEVCTL bit 4")
      }
      try bench.function.writeConfiguration(express + 8, .word, before)
    },
    ConformanceRule(
      .config, "msix", "MSI-X table and pending bits lie in BAR0 behind the registers, apart.",
      source: "PCI 3.0 6.8.2; Xeon E7 v2 datasheet: table 0x2000, pending bits 0x3000", .function
    ) { bench throws(Finding) in
      guard let msix = try bench.capability(0x11) else {
        throw .notApplicable("there is no MSI-X capability")
      }
      let count = try bench.function.readConfiguration(msix + 2, .word) & 0x7ff + 1
      try bench.expect(
        count >= UInt64(bench.facts.interruptIndex == .msix ? bench.facts.vectorCount : 1),
        "the table has \(count) entries, the transport offers \(bench.facts.vectorCount)")
      let table = try bench.function.readConfiguration(msix + 4, .dword)
      let pending = try bench.function.readConfiguration(msix + 8, .dword)
      try bench.expect(table & 7, is: 0, "the BAR of the table")
      try bench.expect(pending & 7, is: 0, "the BAR of the pending bits")
      let transport = bench.function.transport
      let size = try reaching { () throws(VFIOError) in
        try transport.regionInfo(.bar0).size
      }
      let registers = ChannelRegister.window(bench.facts.channelCount)
      let entries = table & ~7..<table & ~7 + 16 * count
      let bits = pending & ~7..<pending & ~7 + (count + 63) / 64 * 8
      for (range, name) in [(entries, "the table"), (bits, "the pending bits")] {
        try bench.expect(
          range.lowerBound >= registers && range.upperBound <= size,
          "\(name) \(hex(range.lowerBound))..<\(hex(range.upperBound)) overlaps registers or BAR0")
      }
      try bench.expect(!entries.overlaps(bits), "table and pending bits overlap")
    },
    ConformanceRule(
      .config, "bus-master", "Without bus mastering the engine reaches no memory.",
      source: "PCI 3.0 6.2.2 COMMAND 2", .once
    ) { bench throws(Finding) in
      bench.smallCopies(0..<2)
      try bench.start()
      try bench.function.setBusMaster(false)
      try bench.ring(2)
      // The engine may fail or wait for ever; what it had begun is over then.
      _ = try bench.poll { () throws(Finding) in
        try bench.status() & 7 != BenchState.active.rawValue
      }
      bench.function.quiet()
      try bench.expectNotCopied(0..<2, "without bus mastering")
      try bench.expectUntouchedWord("without bus mastering")
      try bench.halt()
      try bench.function.setBusMaster(true)
      try bench.expectWorks("with bus mastering again")
    },
  ]

  private static let errors: [ConformanceRule] = [
    ConformanceRule(
      .config, "error-mirror", "CHANERR_INT shows a channel's error and is cleared by ones.",
      source: "config 0x180; FreeBSD clears it always, Linux and SPDK below 3.3", .once
    ) { bench throws(Finding) in
      guard let before = try bench.function.errorMirror() else {
        throw .notApplicable("CHANERR_INT cannot be reached")
      }
      try bench.expect(before, is: 0, "CHANERR_INT before the error")
      try bench.provokeError()
      let bits = try bench.error()
      try bench.expect(try bench.function.errorMirror() ?? 0, is: bits, "CHANERR_INT")
      try bench.function.writeConfiguration(FunctionBench.channelErrorInt, .dword, ~bits & 0xffff)
      try bench.expect(
        try bench.function.errorMirror() ?? 0, is: bits, "CHANERR_INT after writing other ones")
      try bench.function.writeConfiguration(FunctionBench.channelErrorInt, .dword, bits)
      try bench.expect(
        try bench.function.errorMirror() ?? 1, is: 0, "CHANERR_INT after writing ones")
    },
    ConformanceRule(
      .config, "error-mirror-mask", "CHANERRMSK_INT keeps what is written.",
      source: "config 0x184; FreeBSD writes 0x3e07", .once
    ) { bench throws(Finding) in
      guard let before = try bench.function.readExtended(0x184) else {
        throw .notApplicable("CHANERRMSK_INT cannot be reached")
      }
      try bench.function.writeConfiguration(0x184, .dword, 0x3e07)
      let seen = try bench.function.readExtended(0x184)
      try bench.function.writeConfiguration(0x184, .dword, before)
      try bench.expect(seen ?? 0, is: 0x3e07, "CHANERRMSK_INT")
    },
    ConformanceRule(
      .config, "uncorrectable-status", "DMAUNCERRSTS is clear, and stays so when ones are written.",
      source: "config 0x148, W1C; Linux writes 0x10 on 0x3430", .once
    ) { bench throws(Finding) in
      guard let before = try bench.function.readExtended(0x148) else {
        throw .notApplicable("DMAUNCERRSTS cannot be reached")
      }
      try bench.function.writeConfiguration(0x148, .dword, before | 0x10)
      try bench.expect(try bench.function.readExtended(0x148) ?? 1, is: 0, "DMAUNCERRSTS")
    },
  ]
}

extension ChannelBench {
  /// The standard capabilities, as number and offset.
  func capabilities() throws(Finding) -> [(id: UInt64, offset: UInt64)] {
    var found: [(UInt64, UInt64)] = []
    var offset = try function.readConfiguration(0x34, .byte)
    while offset != 0 {
      guard offset >= 0x40, offset % 4 == 0 else {
        throw .violated("a capability lies at \(hex(offset))")
      }
      guard found.count < 48, !found.contains(where: { $0.1 == offset }) else {
        throw .violated("the capability list comes back to \(hex(offset))")
      }
      found.append((try function.readConfiguration(offset, .byte), offset))
      offset = try function.readConfiguration(offset + 1, .byte)
    }
    return found
  }

  /// The offset of a standard capability, nil when there is none.
  func capability(_ id: UInt64) throws(Finding) -> UInt64? {
    try capabilities().first { $0.id == id }?.offset
  }
}

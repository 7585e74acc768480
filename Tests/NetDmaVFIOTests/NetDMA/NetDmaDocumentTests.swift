// SPDX-License-Identifier: Apache-2.0

import Foundation
import Testing

/// docs/netdma.md keeps its word: what it names exists, and it names all of netdma.h.
struct NetDmaDocumentTests {
  /// A row of the tables of "Where everything is": what stands in back quotes, column by column.
  private struct Row {
    let text: String
    let names: [String]
    let symbols: [String]
    let tests: [String]
  }

  private static let package = URL(fileURLWithPath: #filePath)
    .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
    .deletingLastPathComponent()

  private func document() throws -> String {
    try String(
      contentsOf: Self.package.appendingPathComponent("docs/netdma.md"), encoding: .utf8)
  }

  private func rows() throws -> [Row] {
    let text = try document()
    let start = try #require(text.range(of: "\n## Where everything is"))
    return text[start.upperBound...].split(separator: "\n").compactMap { line in
      let cells = line.split(separator: "|", omittingEmptySubsequences: false)
      guard cells.count == 5, !line.contains("---"), !line.hasSuffix("| Tests |") else {
        return nil
      }
      return Row(
        text: String(line), names: quoted(cells[1]), symbols: quoted(cells[2]),
        tests: quoted(cells[3]))
    }
  }

  /// What stands between back quotes.
  private func quoted(_ cell: Substring) -> [String] {
    let parts = cell.split(separator: "`", omittingEmptySubsequences: false)
    return parts.indices.filter { $0 % 2 == 1 }.map { String(parts[$0]) }
  }

  /// Texts of the Swift files below a folder, by file name without ending.
  private func sources(_ folder: String) throws -> [String: String] {
    let root = Self.package.appendingPathComponent(folder)
    let files = try #require(
      FileManager.default.enumerator(at: root, includingPropertiesForKeys: nil))
    var texts: [String: String] = [:]
    for case let file as URL in files where file.pathExtension == "swift" {
      let name = file.deletingPathExtension().lastPathComponent
      texts[name, default: ""] += try String(contentsOf: file, encoding: .utf8)
    }
    return texts
  }

  @Test("every row of the table names a symbol and a test")
  func rowsAreComplete() throws {
    let rows = try rows()
    #expect(rows.count > 80)
    for row in rows { #expect(!row.symbols.isEmpty && !row.tests.isEmpty, "\(row.text)") }
  }

  @Test("every test that the table names exists")
  func testsExist() throws {
    let files = try sources("Tests")
    for test in Set(try rows().flatMap(\.tests)).sorted() {
      let parts = test.split(separator: ".").map(String.init)
      guard parts.count == 2, let file = files[parts[0]] else {
        Issue.record("there is no test file \(test)")
        continue
      }
      // The declaration, with a @Test before it that is nearer than any other function.
      guard let function = file.range(of: "func \(parts[1])(") else {
        Issue.record("there is no test \(test)")
        continue
      }
      let before = file[..<function.lowerBound]
      let attribute = before.range(of: "@Test", options: .backwards)?.lowerBound
      let other = before.range(of: "\n  }\n", options: .backwards)?.lowerBound
      let isTest = attribute.map { $0 > other ?? file.startIndex } ?? false
      #expect(isTest, "\(test) is no test")
    }
  }

  @Test("every symbol that the table names is declared")
  func symbolsExist() throws {
    let text = try sources("Sources/NetDmaVFIO").values.joined(separator: "\n")
    for symbol in Set(try rows().flatMap(\.symbols)).sorted() {
      for part in symbol.prefix(while: { $0 != "(" }).split(separator: ".") {
        let pattern = "\\b(func|var|let|case|struct|enum|class|protocol) \(part)\\b"
        #expect(
          text.range(of: pattern, options: .regularExpression) != nil,
          "\(symbol): nothing declares \(part)")
      }
    }
  }

  @Test("the table has all of netdma.h")
  func tableIsComplete() throws {
    let names = Set(try rows().flatMap(\.names))
    let functions = [
      "RegisterProvider", "DeregisterProvider", "ProviderStart", "ProviderStop", "PnPEventNotify",
      "GetVersion", "Isr", "InterruptDpc",
    ].map { "NetDma\($0)" }
    let handlers = [
      "SetDmaChannelCpuAffinity", "AllocateDmaChannel", "FreeDmaChannel", "StartDma", "AppendDma",
      "SuspendDma", "ResumeDma", "AbortDma", "ResetChannel",
    ]
    let structures = [
      "PROVIDER_CHARACTERISTICS", "PROVIDER_ATTRIBUTES", "CHANNEL_PARAMETERS",
      "CHANNEL_CPU_AFFINITY", "PNP_NOTIFICATION", "DESCRIPTOR",
    ].map { "NET_DMA_\($0)" }
    let fields = [
      "MajorVersion", "MinorVersion", "Flags", "MaxDmaChannelCount", "FriendlyName",
      "MajorHwVersion", "MinorHwVersion", "VendorId", "DmaChannelCount", "MaximumTransferSize",
      "MaximumAddressSpace", "CompletionVirtualAddress", "CompletionPhysicalAddress",
      "ProcessorAffinityMask", "ProcessorAffinityMaskEx", "ChannelPriority", "CpuNumber",
      "StructureRevision", "NotificationCode", "TransferSize", "ControlFlags", "SourceAddress",
      "DestinationAddress", "NextDescriptor", "NextSourceAddress", "NextDestinationAddress",
      "UserContext1", "UserContext2",
    ]
    let flags = [
      "INTERRUPT_ON_COMPLETION", "SOURCE_NO_SNOOP", "DESTINATION_NO_SNOOP",
      "STATUS_UPDATE_ON_COMPLETION", "SERIALIZE_TRANSFER", "NULL_TRANSFER", "SOURCE_PAGE_BREAK",
      "DESTINATION_PAGE_BREAK", "DESTINATION_DCA_ENABLE", "OP_TYPE_STANDARD_DMA",
      "OP_TYPE_CONTEXT_CHANGE",
    ].map { "NET_DMA_\($0)" }
    let codes = [
      "ProviderRegistered", "ProviderArrival", "ProviderRemoval", "ChannelArrival",
      "ProviderPowerDown", "ProviderPowerUp",
    ].map { "NetDmaNotification\($0)" }
    for name in functions + handlers + structures + fields + flags + codes {
      #expect(names.contains(name), "\(name) is not in the table")
    }
  }
}

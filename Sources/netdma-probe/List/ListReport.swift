// SPDX-License-Identifier: Apache-2.0

/// What `list` prints.
struct ListReport: Encodable {
  let schema = JSONOutput.schema
  let command = "list"
  let devices: [ListEntry]
  private let showsAll: Bool
  private let hasPCI: Bool

  enum CodingKeys: String, CodingKey { case schema, command, devices }

  init(entries: [ListEntry], showsAll: Bool, hasPCI: Bool) {
    devices = entries
    self.showsAll = showsAll
    self.hasPCI = hasPCI
  }

  func printText() {
    let style = TextStyle.output
    if !devices.isEmpty {
      let usable = Self.headings.firstIndex(of: "USABLE")
      print(
        table.lines(width: Terminal.limit) { row, column, text in
          if row == 0 { return style.bold(text) }
          guard column == usable else { return text }
          return text == "yes" ? style.good(text) : text == "no" ? style.bad(text) : text
        })
    }
    for line in advice { print(line) }
  }

  private static let headings = [
    "ADDRESS", "CH", "NODE", "GROUP", "DRIVER", "USABLE", "DEVICE",
  ]

  private var table: TextTable {
    var table = TextTable(Self.headings)
    for entry in devices {
      table.add([
        entry.address, entry.channels.map(String.init) ?? "-",
        entry.numaNode.map(String.init) ?? "-",
        group(entry), entry.driver ?? "-",
        entry.isIOAT ? (entry.isUsable ? "yes" : "no") : "-", entry.name,
      ])
    }
    return table
  }

  /// "7", or "7+2" with two more functions in it.
  private func group(_ entry: ListEntry) -> String {
    guard let group = entry.iommuGroup else { return "-" }
    return entry.groupMembers.isEmpty ? "\(group)" : "\(group)+\(entry.groupMembers.count)"
  }

  /// Who else is in its group, beside those that the reason names.
  private func company(_ entry: ListEntry) -> String? {
    let others = entry.groupFunctions.filter { !(entry.reason ?? "").contains($0.summary) }
    guard let group = entry.iommuGroup, !others.isEmpty else { return nil }
    return "group \(group) also holds \(others.map(\.summary).joined(separator: ", "))"
  }

  /// What to do now.
  private var advice: [String] {
    let engines = devices.filter(\.isIOAT)
    if engines.isEmpty {
      let nothing =
        hasPCI
        ? "This machine has no IOAT DMA engine."
        : "This machine shows no PCI bus, so no DMA engine either."
      return folded(nothing)
        + folded("To see a copy on the built-in model:", command: "netdma-probe verify --mock")
    }
    var lines = engines.flatMap { entry in
      [entry.reason, company(entry)].compactMap(\.self).flatMap { remark in
        folded("\(entry.address): \(remark)")
      }
    }
    if let usable = engines.first(where: \.isUsable) {
      lines += folded("To try it:", command: "netdma-probe verify --device \(usable.address)")
    } else {
      lines += folded(
        "What to do:", command: "netdma-probe doctor \(engines.first?.address ?? "")")
    }
    return lines
  }

  /// Lines of a sentence for where the output goes; a command after it, which is to be copied, is not
  /// broken.
  private func folded(_ sentence: String, command: String? = nil) -> [String] {
    let words = sentence.split(separator: " ").map(String.init) + [command].compactMap(\.self)
    return fold(words, width: Terminal.limit ?? Int.max)
  }
}

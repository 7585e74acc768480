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
    if !devices.isEmpty { print(table.lines(width: Terminal.width)) }
    for line in advice { print(line) }
  }

  private var table: TextTable {
    var table = TextTable(["ADDRESS", "NODE", "GROUP", "DRIVER", "USABLE", "DEVICE"])
    for entry in devices {
      table.add([
        entry.address, entry.numaNode.map(String.init) ?? "-",
        entry.iommuGroup.map(String.init) ?? "-", entry.driver ?? "-",
        entry.isIOAT ? (entry.isUsable ? "yes" : "no") : "-", entry.name,
      ])
    }
    return table
  }

  /// What to do now.
  private var advice: [String] {
    let engines = devices.filter(\.isIOAT)
    if engines.isEmpty {
      let nothing =
        hasPCI
        ? "This machine has no IOAT DMA engine."
        : "This machine shows no PCI bus, so no DMA engine either."
      return [nothing, "To see a copy on the built-in model: netdma-probe verify --mock"]
    }
    var lines = engines.filter { !$0.isUsable }.map { "\($0.address): \($0.reason ?? "")" }
    if let usable = engines.first(where: \.isUsable) {
      lines.append("To try it: netdma-probe verify --device \(usable.address)")
    } else {
      lines.append("None can be used as it is. On the built-in model: netdma-probe verify --mock")
    }
    return lines
  }
}

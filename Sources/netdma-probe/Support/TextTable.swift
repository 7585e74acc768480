// SPDX-License-Identifier: Apache-2.0

/// Rows of text in aligned columns; the last column gives way when the terminal is narrow.
struct TextTable {
  private var rows: [[String]]

  /// Starts a table with its headings.
  init(_ headings: [String]) { rows = [headings] }

  /// Appends a row with as many cells as there are headings.
  mutating func add(_ cells: [String]) { rows.append(cells) }

  /// The lines of the table, none longer than `width`.
  func lines(width: Int) -> String {
    let count = rows.first?.count ?? 0
    let widths = (0..<count).map { column in rows.map { $0[column].count }.max() ?? 0 }
    return rows.map { cells in
      var line = ""
      for (column, cell) in cells.enumerated() {
        let isLast = column == count - 1
        if isLast, line.count + cell.count > width, width > line.count + 1 {
          line += cell.prefix(width - line.count - 1) + "…"
        } else {
          line += isLast ? cell : cell + String(repeating: " ", count: widths[column] - cell.count)
          if !isLast { line += "  " }
        }
      }
      return line
    }.joined(separator: "\n")
  }
}

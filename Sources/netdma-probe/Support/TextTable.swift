// SPDX-License-Identifier: Apache-2.0

/// Rows of text in aligned columns; the last column gives way when the terminal is narrow.
struct TextTable {
  private var rows: [[String]]

  /// Starts a table with its headings.
  init(_ headings: [String]) { rows = [headings] }

  /// Appends a row with as many cells as there are headings.
  mutating func add(_ cells: [String]) { rows.append(cells) }

  /// The lines of the table, none longer than `width`.
  ///
  /// `paint` may add emphasis, which takes no room, to the cell of a row and column; row 0 has the
  /// headings.
  func lines(
    width: Int, paint: (_ row: Int, _ column: Int, _ text: String) -> String = { $2 }
  ) -> String {
    let count = rows.first?.count ?? 0
    let widths = (0..<count).map { column in rows.map { $0[column].count }.max() ?? 0 }
    return rows.enumerated().map { row, cells in
      var line = ""
      var used = 0
      for (column, cell) in cells.enumerated() {
        let isLast = column == count - 1
        let room = width - used
        // The column of text gives way; it keeps one character and what says that more follows.
        let text = isLast && cell.count > room && room > 1 ? cell.prefix(room - 1) + "…" : cell
        line += paint(row, column, text)
        if !isLast {
          let gap = widths[column] - cell.count + 2
          line += String(repeating: " ", count: gap)
          used += cell.count + gap
        }
      }
      return line
    }.joined(separator: "\n")
  }
}

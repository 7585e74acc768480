// SPDX-License-Identifier: Apache-2.0

/// Rows of text in aligned columns; what the terminal has no room for is cut.
struct TextTable {
  private var rows: [[String]]

  /// Starts a table with its headings.
  init(_ headings: [String]) { rows = [headings] }

  /// Appends a row with as many cells as there are headings.
  mutating func add(_ cells: [String]) { rows.append(cells) }

  /// The lines of the table, none longer than `width`; nil sets no limit.
  ///
  /// A line that would be longer ends in "…".
  ///
  /// `paint` may add emphasis, which takes no room, to the cell of a row and column; row 0 has the
  /// headings.
  func lines(
    width: Int?, paint: (_ row: Int, _ column: Int, _ text: String) -> String = { $2 }
  ) -> String {
    let count = rows.first?.count ?? 0
    let widths = (0..<count).map { column in rows.map { $0[column].count }.max() ?? 0 }
    return rows.enumerated().map { row, cells in
      let length = widths.dropLast().reduce(0) { $0 + $1 + 2 } + (cells.last?.count ?? 0)
      // One column of a line that is cut is for what says that more follows.
      var room = width.map { length > $0 ? $0 - 1 : length } ?? length
      let isCut = room < length
      var line = ""
      for (column, cell) in cells.enumerated() where room > 0 {
        let text = String(cell.prefix(room))
        line += paint(row, column, text)
        room -= text.count
        guard column < count - 1, room > 0 else { continue }
        let gap = min(room, widths[column] - cell.count + 2)
        line += String(repeating: " ", count: gap)
        room -= gap
      }
      return isCut ? line + "…" : line
    }.joined(separator: "\n")
  }
}

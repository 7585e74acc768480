// SPDX-License-Identifier: Apache-2.0

/// Text inside HTML and SVG.
enum Markup {
  /// `text` with everything replaced that markup or a quoted attribute would take for itself, and
  /// without characters that no document may hold.
  static func escaped(_ text: String) -> String {
    var result = ""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "&": result += "&amp;"
      case "<": result += "&lt;"
      case ">": result += "&gt;"
      case "\"": result += "&quot;"
      case "'": result += "&#39;"
      case "\t", "\n": result.unicodeScalars.append(scalar)
      default:
        // Control characters and non-characters come only from hostile or broken sources.
        let isOdd =
          scalar.properties.generalCategory == .control
          || scalar.properties.isNoncharacterCodePoint
        result.unicodeScalars.append(isOdd ? "\u{fffd}" : scalar)
      }
    }
    return result
  }

  /// A table with a caption; the first column of each row names it, with words or with a number.
  static func table(
    caption: String, headings: [String], rows: [[String]], namesAreWords: Bool = false
  ) -> String {
    let head = headings.map { "<th scope=\"col\">\(escaped($0))</th>" }.joined()
    let body = rows.map { row in
      let cells = row.enumerated().map { index, text in
        index == 0
          ? "<th scope=\"row\">\(escaped(text))</th>" : "<td>\(escaped(text))</td>"
      }
      return "<tr>\(cells.joined())</tr>"
    }
    return """
      <div class="wide"><table\(namesAreWords ? " class=\"words\"" : "")>
      <caption>\(escaped(caption))</caption>
      <thead><tr>\(head)</tr></thead>
      <tbody>
      \(body.joined(separator: "\n"))
      </tbody>
      </table></div>
      """
  }
}

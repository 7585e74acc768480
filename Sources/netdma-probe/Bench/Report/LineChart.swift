// SPDX-License-Identifier: Apache-2.0

/// Lines over two axes, drawn as SVG.
struct LineChart: Sendable {
  /// One line; its colour and dashes come with its kind.
  struct Line: Sendable {
    /// What the style sheet draws alike.
    enum Kind: String, Sendable {
      case first = "a", second = "b", third = "c", fourth = "d"
      /// The CPU's.
      case cpu = "cpu"
      /// What would be, not what is.
      case ideal = "ideal"
    }
    let name: String
    let kind: Kind
    let points: [(x: Double, y: Double)]
  }

  /// A value of the horizontal axis that is marked across the chart.
  struct Mark: Sendable {
    let x: Double
    let label: String
  }

  /// Names the SVG's parts; once in a document.
  let id: String
  let title: String
  /// What the lines show, for those who do not see them.
  let description: String
  let xTitle: String
  let yTitle: String
  let x: AxisScale
  let y: AxisScale
  let lines: [Line]
  var marks: [Mark] = []

  private static let width = 640.0
  private static let height = 360.0
  private static let left = 58.0
  private static let right = 110.0
  private static let top = 34.0
  private static let bottom = 50.0
  private static let lineHeight = 17.0

  var svg: String {
    var parts = [grid]
    parts += marks.map(drawn)
    parts += lines.map(drawn)
    parts.append(labels)
    return """
      <svg viewBox="0 0 \(Int(Self.width)) \(Int(Self.height))" role="img" \
      aria-labelledby="\(id)-title \(id)-desc">
      <title id="\(id)-title">\(Markup.escaped(title))</title>
      <desc id="\(id)-desc">\(Markup.escaped(description))</desc>
      \(parts.joined(separator: "\n"))
      </svg>
      """
  }

  private func across(_ value: Double) -> Double {
    Self.left + x.position(value) * (Self.width - Self.left - Self.right)
  }
  private func down(_ value: Double) -> Double {
    Self.height - Self.bottom - y.position(value) * (Self.height - Self.top - Self.bottom)
  }
  /// A tenth of a pixel is enough.
  private func number(_ value: Double) -> String {
    let tenths = Int((value * 10).rounded())
    return tenths % 10 == 0 ? "\(tenths / 10)" : "\(tenths / 10).\(abs(tenths % 10))"
  }

  private var grid: String {
    let (top, bottom) = (number(Self.top), number(Self.height - Self.bottom))
    let (left, right) = (number(Self.left), number(Self.width - Self.right))
    var parts: [String] = []
    for tick in x.ticks {
      let place = number(across(tick.value))
      parts.append(
        "<line class=\"\(tick.label == nil ? "minor" : "grid")\" x1=\"\(place)\" y1=\"\(top)\" "
          + "x2=\"\(place)\" y2=\"\(bottom)\"/>")
      if let label = tick.label {
        parts.append(
          "<text class=\"tick\" text-anchor=\"middle\" x=\"\(place)\" "
            + "y=\"\(number(Self.height - Self.bottom + 18))\">\(Markup.escaped(label))</text>")
      }
    }
    for tick in y.ticks {
      let place = down(tick.value)
      parts.append(
        "<line class=\"\(tick.label == nil ? "minor" : "grid")\" x1=\"\(left)\" "
          + "y1=\"\(number(place))\" x2=\"\(right)\" y2=\"\(number(place))\"/>")
      if let label = tick.label {
        parts.append(
          "<text class=\"tick\" text-anchor=\"end\" x=\"\(number(Self.left - 7))\" "
            + "y=\"\(number(place + 4))\">\(Markup.escaped(label))</text>")
      }
    }
    parts.append(
      "<text class=\"axis\" x=\"\(number(4))\" y=\"\(number(14))\">\(Markup.escaped(yTitle))</text>"
    )
    parts.append(
      "<text class=\"axis\" text-anchor=\"middle\" "
        + "x=\"\(number((Self.left + Self.width - Self.right) / 2))\" "
        + "y=\"\(number(Self.height - 10))\">\(Markup.escaped(xTitle))</text>")
    return parts.joined(separator: "\n")
  }

  private func drawn(_ mark: Mark) -> String {
    let place = across(mark.x)
    // The label stands on the side where there is room.
    let isLeft = x.position(mark.x) < 0.6
    return """
      <line class="mark" x1="\(number(place))" y1="\(number(Self.top))" x2="\(number(place))" \
      y2="\(number(Self.height - Self.bottom))"/>
      <text class="mark" text-anchor="\(isLeft ? "start" : "end")" \
      x="\(number(place + (isLeft ? 6 : -6)))" \
      y="\(number(Self.top + 13))">\(Markup.escaped(mark.label))</text>
      """
  }

  private func drawn(_ line: Line) -> String {
    let places = line.points.map { "\(number(across($0.x))),\(number(down($0.y)))" }
    var parts = [
      "<polyline class=\"line \(line.kind.rawValue)\" points=\"\(places.joined(separator: " "))\"/>"
    ]
    if line.kind != .ideal {
      parts += line.points.map { point in
        "<circle class=\"dot \(line.kind.rawValue)\" cx=\"\(number(across(point.x)))\" "
          + "cy=\"\(number(down(point.y)))\" r=\"2.5\"/>"
      }
    }
    return parts.joined(separator: "\n")
  }

  /// Each line's name where the line ends; names that would overlap are moved apart.
  private var labels: String {
    var ends = lines.compactMap { line in line.points.last.map { (line: line, y: down($0.y)) } }
    ends.sort { $0.y < $1.y }
    for index in ends.indices.dropFirst() {
      ends[index].y = max(ends[index].y, ends[index - 1].y + Self.lineHeight)
    }
    // Those that were pushed out below move up again, and push the others.
    var limit = Self.height - Self.bottom
    for index in ends.indices.reversed() {
      ends[index].y = min(ends[index].y, limit)
      limit = ends[index].y - Self.lineHeight
    }
    return ends.map { end in
      "<text class=\"name \(end.line.kind.rawValue)\" "
        + "x=\"\(number(Self.width - Self.right + 10))\" "
        + "y=\"\(number(end.y + 4))\">\(Markup.escaped(end.line.name))</text>"
    }.joined(separator: "\n")
  }
}

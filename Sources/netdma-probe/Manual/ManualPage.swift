// SPDX-License-Identifier: Apache-2.0

/// netdma-probe(1) in the macros of man(7).
struct ManualPage {
  /// The page.
  private(set) var text = ""

  init(_ tool: HelpDump.Command) {
    line(
      ".TH NETDMA\\-PROBE 1 \(NetDmaProbe.versionDate) "
        + "\"netdma\\-probe \(NetDmaProbe.version)\" \"User Commands\"")
    section("NAME")
    paragraph("\(tool.commandName) \u{2013} \(lowercasedFirst(tool.abstract ?? ""))")
    section("SYNOPSIS")
    for command in tool.visibleCommands {
      line(".B \(escape(tool.commandName + " " + command.commandName))")
      line(synopsis(command))
      line(".br")
    }
    line(".B \(escape(tool.commandName)) \\-\\-help")
    section("DESCRIPTION")
    prose(ManualSections.description)
    section("COMMANDS")
    for command in tool.visibleCommands { add(command, of: tool) }
    for part in ManualSections.all {
      section(part.title)
      for entry in part.entries { item(bold(entry.term), entry.text) }
      prose(part.text)
    }
  }

  // MARK: - Commands

  private mutating func add(_ command: HelpDump.Command, of tool: HelpDump.Command) {
    line(".SS \"\(escape(tool.commandName + " " + command.commandName))\"")
    prose((command.abstract ?? "") + "\n\n" + (command.discussion ?? ""))
    for argument in command.visibleArguments { add(argument) }
  }

  private mutating func add(_ argument: HelpDump.Argument) {
    let value = italic(argument.valueName ?? "value")
    let names = (argument.names ?? []).map(\.spelling).map(bold).joined(separator: ", ")
    let term =
      switch argument.kind {
      case .positional: value
      case .option: "\(names) \(value)"
      case .flag: names
      }
    let standard = argument.defaultValue.map { " The default is \($0)." } ?? ""
    item(term, (argument.abstract ?? "") + standard)
  }

  /// The arguments on one line of source; man breaks it between them.
  private func synopsis(_ command: HelpDump.Command) -> String {
    let words = command.visibleArguments.filter { $0.preferredName?.name != "help" }.map {
      argument in
      let value = italic(argument.valueName ?? "value")
      let name = argument.preferredName.map { bold($0.spelling) } ?? ""
      let word =
        switch argument.kind {
        case .positional: value
        case .option: name + "\\ " + value
        case .flag: name
        }
      return (argument.isOptional ? "[\(word)]" : word) + (argument.isRepeating ? "..." : "")
    }
    return words.joined(separator: "\n")
  }

  // MARK: - Text

  private mutating func line(_ source: String) {
    // A paragraph that nothing stands in is one too many for groff's checks.
    if text.hasSuffix("\n.PP\n"), [".PP", ".SH", ".SS", ".TP"].contains(where: source.hasPrefix) {
      text.removeLast(".PP\n".count)
    }
    text += source + "\n"
  }

  private mutating func section(_ title: String) { line(".SH \"\(escape(title))\"") }

  private mutating func paragraph(_ words: String) { line(escape(words)) }

  private mutating func item(_ term: String, _ words: String) {
    line(".TP\n\(term)\n\(escape(words.isEmpty ? "\u{2013}" : words))")
  }

  /// Paragraphs between empty lines; what is indented stays as it is, a line of capitals is a heading.
  private mutating func prose(_ words: String) {
    var isExample = false
    func endExample(_ page: inout ManualPage) {
      if isExample { page.line(".EE\n.RE") }
      isExample = false
    }
    for source in words.split(separator: "\n", omittingEmptySubsequences: false) {
      if source.hasPrefix("  ") {
        if !isExample { line(".PP\n.RS 4\n.EX") }
        isExample = true
        line(escape(String(source.dropFirst(2))))
        continue
      }
      endExample(&self)
      if source.isEmpty {
        line(".PP")
      } else if source.allSatisfy({ $0.isUppercase || $0 == " " }) {
        line(".PP\n\(bold(String(source.prefix(1)) + source.dropFirst().lowercased()))")
      } else {
        paragraph(String(source))
      }
    }
    endExample(&self)
  }

  private func bold(_ words: String) -> String { "\\fB\(escape(words))\\fR" }
  private func italic(_ words: String) -> String { "\\fI\(escape(words))\\fR" }

  private func lowercasedFirst(_ words: String) -> String {
    let plain = words.hasSuffix(".") ? String(words.dropLast()) : words
    return plain.prefix(1).lowercased() + plain.dropFirst()
  }

  /// Text as it is to appear: no request at the start of a line, no escape by chance.
  private func escape(_ words: String) -> String {
    var result = ""
    for character in words {
      switch character {
      case "\\": result += "\\(rs"
      case "-": result += "\\-"
      case "'": result += "\\(aq"
      case "`": result += "\\(ga"
      case "^": result += "\\(ha"
      case "~": result += "\\(ti"
      case "\"": result += "\\(dq"
      case "\u{2013}": result += "\\(en"
      case "\u{2713}": result += "\\[u2713]"
      case "\u{2717}": result += "\\[u2717]"
      default: result.append(character)
      }
    }
    return result.hasPrefix(".") ? "\\&" + result : result
  }
}

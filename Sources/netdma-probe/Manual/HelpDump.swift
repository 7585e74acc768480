// SPDX-License-Identifier: Apache-2.0

import ArgumentParser
import FoundationEssentials

/// What the commands say of themselves, as ArgumentParser dumps it for tools.
struct HelpDump: Decodable {
  let command: Command

  /// A command with its arguments.
  struct Command: Decodable {
    let commandName: String
    let superCommands: [String]?
    let abstract: String?
    let discussion: String?
    let shouldDisplay: Bool?
    let subcommands: [Command]?
    let arguments: [Argument]?
  }

  /// A positional argument, an option or a flag.
  struct Argument: Decodable {
    enum Kind: String, Decodable { case positional, option, flag }

    struct Name: Decodable {
      let kind: String
      let name: String

      /// As it is typed.
      var spelling: String { (kind == "long" ? "--" : "-") + name }
    }

    let kind: Kind
    let shouldDisplay: Bool
    let isOptional: Bool
    let isRepeating: Bool
    let names: [Name]?
    let preferredName: Name?
    let valueName: String?
    let defaultValue: String?
    let abstract: String?
  }

  /// Everything below `Tool`.
  init<Tool: ParsableCommand>(of tool: Tool.Type) throws {
    let bytes = Array(Tool._dumpHelp().utf8)
    self = try JSONDecoder().decode(HelpDump.self, from: Data(bytes))
  }
}

extension HelpDump.Command {
  /// Commands that `--help` lists.
  var visibleCommands: [HelpDump.Command] {
    (subcommands ?? []).filter { ($0.shouldDisplay ?? true) && $0.commandName != "help" }
  }

  /// Arguments that `--help` lists.
  var visibleArguments: [HelpDump.Argument] { (arguments ?? []).filter(\.shouldDisplay) }
}

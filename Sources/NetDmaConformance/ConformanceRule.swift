// SPDX-License-Identifier: Apache-2.0

/// One sentence about IOAT hardware that a device keeps or breaks.
public struct ConformanceRule: Sendable, Identifiable {
  /// The group and a short name, "error.first".
  public let id: String
  /// What it is about.
  public let group: ConformanceGroup
  /// What a conforming device does.
  public let statement: String
  /// Where that is known from: a datasheet's section, or the driver that relies on it.
  public let source: String
  let scope: Scope
  let needs: [Need]
  let check: Check

  typealias Check = @Sendable (ChannelBench) throws(Finding) -> Void

  /// How often a rule is checked.
  enum Scope: Sendable {
    /// Once, on channel 0.
    case once
    /// On every channel.
    case eachChannel
    /// Once, without any channel: works where firmware has disabled them.
    case function
  }

  init(
    _ group: ConformanceGroup, _ name: String, _ statement: String, source: String,
    _ scope: Scope = .eachChannel, needs: [Need] = [], check: @escaping Check
  ) {
    id = "\(group.rawValue).\(name)"
    self.group = group
    self.statement = statement
    self.source = source
    self.scope = scope
    self.needs = needs
    self.check = check
  }

  /// All rules, in the order in which they are checked.
  public static let all: [ConformanceRule] =
    GeneralRules.all + ConfigurationRules.all + ChannelRegisterRules.all + StateRules.all
    + CountRules.all + DescriptorRules.all + CompletionRules.all + ErrorRules.all
    + RecoveryRules.all + InterruptRules.all + ResetRules.all + ParityRules.all + ChecksumRules.all

  /// The rules that `selector` names: one by its id, or a group's.
  public static func matching(_ selector: String) -> [ConformanceRule] {
    all.filter { $0.id == selector || $0.group.rawValue == selector }
  }
}

/// What a device must have for a rule to mean something.
enum Need: Sendable {
  /// Bits of DMACAPABILITY, and their name.
  case capability(UInt32, String)
  /// Bits of DMACAPABILITY that must be clear, and their name.
  case noCapability(UInt32, String)
  /// CBVER at least.
  case version(UInt8)
  /// CBVER below.
  case versionBelow(UInt8)
  /// So many channels in the function.
  case channels(Int)
  /// MSI-X or MSI.
  case interrupts
  /// The transport can reset the function.
  case functionReset

  /// Why the rule does not apply, nil when it does.
  func reason(_ facts: DeviceFacts) -> String? {
    switch self {
    case .capability(let bits, let name):
      facts.capabilities & bits == bits ? nil : "DMACAPABILITY has no \(name)"
    case .noCapability(let bits, let name):
      facts.capabilities & bits == 0 ? nil : "DMACAPABILITY has \(name)"
    case .version(let least):
      facts.version >= least ? nil : "it is older than version \(DeviceFacts.text(version: least))"
    case .versionBelow(let limit):
      facts.version < limit ? nil : "it is not older than \(DeviceFacts.text(version: limit))"
    case .channels(let least):
      facts.channelCount >= least ? nil : "the function has \(facts.channelCount) channel"
    case .interrupts:
      facts.interruptIndex == nil ? "the function has neither MSI-X nor MSI" : nil
    case .functionReset:
      facts.supportsReset ? nil : "the function cannot be reset"
    }
  }
}

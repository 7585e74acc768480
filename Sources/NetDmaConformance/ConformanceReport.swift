// SPDX-License-Identifier: Apache-2.0

/// What came out of one rule.
public struct ConformanceResult: Sendable {
  /// Whether the rule is kept.
  public enum Outcome: Sendable, Equatable {
    /// The device keeps it.
    case pass
    /// The device breaks it; a sentence for each channel that does.
    case fail([String])
    /// It means nothing for this device; why.
    case notApplicable(String)
  }
  /// The rule.
  public let rule: ConformanceRule
  /// What came out.
  public let outcome: Outcome

  /// Whether the device breaks the rule.
  public var isViolation: Bool {
    if case .fail = outcome { true } else { false }
  }
}

/// What came out of all rules.
public struct ConformanceReport: Sendable {
  /// CBVER as "3.3".
  public let version: String
  /// Channels of the function.
  public let channelCount: Int
  /// DMACAPABILITY.
  public let capabilities: UInt32
  /// One result for each rule that was asked for, in order; fewer after an interruption.
  public internal(set) var results: [ConformanceResult] = []

  /// Rules that were broken.
  public var violations: [ConformanceResult] { results.filter(\.isViolation) }
  /// Rules that were kept.
  public var passed: Int { results.count { $0.outcome == .pass } }
  /// Rules that mean nothing for this device.
  public var notApplicable: Int { results.count - passed - violations.count }
}

// SPDX-License-Identifier: Apache-2.0

import NetDmaConformance
import NetDmaVFIO

/// One rule's line.
struct RuleLine: Encodable {
  let rule: String
  let group: String
  let statement: String
  let source: String
  /// "pass", "fail" or "n/a"; nil in a list.
  let outcome: String?
  /// What was seen, or why the rule does not apply.
  let details: [String]

  /// A rule that was not checked.
  init(_ rule: ConformanceRule) {
    self.init(rule, outcome: nil, details: [])
  }

  /// A rule that was checked.
  init(_ result: ConformanceResult) {
    switch result.outcome {
    case .pass: self.init(result.rule, outcome: "pass", details: [])
    case .fail(let sentences): self.init(result.rule, outcome: "fail", details: sentences)
    case .notApplicable(let reason): self.init(result.rule, outcome: "n/a", details: [reason])
    }
  }

  private init(_ rule: ConformanceRule, outcome: String?, details: [String]) {
    self.rule = rule.id
    group = rule.group.rawValue
    statement = rule.statement
    source = rule.source
    self.outcome = outcome
    self.details = details
  }

  private static let nameWidth = ConformanceRule.all.map(\.id.count).max() ?? 0

  /// One line; below it, for a broken rule, one for each thing that was seen.
  func printText() {
    let name = rule + String(repeating: " ", count: max(0, Self.nameWidth - rule.count))
    let line = "\(name)  \(statement) [\(source)]"
    switch outcome {
    case nil: print(line)
    case "pass": print("pass  \(line)")
    case "n/a": print("n/a   \(line) -- \(details.joined(separator: "; "))")
    default:
      print("FAIL  \(line)")
      for detail in details { print("      \(detail)") }
    }
  }
}

/// What `conformance --list` prints.
struct RuleList: Encodable {
  let schema = JSONOutput.schema
  let command = "conformance"
  let rules: [RuleLine]

  enum CodingKeys: String, CodingKey { case schema, command, rules }

  init(_ rules: [ConformanceRule]) { self.rules = rules.map { RuleLine($0) } }

  func printText() {
    for rule in rules { rule.printText() }
    print("\(rules.count) rules")
  }
}

/// What `conformance` prints.
struct ConformanceSummary: Encodable {
  let schema = JSONOutput.schema
  let command = "conformance"
  let transport: String
  let device: String
  let cbVersion: String
  let channels: Int
  let capabilities: UInt32
  let rules: [RuleLine]
  let passed: Int
  let failed: Int
  let notApplicable: Int
  /// A signal ended it before all rules were checked.
  let interrupted: Bool
  let ok: Bool

  enum CodingKeys: String, CodingKey {
    case schema, command, transport, device, cbVersion, channels, capabilities, rules, passed,
      failed, notApplicable, interrupted, ok
  }

  // Not for JSON.
  private let wanted: Int

  /// Of a test that was to check `wanted` rules.
  init(_ transport: any DeviceTransport, _ report: ConformanceReport, wanted: Int) {
    self.wanted = wanted
    self.transport = transport.kind.rawValue
    device = transport.name
    cbVersion = report.version
    channels = report.channelCount
    capabilities = report.capabilities
    rules = report.results.map { RuleLine($0) }
    passed = report.passed
    failed = report.violations.count
    notApplicable = report.notApplicable
    interrupted = report.results.count < wanted
    ok = report.violations.isEmpty && !interrupted
  }

  func printText() {
    print(
      """
      \(device) (\(transport)), CB \(cbVersion), \(channels) channel\(channels == 1 ? "" : "s"): \
      \(passed) rules kept, \(failed) broken, \(notApplicable) not applicable
      """)
    if interrupted { print("stopped: \(wanted - rules.count) of \(wanted) rules were not checked") }
  }
}

/// Rules that the device breaks.
struct ConformanceFailure: DiagnosticError {
  let summary: ConformanceSummary

  var what: String {
    "\(summary.device) breaks \(summary.failed) rule\(summary.failed == 1 ? "" : "s")."
  }
  var why: String {
    let names = summary.rules.filter { $0.outcome == "fail" }.map(\.rule)
    return "They are \(names.joined(separator: ", "))."
  }
  var remedy: String {
    let name = summary.rules.first { $0.outcome == "fail" }?.rule ?? "RULE"
    return "To repeat one with each step shown, add --only \(name) --log-level debug."
  }
}

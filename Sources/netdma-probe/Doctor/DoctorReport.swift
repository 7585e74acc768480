// SPDX-License-Identifier: Apache-2.0

import ArgumentParser
import NetDmaVFIO

/// What `doctor` prints.
struct DoctorReport: Encodable {
  let schema = JSONOutput.schema
  let command = "doctor"
  /// The function that was examined, nil when there is none.
  let device: String?
  let checks: [CheckResult]
  /// The copies that prove it, nil when none were made.
  let proof: CopyProof?
  /// Whether copies work.
  let ok: Bool
  let status: ExitCode

  enum CodingKeys: String, CodingKey { case schema, command, device, checks, proof, ok }

  init(device: String?, checks: [CheckResult], proof: CopyProof?, status: ExitCode) {
    self.device = device
    self.checks = checks
    self.proof = proof
    self.status = status
    ok = status == .success
  }

  func printText() {
    let style = TextStyle.output
    for scope in CheckResult.Scope.allCases {
      let part = checks.filter { $0.scope == scope }
      if part.isEmpty { continue }
      let title =
        switch scope {
        case .machine: "This machine"
        case .device: device ?? ""
        case .proof: "Proof"
        }
      print((scope == .machine ? "" : "\n") + style.bold(title))
      for check in part { printCheck(check, style) }
    }
    print("\n" + verdict(style))
  }

  private func printCheck(_ check: CheckResult, _ style: TextStyle) {
    let mark =
      switch check.state {
      case .ok: style.good("✓")
      case .failed: style.bad("✗")
      case .unknown: style.doubtful("?")
      }
    let column = 26
    let lines = fold(
      check.detail.split(separator: " ").map(String.init), width: Terminal.width - column)
    print("  \(mark) " + pad(check.title, column - 4) + (lines.first ?? ""))
    for line in lines.dropFirst() { print(String(repeating: " ", count: column) + line) }
    // Whole lines, for they are to be copied.
    for fix in check.fix { print("      " + style.bold(fix)) }
  }

  private func verdict(_ style: TextStyle) -> String {
    let failed = checks.count { $0.state == .failed }
    if ok { return style.good("\(device ?? "") copies correctly.") }
    if failed == 0 { return "Nothing was found that is wrong, but no copy was made." }
    return style.bad("\(failed) of \(checks.count) checks failed.")
      + " Mend them from the top, then run doctor again."
  }
}

// SPDX-License-Identifier: Apache-2.0

import NetDmaVFIO

/// What `verify` prints.
struct VerifyReport: Encodable {
  let schema = JSONOutput.schema
  let command = "verify"
  let transport: String
  let device: String
  let cbVersion: String
  let channels: Int
  let mode: String
  /// How interrupts came; nil when none were taken.
  let interruptKind: String?
  let seed: UInt64
  let copies: Int
  let bytes: UInt64
  let mismatches: Int
  let guardViolations: Int
  let failed: Int
  let interrupts: UInt64
  let isrCalls: UInt64
  let dpcCalls: UInt64
  let faultsInjected: Int
  let faultsReported: Int
  let spuriousInterrupts: UInt64
  let lateInterrupts: UInt64
  let mergedInterrupts: UInt64
  let lostInterrupts: UInt64
  let lostCompletions: UInt64
  let descriptors: UInt64
  let doorbells: UInt64
  let resets: UInt64
  let seconds: Double
  let notes: [String]
  /// A signal ended it before all copies were made.
  let interrupted: Bool
  let ok: Bool

  enum CodingKeys: String, CodingKey {
    case schema, command, transport, device, cbVersion, channels, mode, interruptKind, seed, copies,
      bytes,
      mismatches, guardViolations, failed, faultsInjected, faultsReported, interrupts, isrCalls,
      dpcCalls, spuriousInterrupts, lateInterrupts, mergedInterrupts, lostInterrupts,
      lostCompletions, descriptors, doorbells, resets, seconds, notes, interrupted, ok
  }

  // Not for JSON.
  private let wanted: Int
  private let isClean: Bool

  init(
    engine: DMAEngine, plan: CopyVerifier.Plan, summary: CopyVerifier.Summary, interrupted: Bool
  ) {
    transport = engine.device.transport.kind.rawValue
    device = engine.device.name
    cbVersion = engine.device.version.description
    channels = plan.channels
    mode = plan.polls ? "poll" : "interrupt"
    interruptKind = engine.device.interruptStyle?.name
    seed = plan.seed
    copies = summary.copies
    bytes = summary.bytes
    mismatches = summary.mismatches
    guardViolations = summary.guardViolations
    failed = summary.failed
    interrupts = summary.statistics.interrupts
    isrCalls = summary.statistics.isrCalls
    dpcCalls = summary.statistics.dpcCalls
    faultsInjected = summary.faultsInjected
    faultsReported = summary.faultsReported
    lateInterrupts = summary.statistics.lateInterrupts
    lostCompletions = summary.statistics.lostCompletions
    spuriousInterrupts = summary.statistics.spuriousInterrupts
    mergedInterrupts = summary.statistics.mergedInterrupts
    lostInterrupts = summary.statistics.lostInterrupts
    descriptors = summary.statistics.submittedDescriptors
    doorbells = summary.statistics.doorbells
    resets = summary.statistics.resets
    seconds = summary.seconds
    notes = summary.notes
    self.interrupted = interrupted
    wanted = plan.count
    isClean = summary.isClean
    let wasInterrupted = plan.polls || summary.statistics.isrCalls > 0
    ok =
      summary.isClean && wasInterrupted && !interrupted
      && summary.copies + summary.faultsReported > 0
  }

  /// What is wrong with what was done, nil when nothing.
  var failure: VerifyFailure? {
    ok || interrupted && isClean ? nil : VerifyFailure(report: self)
  }

  func printJSON() throws { try JSONOutput.print(self) }

  func printText() {
    print(
      """
      device:      \(device) (\(transport)), CB \(cbVersion), \(channels) \
      channel\(channels == 1 ? "" : "s")
      copies:      \(copies), \(bytes) bytes in \(tenths(seconds)) s, seed \(seed)
      mismatches:  \(mismatches)
      guards hit:  \(guardViolations)
      failed:      \(failed)\(faultsInjected > 0 ? faults : "")
      completion:  \(mode)\(kind), \(counted(interrupts, "interrupt")), \
      \(counted(isrCalls, "ISR call")), \(counted(dpcCalls, "DPC call"))
      descriptors: \(descriptors) with \(counted(doorbells, "doorbell"))
      """)
    for note in notes { print("note:        \(note)") }
    print(verdict)
  }

  private var verdict: String {
    if failure != nil { return "NOT verified" }
    return interrupted
      ? "stopped after \(copies + faultsReported) of \(wanted) copies, of which every byte matched"
      : "verified: every byte matched"
  }

  private func counted(_ number: UInt64, _ noun: String) -> String {
    "\(number) \(noun)\(number == 1 ? "" : "s")"
  }

  private var kind: String { interruptKind.map { " (\($0))" } ?? "" }

  private var faults: String {
    " besides \(faultsReported) of \(faultsInjected) that had to, "
      + counted(resets, "channel reset")
  }

  private func tenths(_ value: Double) -> String {
    let tenths = Int((value * 10).rounded())
    return "\(tenths / 10).\(tenths % 10)"
  }
}

/// Copies that were made but are not as they should be.
struct VerifyFailure: DiagnosticError {
  let report: VerifyReport

  var what: String { "\(report.device) did not copy correctly." }
  var why: String {
    if report.faultsReported != report.faultsInjected {
      return "\(report.faultsInjected - report.faultsReported) copies that had to fail did not, or "
        + "not as they should."
    }
    if report.mismatches + report.guardViolations + report.failed > 0 {
      return
        "\(report.mismatches) copies differ from their source, \(report.guardViolations) wrote "
        + "outside their target, \(report.failed) failed."
    }
    return report.copies == 0 ? "No copy was made." : "No interrupt service routine ran."
  }
  var remedy: String {
    "Repeat it with --seed \(report.seed), with --poll, and look at dmesg for IOMMU faults."
  }
}

// SPDX-License-Identifier: Apache-2.0

import ArgumentParser
import NetDmaConformance
import NetDmaVFIO

/// `netdma-probe conformance`: a device against the rules, register by register.
struct ConformanceCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "conformance",
    abstract: "Check a DMA engine against the rules of IOAT hardware, register by register.",
    discussion: """
      One line for each rule: kept, broken or not applicable, what a conforming device does, and \
      where that is known from. The test speaks only registers, configuration space and memory; no \
      driver is involved, so it judges hardware and emulators alike. It provokes errors (the \
      IOMMU may log faults) and resets the function; nobody else may use the device meanwhile. \
      Afterwards the device is reset and bus mastering is off.

      EXAMPLES
        netdma-probe conformance --mock
        netdma-probe conformance --vfio-user /run/ioat.sock --json
        netdma-probe conformance --device 0000:00:04.0 --only error
        netdma-probe conformance --list

      The exit status is 1 if a rule is broken.
      """)

  @OptionGroup var device: DeviceChoice

  @Flag(help: "List the rules and check nothing.")
  var list = false

  @Option(
    help: ArgumentHelp("Only this rule or group of rules; may be repeated.", valueName: "rule"))
  var only: [String] = []

  @Flag(help: "Print one JSON object.")
  var json = false

  @OptionGroup var log: LogOptions

  func validate() throws {
    guard list || device.isMade else {
      throw ValidationError(
        "Name one device: --device ADDRESS, --vfio-user PATH or --mock; or --list.")
    }
    guard !list || !device.isMade else {
      throw ValidationError(
        "--list checks no device; leave --device, --vfio-user and --mock out, or --list.")
    }
    for selector in only where ConformanceRule.matching(selector).isEmpty {
      throw ValidationError(
        "There is no rule or group '\(selector)'; see netdma-probe conformance --list.")
    }
  }

  /// What is to be checked, in the catalogue's order.
  private var rules: [ConformanceRule] {
    guard !only.isEmpty else { return ConformanceRule.all }
    let wanted = Set(only.flatMap { ConformanceRule.matching($0) }.map(\.id))
    return ConformanceRule.all.filter { wanted.contains($0.id) }
  }

  func run() throws {
    try reportingErrors {
      if list {
        let catalogue = RuleList(rules)
        if json { try JSONOutput.print(catalogue) } else { catalogue.printText() }
        return
      }
      let stop = try StopRequest()
      let logger = log.makeLogger()
      let transport = try device.open(logger: logger)
      let report = try ConformanceTest(transport, logger: logger).run(
        rules, isStopped: { stop.isRequested },
        onResult: { if !json { RuleLine($0).printText() } })
      let summary = ConformanceSummary(transport, report, wanted: rules.count)
      if json { try JSONOutput.print(summary) } else { summary.printText() }
      if summary.failed > 0 { throw ConformanceFailure(summary: summary) }
      if summary.interrupted { throw ExitCode(130) }
    }
  }
}

// SPDX-License-Identifier: Apache-2.0

import ArgumentParser
import Logging
import NetDmaVFIO

/// `netdma-probe verify`: random copies, compared in full.
struct VerifyCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "verify",
    abstract: "Copy random data through a DMA engine and compare every byte.",
    discussion: """
      Sizes run from one byte to --max-size, above the engine's own transfer limit too; source and \
      destination have any alignment, and guard bytes on both sides of each destination are \
      checked. Completions come by interrupt unless --poll is given. A copy that does not come \
      back within 10 seconds is an error with the channel's registers in it. With --faults one \
      copy in eight has a side that the IOMMU (or the emulated device) must refuse: exactly those \
      must fail, and none of them may write.

      EXAMPLES
        netdma-probe verify --mock
        netdma-probe verify --device 0000:00:04.0 --count 10000
        netdma-probe verify --vfio-user /run/ioat.sock --poll --json
        netdma-probe verify --device 0000:00:04.0 --channels 2 --faults

      The exit status is 0 only if every copy matched and, unless --poll is given, at least one \
      interrupt came.
      """)

  @OptionGroup var device: DeviceOptions

  @Option(
    parsing: .unconditional, help: ArgumentHelp("Copies to make (1000).", valueName: "n"),
    transform: ArgumentValue.whole(1...Int.max))
  var count = 1000

  @Option(
    name: .customLong("max-size"), parsing: .unconditional,
    help: ArgumentHelp("The longest copy, like 9000 or 64K (3M).", valueName: "bytes"),
    transform: ArgumentValue.size(1...64 << 20))
  var maximumSize = 3 << 20

  @Flag(name: .customLong("poll"), help: "Poll for completions instead of taking interrupts.")
  var polls = false

  @Option(
    name: .customLong("interrupts"),
    help: ArgumentHelp(
      "Take interrupts by msix, msi or intx only (the best there is by default).",
      valueName: "kind"))
  var interruptKind: InterruptKind?

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp("Start of the random sequence (random by default).", valueName: "n"),
    transform: ArgumentValue.whole(0...UInt64.max))
  var seed: UInt64?

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp(
      "Channels to use (all by default); a mock is made with as many.", valueName: "n"),
    transform: ArgumentValue.whole(1...31))
  var channels: Int?

  @Flag(
    name: .customLong("faults"),
    help: "Make some copies name memory that the device must not reach; only they may fail.")
  var injectsFaults = false

  @Flag(help: "Print one JSON object.")
  var json = false

  @OptionGroup var log: LogOptions

  func validate() throws {
    guard !polls || interruptKind == nil else {
      throw ValidationError("--poll takes no interrupts, so --interrupts has no meaning with it.")
    }
  }

  func run() throws {
    try reportingErrors {
      let stop = try StopRequest()
      // Recoveries are what --faults is for.
      let logger = log.makeLogger(standard: injectsFaults ? .error : .warning)
      let engine = try open(logger: logger)
      let seed = seed ?? UInt64.random(in: 0...UInt64(UInt32.max))
      let channelCount = try ChannelCount.of(engine, wanted: channels)
      let plan = CopyVerifier.Plan(
        count: count, maximumSize: maximumSize, polls: polls, seed: seed, channels: channelCount,
        injectsFaults: injectsFaults)
      let meter = ProgressMeter(total: count, label: "copies")
      let summary = try namingDeviceLoss(of: engine.device.transport) {
        defer { meter.finish() }
        return try CopyVerifier(engine: engine, plan: plan).run(
          isStopped: { stop.isRequested }, progress: { meter.update($0) })
      }
      let report = VerifyReport(
        engine: engine, plan: plan, summary: summary,
        interrupted: stop.isRequested && summary.copies + summary.faultsReported < count)
      try engine.close()
      if json { try report.printJSON() } else { report.printText() }
      if let failure = report.failure { throw failure }
      if report.interrupted { throw ExitCode(130) }
    }
  }

  private func open(logger: Logger) throws -> DMAEngine {
    let transport = try device.open(logger: logger, channels: channels)
    if !polls {
      let kinds = interruptKind.map { [$0.index] } ?? [.msix, .msi, .intx]
      guard try kinds.contains(where: { try transport.interruptCount($0) > 0 }) else {
        throw VerifyError.noInterrupt(device: transport.name, kind: interruptKind?.rawValue)
      }
    }
    return try DMAEngine(transport: transport, options: engineOptions, logger: logger)
  }

  private var engineOptions: DMAEngine.Options {
    var options = DMAEngine.Options()
    options.usesInterrupts = !polls
    options.interruptKind = interruptKind?.index
    return options
  }
}

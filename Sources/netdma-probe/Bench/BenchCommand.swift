// SPDX-License-Identifier: Apache-2.0

import ArgumentParser
import Logging
import NetDmaVFIO

/// `netdma-probe bench`: how fast, how late and at what price, and from which size on it pays.
struct BenchCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "bench",
    abstract: "Measure a DMA engine against the CPU, and tell from which size on it pays.",
    discussion: """
      For each point: throughput, operations a second, latency (median, 99 %, 99.9 % and longest, \
      from the doorbell to the moment when the end is seen), CPU time per operation and per GB, \
      interrupts per operation; and next to it what one core does with memcpy (memset for fills) on \
      the same memory. GB are 10^9 bytes. CPU time is this process's, in user mode and in the \
      kernel; that of the mock's engine is left out.

      Without --sizes, --depths, --batch and --channels each of them is varied around a standard \
      point (4 KiB, depth 32, batch 1, one channel; channels at 64 KiB); with any of them every \
      combination is measured. Lists are written like 64,4K,1M; A..B is A and its doublings up to \
      B; K and M are powers of 1024.

      EXAMPLES
        netdma-probe bench --mock
        netdma-probe bench --device 0000:00:04.0 --report report.html
        netdma-probe bench --device 0000:00:04.0 --mode interrupt --sizes 4K..1M
        netdma-probe bench --vfio-user /run/ioat.sock --depths 1,32 --csv bench.csv
        netdma-probe bench --mock --ops copy,fill --verify --json

      Ctrl-C ends it with what was measured until then, and exit status 130. The exit status is 1 \
      if an operation fails or, with --verify, leaves wrong bytes.
      """)

  @OptionGroup var device: DeviceOptions

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp("Sizes of one operation in bytes (64..4M).", valueName: "list"),
    transform: { try ValueList.sizes($0, 1...1 << 30) })
  var sizes: [Int]?

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp("Operations in flight on each channel (32).", valueName: "list"),
    transform: { try ValueList.counts($0, 1...32767) })
  var depths: [Int]?

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp(
      "Operations with one doorbell, at most the depth (1).", valueName: "list"),
    transform: { try ValueList.counts($0, 1...32767) })
  var batch: [Int]?

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp(
      "Channels at a time, a thread each (1); a mock is made with as many.", valueName: "list"),
    transform: { try ValueList.counts($0, 1...31) })
  var channels: [Int]?

  @Option(
    name: .customLong("ops"),
    help: ArgumentHelp("copy, fill or copy,fill (copy).", valueName: "list"),
    transform: operations)
  var operations: [BenchPoint.Operation] = [.copy]

  @Option(
    help: ArgumentHelp(
      "How completions come: poll, interrupt, or async for the library's async calls.",
      valueName: "mode"))
  var mode = BenchPoint.Mode.poll

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp("How long each point is measured (0.2).", valueName: "seconds"),
    transform: ArgumentValue.seconds(atMost: 3600))
  var duration = 0.2

  @Flag(
    name: .customLong("verify"),
    help: "Compare every byte of every operation, between the measured parts.")
  var verifies = false

  @Flag(
    name: .customLong("compare-cpu"), inversion: .prefixedNo,
    help: "Measure the CPU doing the same.")
  var comparesCPU = true

  @Flag(
    help:
      "Print one JSON object; with a file's name after it, write it there and print text as usual.")
  var json = false

  @Option(
    name: .customLong("json-file"),
    help: ArgumentHelp("The same as --json with a file's name.", valueName: "file"),
    completion: .file())
  var separateJSONFile: String?

  /// What `--json FILE` is to the parser, see `BenchArguments`.
  @Option(
    name: .customLong("json-to"), parsing: .unconditional,
    help: ArgumentHelp(valueName: "file", visibility: .hidden))
  var attachedJSONFile: String?

  @Option(
    name: .customLong("csv"),
    help: ArgumentHelp("Write a table, one line for each point; - prints it.", valueName: "file"),
    completion: .file())
  var csvFile: String?

  @Option(
    name: .customLong("report"),
    help: ArgumentHelp("Write a report with charts, as one HTML file.", valueName: "file"),
    completion: .file())
  var reportFile: String?

  @OptionGroup var log: LogOptions

  func validate() throws {
    guard mode != .async || batch == nil && channels == nil else {
      throw ValidationError(
        "Async calls ring for each operation and use all channels; leave --batch and --channels "
          + "out.")
    }
    let deepest = depths?.max() ?? BenchPoint().depth
    if let batch = batch?.max(), batch > deepest {
      throw ValidationError(
        "--batch \(batch) is more than --depths \(deepest), and a batch is a part of what is in flight. "
          + "Say a smaller --batch, or larger --depths.")
    }
    guard separateJSONFile == nil || attachedJSONFile == nil else {
      throw ValidationError("--json FILE and --json-file FILE are the same; give one of them.")
    }
    for (option, path) in [
      ("--json-file", separateJSONFile), ("--json FILE", attachedJSONFile), ("--csv", csvFile),
      ("--report", reportFile),
    ] {
      try ArgumentValue.requirePath(path, of: option)
    }
    let files = [jsonFile, csvFile, reportFile].compactMap(\.self).filter { $0 != "-" }
      .compactMap { OutputFile.identity(of: $0) }
    guard Set(files).count == files.count else {
      throw ValidationError("Two of --json, --csv and --report name one file; give each its own.")
    }
    guard [json, jsonFile == "-", csvFile == "-", reportFile == "-"].count(where: { $0 }) <= 1
    else {
      throw ValidationError("Only one of --json, --csv and --report can go to standard output.")
    }
  }

  private var jsonFile: String? { separateJSONFile ?? attachedJSONFile }

  func run() throws {
    try reportingErrors {
      let stop = try StopRequest()
      // Before the work, so that a mistake in a name does not cost it.
      var jsonOutput = try OutputFile.open(jsonFile)
      var csvOutput = try OutputFile.open(csvFile)
      var reportOutput = try OutputFile.open(reportFile)
      let logger = log.makeLogger()
      let transport = try device.open(logger: logger, channels: channels?.max())
      let (summary, failure) = try measure(transport, logger, isStopped: { stop.isRequested })
      try jsonOutput?.replace(with: JSONOutput.text(BenchReport(summary)) + "\n")
      try csvOutput?.replace(with: BenchCSV(summary: summary).text)
      try reportOutput?.replace(
        with: BenchHTML(summary: summary, arguments: Array(CommandLine.arguments.dropFirst())).text)
      if json {
        try JSONOutput.print(BenchReport(summary))
      } else if ![jsonFile, csvFile, reportFile].contains("-") {
        print(BenchText(summary: summary, style: .output).text)
      }
      if let failure { throw failure }
      if stop.isRequested { throw ExitCode(130) }
    }
  }

  private func measure(
    _ transport: any DeviceTransport, _ logger: Logger, isStopped: @escaping @Sendable () -> Bool
  ) throws -> (BenchSummary, failure: (any Error)?) {
    var options = BenchOptions()
    options.duration = .nanoseconds(Int64(duration * 1e9))
    options.verifies = verifies
    options.comparesCPU = comparesCPU
    if mode != .poll,
      try [.msix, .msi, .intx].allSatisfy({ try transport.interruptCount($0) == 0 })
    {
      throw BenchError.noInterrupt(device: transport.name)
    }
    let engine = try DMAEngine(
      transport: transport, options: engineOptions, logger: logger)
    _ = try ChannelCount.of(engine, wanted: channels?.max())
    let plan = try plan(for: engine.device)
    let time = UTCTime.now
    let meter = ProgressMeter(total: plan.points.count, label: "points")
    var outcome = BenchRunner(engine: engine, plan: plan, options: options)
      .run(isStopped: isStopped, progress: { meter.update($0) })
    meter.finish()
    if outcome.failure != nil {
      // Whatever was seen of it: where the device is lost, that is what happened.
      do { _ = try PCIConfiguration(transport).command() } catch { outcome.failure = error }
    }
    let summary = BenchSummary(
      time: time, device: BenchSummary.Device(engine.device), machine: MachineFacts(),
      mode: mode, options: options, plan: plan, outcome: outcome)
    var failure = outcome.failure
    do {
      try engine.close()
    } catch {
      failure = failure ?? error
    }
    return (summary, failure)
  }

  private var engineOptions: DMAEngine.Options {
    var options = DMAEngine.Options()
    options.usesInterrupts = mode != .poll
    return options
  }

  /// What is to be measured on `device`.
  ///
  /// - Throws: `BenchError` for what it cannot do.
  private func plan(for device: IOATDevice) throws(BenchError) -> BenchPlan {
    if operations.contains(.fill), !device.capabilities.contains(.fill) {
      throw .noFill(device: device.name)
    }
    var request = BenchPlan.Request()
    request.operations = operations
    request.mode = mode
    request.sizes = sizes
    request.depths = depths
    request.batches = batch
    request.channels = channels
    let plan = BenchPlan(request, deviceChannels: device.channelCount)
    for point in plan.points { try BenchRing.check(point, device) }
    return plan
  }

  private static func operations(_ text: String) throws -> [BenchPoint.Operation] {
    var operations: [BenchPoint.Operation] = []
    for word in text.split(separator: ",", omittingEmptySubsequences: false) {
      guard let operation = BenchPoint.Operation(rawValue: String(word)) else {
        throw ValidationError("'\(word)' is neither copy nor fill.")
      }
      if !operations.contains(operation) { operations.append(operation) }
    }
    return operations
  }
}

// SPDX-License-Identifier: Apache-2.0

public import Logging
public import NetDmaVFIO

/// Checks a device against the rules, register by register.
///
/// It speaks only registers, configuration space and memory through a transport, and shares no code
/// with a driver: what it says of a device does not depend on one. Every wait is bounded.
public struct ConformanceTest {
  private let transport: any DeviceTransport
  private let options: ConformanceOptions
  private let logger: Logger

  /// A test of the transport's device, which nobody else may use meanwhile.
  public init(
    _ transport: any DeviceTransport, options: ConformanceOptions = ConformanceOptions(),
    logger: Logger
  ) {
    self.transport = transport
    self.options = options
    self.logger = logger
  }

  /// Checks `rules` in order and leaves the device halted, reset and without bus mastering.
  ///
  /// `isStopped` is asked before each rule; `onResult` hears of each result as it comes.
  /// - Throws: `VFIOError` when the device cannot be reached any more.
  public func run(
    _ rules: [ConformanceRule] = ConformanceRule.all, isStopped: () -> Bool = { false },
    onResult: (ConformanceResult) -> Void = { _ in }
  ) throws(VFIOError) -> ConformanceReport {
    let function = try FunctionBench(transport, options: options, logger: logger)
    var report = ConformanceReport(
      version: DeviceFacts.text(version: function.facts.version),
      channelCount: function.facts.channelCount, capabilities: function.facts.capabilities)
    do throws(VFIOError) {
      for rule in rules where !isStopped() {
        let result = ConformanceResult(rule: rule, outcome: try check(rule, function))
        report.results.append(result)
        onResult(result)
      }
    } catch {
      // What is left of the device is put in order; the first error says more than those of that.
      do throws(VFIOError) {
        try function.leave()
      } catch let second {
        logger.debug("could not leave the device in order", metadata: ["reason": "\(second)"])
      }
      throw error
    }
    try function.leave()
    return report
  }

  private func check(
    _ rule: ConformanceRule, _ function: FunctionBench
  ) throws(VFIOError) -> ConformanceResult.Outcome {
    let facts = function.facts
    if rule.scope != .function {
      if !facts.hasVersion3Layout { return .notApplicable("it is not of version 3") }
      if facts.channelCount == 0 { return .notApplicable("CHANCNT is 0, the function is disabled") }
    }
    if let reason = rule.needs.lazy.compactMap({ $0.reason(facts) }).first {
      return .notApplicable(reason)
    }
    var violations: [String] = []
    var reason: String?
    for channel in rule.scope == .eachChannel
      ? function.channels : Array(function.channels.prefix(1))
    {
      switch try outcome(of: rule, channel) {
      case .violated(let sentence)?:
        violations.append(
          rule.scope == .eachChannel && facts.channelCount > 1
            ? "channel \(channel.index): \(sentence)" : sentence)
        recover(function)
      case .notApplicable(let why)?: reason = why
      case .transport(let error)?: throw error
      case nil: break
      }
    }
    if !violations.isEmpty { return .fail(violations) }
    return reason.map { .notApplicable($0) } ?? .pass
  }

  /// What ended the check early, nil when nothing did.
  private func outcome(
    of rule: ConformanceRule, _ channel: ChannelBench
  ) throws(VFIOError) -> Finding? {
    logger.debug("checking", metadata: ["rule": "\(rule.id)", "channel": "\(channel.index)"])
    do throws(Finding) {
      if rule.scope != .function {
        try channel.function.prepare()
        for each in rule.scope == .eachChannel ? [channel] : channel.function.channels {
          try each.prepare()
        }
      }
      try rule.check(channel)
      return nil
    } catch {
      guard case .transport(let cause) = error else { return error }
      switch cause {
      case .invalidAccess, .refused, .missingFeature, .invalidMapping, .mappingOverlaps,
        .configurationRefused:
        // The device (or what stands for it) is there and refused what it had to take.
        return .violated("an access was refused: \(cause.what)")
      default: return error
      }
    }
  }

  /// After a violation: a mistake of one rule should not make the next one fail.
  private func recover(_ function: FunctionBench) {
    guard function.facts.supportsReset else { return }
    do throws(Finding) {
      try function.resetFunction()
      try function.setBusMaster(true)
    } catch {
      logger.debug("could not reset the function after a violation")
    }
  }
}

// SPDX-License-Identifier: Apache-2.0

import Logging
import NetDmaConformance
import NetDmaMock
import NetDmaVFIO
import Testing

/// A configuration of the model, with the name that a failing test shows.
struct Part: Sendable, CustomTestStringConvertible {
  let testDescription: String
  let profile: DeviceProfile

  init(_ name: String, _ configuration: ModelConfiguration) {
    self.init(name, DeviceProfile(model: configuration))
  }

  init(_ name: String, _ profile: DeviceProfile) {
    testDescription = name
    self.profile = profile
  }

  /// Function 0 of every part that the emulator knows by name, with RAID too where it can have that.
  static let named: [Part] = DeviceProfile.names.flatMap { name in
    [false, true].compactMap { hasRAID in
      var options = DeviceProfile.Options()
      options.raid = hasRAID
      guard var profile = try? DeviceProfile(named: name, options: options) else { return nil }
      profile.model.timing = .fast
      return Part(hasRAID ? "\(name) with RAID" : name, profile)
    }
  }

  static let raid: UInt32 = 0x341
  static let everything: UInt32 = 0x2_2363

  /// Every CB version, and what differs beside it: channels, capabilities, limits, quirks, timing.
  static let versions: [Part] = [
    Part(
      "3.0, copy only, 40 bits",
      ModelConfiguration(
        deviceID: 0x3430, cbVersion: 0x30, capabilities: 0, supportsInterruptDelay: false,
        addressWidth: 40, timing: .fast)),
    Part(
      "3.2, XOR and P+Q, 2 channels, 46 bits",
      ModelConfiguration(
        deviceID: 0x3718, cbVersion: 0x32, channelCount: 2, capabilities: raid, addressWidth: 46,
        timing: .fast)),
    Part(
      "3.3, 4 channels",
      ModelConfiguration(cbVersion: 0x33, channelCount: 4, timing: .fast)),
    Part(
      "3.3, one vector for 3 channels, RESET wipes MSI-X",
      ModelConfiguration(
        deviceID: 0x6f50, cbVersion: 0x33, channelCount: 3, vectorCount: 1,
        quirks: .resetWipesMSIX, timing: .fast)),
    Part(
      "3.4, everything",
      ModelConfiguration(
        deviceID: 0x0b00, cbVersion: 0x34, capabilities: everything, timing: .fast)),
    Part(
      "3.4, transfers of 4 KiB, 2 channels",
      ModelConfiguration(
        deviceID: 0x0b00, cbVersion: 0x34, channelCount: 2, transferCapability: 12, timing: .fast)),
    Part(
      "3.3, no transfer limit", ModelConfiguration(transferCapability: 0, timing: .fast)),
    Part("3.3, at a Skylake channel's speed", ModelConfiguration()),
  ]
}

@Suite("Conformance of the model")
struct ModelConformanceTests {
  static let logger = Logger(label: "conformance") { _ in SwiftLogNoOpLogHandler() }

  @Test("the model keeps every rule, on every version and configuration", arguments: Part.versions)
  func model(_ part: Part) throws {
    try expectConformance(part)
  }

  @Test("the model keeps every rule as every part of the field", arguments: Part.named)
  func part(_ part: Part) throws {
    try expectConformance(part)
  }

  private func expectConformance(_ part: Part) throws {
    let transport = try MockTransport(profile: part.profile)
    let report = try ConformanceTest(
      transport, options: ConformanceOptions(limit: .seconds(20), quietTime: .milliseconds(2)),
      logger: Self.logger
    ).run()
    for result in report.results {
      if case .fail(let sentences) = result.outcome {
        Issue.record("\(result.rule.id): \(sentences.joined(separator: " | "))")
      }
    }
    #expect(report.results.count == ConformanceRule.all.count)
  }
}

// SPDX-License-Identifier: Apache-2.0

import ArgumentParser
import NetDmaMock
import NetDmaVFIO

/// What the emulated device is: a model by name, and what differs from it.
struct ModelOptions: ParsableArguments {
  @Option(
    name: .customLong("model"),
    help: ArgumentHelp(
      "What to emulate (\(ModelChoice.standard), or the model of --device-id).", valueName: "name"),
    completion: .list(DeviceProfile.names))
  var name: String?

  @Flag(
    name: .customLong("raid"),
    help: "As when firmware enabled RAID: ids and capabilities for XOR and P+Q.")
  var hasRAID = false

  @Option(
    name: .customLong("device-id"), parsing: .unconditional,
    help: ArgumentHelp("PCI device id of every function.", valueName: "hex"))
  var deviceID: String?

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp("Channels of each function (1).", valueName: "n"),
    transform: ArgumentValue.whole(1...31))
  var channels: Int?

  @Option(
    name: .customLong("cb-version"), parsing: .unconditional,
    help: ArgumentHelp("3.0 to 3.4 (that of the model).", valueName: "x.y"),
    completion: .list((0...4).map { "3.\($0)" }))
  var cbVersion: String?

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp(
      "DMACAPABILITY: names like page-break,fill,xor,pq or a hexadecimal number.",
      valueName: "list"))
  var capabilities: String?

  @OptionGroup var timing: TimingOptions

  /// Function `function` of as many chips as it takes.
  ///
  /// - Throws: `ValidationError` for what describes no function.
  func profile(function: Int) throws -> DeviceProfile {
    try ModelChoice(
      name: name, hasRAID: hasRAID, deviceID: deviceID.map(Self.identifier), channels: channels,
      cbVersion: cbVersion.map(Self.version), capabilities: capabilities, timing: timing.timing,
      isChangeable: true
    ).profile(function: function)
  }

  private static func identifier(_ text: String) throws -> UInt16 {
    guard let id = UInt16(text.hasPrefix("0x") ? String(text.dropFirst(2)) : text, radix: 16) else {
      throw ValidationError("--device-id '\(text)' is not a hexadecimal number like 2021.")
    }
    return id
  }

  private static func version(_ text: String) throws -> UInt8 {
    let parts = text.split(separator: ".").map { UInt8($0) }
    guard parts.count == 2, parts[0] == 3, let minor = parts[1], minor <= 4 else {
      throw ValidationError("--cb-version '\(text)' is not one of 3.0 to 3.4.")
    }
    return 0x30 | minor
  }
}

/// A device model as command lines describe it.
struct ModelChoice {
  /// The model when nothing else is said.
  static let standard = "skylake"

  var name: String?
  var hasRAID = false
  var deviceID: UInt16?
  var channels: Int?
  var cbVersion: UInt8?
  var capabilities: String?
  var timing = EngineTiming.skylake
  /// Whether the command has options for what differs from the model, which may help then.
  var isChangeable = false

  /// Function `function` of as many chips as it takes.
  ///
  /// - Throws: `ValidationError` for what describes no function.
  func profile(function: Int) throws -> DeviceProfile {
    do throws(ProfileError) {
      return try found(function: function)
    } catch {
      throw ValidationError("\(error.what) \(error.why) \(remedy(error))")
    }
  }

  /// What helps, in options that the command has.
  private func remedy(_ error: ProfileError) -> String {
    switch error {
    case .unknownName where isChangeable: "Name one of them, or give --device-id."
    case .noRAID where isChangeable:
      "Name one of them with --model, or leave --raid out and say --capabilities xor,pq."
    case .noRAID: "Name one of them with --model, or leave --raid out."
    default: error.remedy
    }
  }

  private func found(function: Int) throws(ProfileError) -> DeviceProfile {
    var options = DeviceProfile.Options()
    options.raid = hasRAID
    options.channels = channels
    options.cbVersion = cbVersion
    if let capabilities { options.capabilities = try DMACapabilities(parsing: capabilities) }
    options.timing = timing
    if name == nil, let deviceID, let count = DeviceProfile.functionCount(deviceID: deviceID) {
      options.function = function % count
      return try DeviceProfile(deviceID: deviceID, options: options)
    }
    // A named part, or the standard one under an id that no part has.
    let name = name ?? Self.standard
    options.function = try function % DeviceProfile.functionCount(named: name)
    var profile = try DeviceProfile(named: name, options: options)
    if let deviceID { profile.model.deviceID = deviceID }
    return profile
  }
}

// SPDX-License-Identifier: Apache-2.0

import NetDmaVFIO

/// How many channels a command uses: those that were asked for, else all.
enum ChannelCount {
  /// - Throws: `ChannelCountError` when the device has fewer than `wanted`.
  static func of(_ engine: DMAEngine, wanted: Int?) throws(ChannelCountError) -> Int {
    let available = engine.device.channelCount
    guard let wanted else { return available }
    guard wanted <= available else {
      throw .tooMany(device: engine.device.name, wanted: wanted, available: available)
    }
    return wanted
  }
}

/// A device that has fewer channels than were asked for.
enum ChannelCountError: DiagnosticError, Equatable {
  case tooMany(device: String, wanted: Int, available: Int)

  var what: String {
    switch self {
    case .tooMany(let device, let wanted, _): "\(device) cannot give \(wanted) channels."
    }
  }
  var why: String {
    switch self {
    case .tooMany(_, _, let available):
      "CHANCNT says that the function has \(available). Each function of a chip has its own."
    }
  }
  var remedy: String {
    switch self {
    case .tooMany(_, _, let available):
      "Ask for at most --channels \(available), or run the command once for each function."
    }
  }
}

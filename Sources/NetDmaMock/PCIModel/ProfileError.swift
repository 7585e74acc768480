// SPDX-License-Identifier: Apache-2.0

public import NetDmaVFIO

/// Why no emulated function can be described.
public enum ProfileError: DiagnosticError, Hashable {
  /// No profile has that name.
  case unknownName(name: String, valid: [String])
  /// No IOAT function has that PCI device id, and no version was given to make one up.
  case unknownDeviceID(id: UInt16)
  /// The platform has fewer functions.
  case noSuchFunction(profile: String, function: Int, count: Int)
  /// No function of the platform does XOR and P+Q in silicon.
  case noRAID(profile: String, valid: [String])
  /// No such capability name.
  case unknownCapability(name: String, valid: [String])
  /// A number that DMACAPABILITY has no room for, as it was written.
  case capabilitiesTooWide(number: String)
  /// DMACAPABILITY bits that the model does not implement.
  case unmodelledCapabilities(bits: UInt32)
  /// A number outside its range.
  case outOfRange(option: String, value: Int, range: ClosedRange<Int>)
  /// Neither a pin nor messages: a driver could never be told anything.
  case noInterrupts(profile: String)

  /// What failed.
  public var what: String {
    switch self {
    case .unknownName(let name, _): "There is no device model \"\(name)\"."
    case .unknownDeviceID(let id): "PCI device id \(hexDigits(id, 4)) is no IOAT function."
    case .noSuchFunction(let profile, let function, _):
      "The \(profile) model has no function \(function)."
    case .noRAID(let profile, _): "The \(profile) model has no RAID variant."
    case .unknownCapability(let name, _): "There is no engine capability \"\(name)\"."
    case .capabilitiesTooWide(let number): "\(number) is no value of DMACAPABILITY."
    case .unmodelledCapabilities(let bits):
      "The emulated engine lacks the capabilities 0x\(hexDigits(bits, 0))."
    case .outOfRange(let option, let value, _): "\(value) is no valid \(option)."
    case .noInterrupts(let profile): "The \(profile) function was left without any interrupt."
    }
  }

  /// The cause.
  public var why: String {
    switch self {
    case .unknownName(_, let valid): "The models are \(valid.joined(separator: ", "))."
    case .unknownDeviceID: "It is in no driver's table of QuickData engines."
    case .noSuchFunction(_, _, let count): "Its functions are 0 to \(count - 1)."
    case .noRAID(_, let valid):
      "Only \(valid.joined(separator: ", ")) have engines with XOR and P+Q."
    case .unknownCapability(_, let valid): "The capabilities are \(valid.joined(separator: ", "))."
    case .capabilitiesTooWide: "The register has 32 bits, which are 8 hexadecimal digits."
    case .unmodelledCapabilities: "A driver would use whatever DMACAPABILITY advertises."
    case .outOfRange(let option, _, let range):
      "The \(option) goes from \(range.lowerBound) to \(range.upperBound)."
    case .noInterrupts: "MSI-X, MSI and the pin were all taken away."
    }
  }

  /// What helps.
  public var remedy: String {
    switch self {
    case .unknownName: "Name one of them."
    case .unknownDeviceID: "Give an id of the table, or a CB version with the id."
    case .noSuchFunction, .outOfRange: "Choose a number of that range."
    case .noRAID: "Name one of them, or leave RAID off."
    case .unknownCapability: "Name some of them, separated by commas, or give a hexadecimal value."
    case .capabilitiesTooWide: "Leave out what is beyond bit 31."
    case .unmodelledCapabilities: "Leave these bits out."
    case .noInterrupts: "Keep at least one kind."
    }
  }
}

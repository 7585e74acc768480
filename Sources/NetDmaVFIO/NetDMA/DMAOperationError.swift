// SPDX-License-Identifier: Apache-2.0

/// Why one operation ended without being done.
public enum DMAOperationError: DiagnosticError, Equatable {
  /// The engine halted on the operation's descriptor.
  case channelError(
    descriptor: UInt64, errors: ChannelError, source: UInt64, destination: UInt64, length: Int)
  /// A validation found that P (or the XOR), Q or both are not what the sources give.
  case validationFailed(descriptor: UInt64, p: Bool, q: Bool)
  /// The engine stood still on the operation's descriptor, and did again after a reset.
  case timedOut(descriptor: UInt64, milliseconds: Int)
  /// The operation was in flight when its channel was aborted, reset or stopped; its destination
  /// holds old and new bytes.
  case aborted(reason: String)

  /// What failed.
  public var what: String {
    switch self {
    case .channelError(let descriptor, _, let source, let destination, let length):
      "The copy of \(length) bytes from \(hex(source)) to \(hex(destination)) failed "
        + "(descriptor \(hex(descriptor)))."
    case .validationFailed(let descriptor, _, _):
      "The validation of descriptor \(hex(descriptor)) failed."
    case .timedOut(let descriptor, let milliseconds):
      "The operation of descriptor \(hex(descriptor)) made no progress for \(milliseconds) ms."
    case .aborted: "The operation was aborted."
    }
  }
  /// The cause, as far as it is known.
  public var why: String {
    switch self {
    case .channelError(_, let errors, _, _, _): "The engine reported \(errors)."
    case .validationFailed(_, let p, let q):
      "What was to be checked differs from the sources in "
        + (p && q ? "P and Q." : p ? "P (the XOR)." : "Q.")
    case .timedOut: "Resetting the channel did not help; the device was reset."
    case .aborted(let reason): reason
    }
  }
  /// The command or change that helps.
  public var remedy: String {
    switch self {
    case .channelError:
      "Check that both buffers are mapped with the right permissions; dmesg shows IOMMU faults."
    case .validationFailed: "Restore the block that is wrong from the others."
    case .timedOut: "Check both addresses; dmesg shows IOMMU faults and PCIe errors."
    case .aborted: "Submit it again on a channel that runs."
    }
  }
}

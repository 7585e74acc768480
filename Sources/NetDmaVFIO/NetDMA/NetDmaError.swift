// SPDX-License-Identifier: Apache-2.0

/// What the NetDMA interface refuses, with the NTSTATUS that each case stands for.
public enum NetDmaError: DiagnosticError, Equatable {
  /// The handle names something that was deregistered, stopped or freed (STATUS_INVALID_HANDLE).
  case staleHandle(call: String)
  /// The call is not allowed in this state; nothing was changed (STATUS_INVALID_DEVICE_STATE).
  case wrongState(call: String, state: String)
  /// The provider was written for a newer interface (STATUS_UNSUCCESSFUL).
  case versionTooNew(NetDmaVersion)
  /// A value lies outside what the call allows (STATUS_INVALID_PARAMETER).
  case invalidParameter(call: String, detail: String)
  /// No channel, slot or memory is left (STATUS_RESOURCES).
  case resources(call: String, detail: String)
  /// The engine lacks the operation (STATUS_NOT_SUPPORTED).
  case notSupported(call: String, detail: String)
  /// The provider's hardware failed (STATUS_UNSUCCESSFUL).
  case hardware(IOATError)
  /// Operations did not end within the time allowed and were aborted (STATUS_TIMEOUT).
  case drainTimedOut(provider: String, aborted: Int, milliseconds: Int)
  /// The engine did not run the first descriptor of a new channel (STATUS_UNSUCCESSFUL).
  case engineDead(provider: String, milliseconds: Int, registers: String)
  /// The channel's provider was stopped, removed or failed (STATUS_DEVICE_NOT_READY).
  case channelGone(reason: String)

  private var parts: (what: String, why: String, remedy: String) {
    switch self {
    case .staleHandle(let call):
      (
        "\(call) was called with a stale handle.",
        "What it names was freed, stopped or deregistered.", "Use the handle of a live object."
      )
    case .wrongState(let call, let state):
      (
        "\(call) is not allowed now.", "The state is \(state).",
        "Keep the order register, start, allocate, free, stop, deregister."
      )
    case .versionTooNew(let version):
      (
        "The provider was refused.",
        "It was written for NetDMA \(version), and this interface is \(NetDmaVersion.current).",
        "Register with version \(NetDmaVersion.current) or older."
      )
    case .invalidParameter(let call, let detail):
      ("\(call) was called with a value that it does not take.", detail, "Correct the call.")
    case .resources(let call, let detail):
      ("\(call) found nothing free.", detail, "Free what is no longer used, or ask for less.")
    case .notSupported(let call, let detail):
      ("\(call) is not possible on this engine.", detail, "Use an operation that it offers.")
    case .hardware(let error): (error.what, error.why, error.remedy)
    case .drainTimedOut(let provider, let aborted, let milliseconds):
      (
        "\(aborted) operations of \(provider) did not end within \(milliseconds) ms.",
        "The engine made no progress; they were aborted and their clients told.",
        "Look at the channel's registers with --log-level debug and at dmesg for IOMMU faults."
      )
    case .engineDead(let provider, let milliseconds, let registers):
      (
        "The engine of \(provider) did not run a null descriptor within \(milliseconds) ms.",
        "Its registers read: \(registers).",
        "Check that the device may master the bus, then reset it; look at dmesg for IOMMU faults."
      )
    case .channelGone(let reason):
      ("The channel cannot be used any more.", reason, "Allocate a new one.")
    }
  }

  /// What and why in one text, for those who ended because of it.
  var sentence: String {
    if case .channelGone(let reason) = self { return reason }
    return "\(what) \(why)"
  }

  /// Whether nothing answers any more, so that no reset can help.
  var isDeviceGone: Bool {
    switch self {
    case .hardware(.transport(.disconnected)), .hardware(.transport(.deviceGone)): true
    default: false
    }
  }

  /// What failed.
  public var what: String { parts.what }
  /// The cause, as far as it is known.
  public var why: String { parts.why }
  /// The command or change that helps.
  public var remedy: String { parts.remedy }
}

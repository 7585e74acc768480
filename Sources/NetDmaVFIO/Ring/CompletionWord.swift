// SPDX-License-Identifier: Apache-2.0

/// The 64-bit status that the engine writes to CHANCMP, also the layout of CHANSTS:
/// the address of the newest processed descriptor with a status in the low bits.
public struct CompletionWord: RawRepresentable, Hashable, Sendable {
  /// The word as the engine wrote it.
  public let rawValue: UInt64
  /// A word from its bits.
  @inline(__always)
  public init(rawValue: UInt64) { self.rawValue = rawValue }

  /// Bits 63:6, the last descriptor done; 0 when none was since the chain address was written.
  @inline(__always)
  public var descriptorAddress: UInt64 { rawValue & ~0x3f }

  /// Bits 2:0.
  @inline(__always)
  public var state: ChannelState {
    ChannelState(rawValue: UInt8(truncatingIfNeeded: rawValue & 0x7))
  }

  /// Bit 3: an error that is not tied to a descriptor.
  public var hasUnaffiliatedError: Bool { rawValue & 0x8 != 0 }
  /// Bit 4: a soft error.
  public var hasSoftError: Bool { rawValue & 0x10 != 0 }
}

/// Bits 2:0 of CHANSTS and of the completion word; 5 to 7 are undefined.
public struct ChannelState: RawRepresentable, Hashable, Sendable, CustomStringConvertible {
  /// The three bits.
  public let rawValue: UInt8
  /// A state from its bits.
  @inline(__always)
  public init(rawValue: UInt8) { self.rawValue = rawValue }

  /// Descriptors are being processed; NetDMA: Active (done, more pending).
  public static let active = Self(rawValue: 0)
  /// The counter reached DMACOUNT; Linux: DONE, NetDMA: Idle.
  public static let idle = Self(rawValue: 1)
  /// Stopped by software between descriptors.
  public static let suspended = Self(rawValue: 2)
  /// Stopped by an error, an abort or a reset.
  public static let halted = Self(rawValue: 3)
  /// A chain is loaded, no descriptor was started.
  public static let armed = Self(rawValue: 4)

  /// The specification's name.
  public var description: String {
    switch self {
    case .active: "ACTIVE"
    case .idle: "IDLE"
    case .suspended: "SUSPENDED"
    case .halted: "HALTED"
    case .armed: "ARMED"
    default: "undefined(\(rawValue))"
    }
  }
}

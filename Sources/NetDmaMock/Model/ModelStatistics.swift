// SPDX-License-Identifier: Apache-2.0

/// What one emulated channel has done since the model was made; resets do not clear it.
public struct ChannelStatistics: Hashable, Sendable {
  /// Descriptors begun, failed ones included; the index of the next one for `FaultPlan`.
  public internal(set) var descriptors: UInt64 = 0
  /// Bytes of completed operations (of an operation with several sources, the bytes of one).
  public internal(set) var bytes: UInt64 = 0
  /// Errors that reached CHANERR.
  public internal(set) var errors: UInt64 = 0
  /// Completion words written.
  public internal(set) var completionWords: UInt64 = 0
  /// Writes to DMACOUNT.
  public internal(set) var doorbells: UInt64 = 0
  /// RESET commands.
  public internal(set) var resets: UInt64 = 0
  /// Times that the channel became SUSPENDED.
  public internal(set) var suspensions: UInt64 = 0
  /// Interrupts that the channel raised.
  public internal(set) var interruptsRaised: UInt64 = 0
  /// Events that had to wait for the re-arm.
  public internal(set) var interruptsHeld: UInt64 = 0
  /// Events that became part of an interrupt already waiting.
  public internal(set) var interruptsMerged: UInt64 = 0
  /// Register writes whose effect the specification leaves open (CHAINADDR of a running channel,
  /// commands of version 1); they had none.
  public internal(set) var undefinedWrites: UInt64 = 0
  /// Faults that the fault plan made.
  public internal(set) var injectedFaults: UInt64 = 0

  /// All zero.
  public init() {}
}

/// What an emulated function has done since it was made.
public struct ModelStatistics: Hashable, Sendable {
  /// One entry per channel.
  public internal(set) var channels: [ChannelStatistics]
  /// Reads of offsets where nothing is implemented; they answered 0.
  public internal(set) var unimplementedReads: UInt64
  /// Writes to offsets where nothing is implemented; they were ignored.
  public internal(set) var unimplementedWrites: UInt64
  /// Interrupt messages handed to the interrupt line.
  public internal(set) var messages: UInt64
  /// Interrupts kept back because INTRCTRL's master enable was off.
  public internal(set) var messagesHeld: UInt64
}

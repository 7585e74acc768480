// SPDX-License-Identifier: Apache-2.0

/// What an emulated function is to do wrong, and when.
///
/// Can be changed while it runs.
public struct FaultPlan: Hashable, Sendable {
  /// What goes wrong with a descriptor.
  public enum Effect: Hashable, Sendable {
    /// The descriptor is not carried out; the CHANERR bit (0 to 27) is its cause.
    case error(bit: Int)
    /// The engine never finishes it: ACTIVE until a RESET.
    case hang
    /// It takes this much longer.
    case slow(nanoseconds: UInt64)
    /// Its interrupt is not raised.
    case lostInterrupt
    /// An interrupt message is sent that nothing stands behind.
    case spuriousInterrupt
    /// Its completion word is not written.
    case lostCompletion
    /// Its completion word is written with these bits inverted: another address, another state.
    case wrongCompletion(xor: UInt64)
  }

  /// Which descriptors it hits.
  public enum Trigger: Hashable, Sendable {
    /// The one with this index: how many the channel had begun before it since the model was made
    /// (`ChannelStatistics.descriptors` when nothing is in flight).
    case descriptor(UInt64)
    /// Those that read a byte of this bus address range.
    case source(ClosedRange<UInt64>)
    /// Those that write a byte of this bus address range.
    case destination(ClosedRange<UInt64>)
    /// Each with this probability (0 to 1), drawn from the plan's seed.
    case probability(Double)
  }

  /// One fault.
  public struct Rule: Hashable, Sendable {
    /// What goes wrong.
    public var effect: Effect
    /// With which descriptors.
    public var trigger: Trigger
    /// On which channel, nil for every one.
    public var channel: Int?
    /// How often at most, nil for always.
    public var limit: Int?

    /// A fault.
    public init(_ effect: Effect, on trigger: Trigger, channel: Int? = nil, limit: Int? = nil) {
      self.effect = effect
      self.trigger = trigger
      self.channel = channel
      self.limit = limit
    }
  }

  /// Faults of descriptors.
  ///
  /// Of several errors for one descriptor the first counts.
  public var rules: [Rule]
  /// Where `Trigger.probability` draws from; equal seeds and equal descriptors give equal faults.
  public var seed: UInt64
  /// RESET reads back for ever, and the channel takes no chain, until the function is reset.
  public var resetNeverEnds: Bool
  /// The device was pulled out: reads answer all ones, writes and DMA do nothing.
  public var isRemoved: Bool
  /// CHANNEL_IN_USE is set when the plan is installed, as if another owner had the channels.
  public var inUseAtStart: Bool
  /// CHANERR bits that a former owner left behind when the plan is installed.
  public var channelErrorAtStart: UInt32
  /// Likewise in CHANERR_INT.
  public var channelErrorIntAtStart: UInt32

  /// A plan; without arguments nothing goes wrong.
  public init(
    rules: [Rule] = [], seed: UInt64 = 1, resetNeverEnds: Bool = false, isRemoved: Bool = false,
    inUseAtStart: Bool = false, channelErrorAtStart: UInt32 = 0,
    channelErrorIntAtStart: UInt32 = 0
  ) {
    self.rules = rules
    self.seed = seed
    self.resetNeverEnds = resetNeverEnds
    self.isRemoved = isRemoved
    self.inUseAtStart = inUseAtStart
    self.channelErrorAtStart = channelErrorAtStart
    self.channelErrorIntAtStart = channelErrorIntAtStart
  }

  /// Nothing goes wrong.
  public static let none = FaultPlan()
}

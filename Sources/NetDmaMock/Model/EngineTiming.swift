// SPDX-License-Identifier: Apache-2.0

/// How fast an emulated engine is.
///
/// Times in nanoseconds; 0 takes a cost away.
///
/// Completion is asynchronous whatever the values: the engine is another thread, and a doorbell
/// write returns before it looks.
public struct EngineTiming: Hashable, Sendable {
  /// Sustained rate of the data mover, 0 for as fast as this machine copies.
  public var bytesPerSecond: UInt64
  /// Fixed cost of one descriptor.
  public var nanosecondsPerDescriptor: UInt64
  /// Extra cost of writing the completion word.
  public var nanosecondsPerCompletion: UInt64
  /// From the doorbell that wakes an idle engine to its first descriptor.
  ///
  /// Silicon needs time to fetch; drivers rely on it: DPDK's error recovery loses a completion on an
  /// engine that finishes before the doorbell write returns. 20 to 100 µs suit every driver.
  public var startDelay: UInt64
  /// From a completion to its interrupt, before INTRDELAY is added.
  public var interruptDelay: UInt64
  /// How long an engine that ran out of work looks for more before its thread sleeps.
  public var idleSpin: UInt64

  /// A timing with the given costs.
  public init(
    bytesPerSecond: UInt64, nanosecondsPerDescriptor: UInt64, nanosecondsPerCompletion: UInt64,
    startDelay: UInt64, interruptDelay: UInt64, idleSpin: UInt64
  ) {
    self.bytesPerSecond = bytesPerSecond
    self.nanosecondsPerDescriptor = nanosecondsPerDescriptor
    self.nanosecondsPerCompletion = nanosecondsPerCompletion
    self.startDelay = startDelay
    self.interruptDelay = interruptDelay
    self.idleSpin = idleSpin
  }

  /// One channel of a Skylake server: 512-byte descriptors at 14 M/s in batches of 128, 3.7 M/s with
  /// a doorbell and a completion word each (measured by SPDK's developers; the split into costs is
  /// a fit to these two figures).
  public static let skylake = EngineTiming(
    bytesPerSecond: 10_000_000_000, nanosecondsPerDescriptor: 20, nanosecondsPerCompletion: 200,
    startDelay: 40_000, interruptDelay: 0, idleSpin: 0)

  /// No modelled cost at all: as fast as this machine copies.
  public static let fast = EngineTiming(
    bytesPerSecond: 0, nanosecondsPerDescriptor: 0, nanosecondsPerCompletion: 0,
    startDelay: 0, interruptDelay: 0, idleSpin: 20_000)

  /// Whether descriptors cost modelled time, so that the engine must look at the clock.
  var isPaced: Bool {
    bytesPerSecond != 0 || nanosecondsPerDescriptor != 0 || nanosecondsPerCompletion != 0
  }

  /// Modelled nanoseconds of a descriptor that moves `bytes`.
  func cost(bytes: UInt64, writesCompletion: Bool) -> UInt64 {
    var cost = nanosecondsPerDescriptor &+ (writesCompletion ? nanosecondsPerCompletion : 0)
    if bytesPerSecond != 0 {
      // 128-bit product: bytes reach 2^36 with sixteen sources.
      let (high, low) = bytes.multipliedFullWidth(by: 1_000_000_000)
      cost &+=
        high < bytesPerSecond ? bytesPerSecond.dividingFullWidth((high, low)).quotient : .max / 4
    }
    return cost
  }
}

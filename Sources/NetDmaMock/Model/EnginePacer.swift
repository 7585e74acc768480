// SPDX-License-Identifier: Apache-2.0

import NetDmaVFIO

/// Stretches real time to modelled time: says when a descriptor that is already done may be seen to
/// be done.
struct EnginePacer {
  private let timing: EngineTiming
  /// Modelled end of the last descriptor, 0 while the engine idles.
  private var clock: UInt64 = 0

  /// An engine that lags behind its model catches up by at most this much, so that the rate holds on
  /// average without bursts.
  private static let slack: UInt64 = 20_000

  init(timing: EngineTiming) { self.timing = timing }

  /// The engine ran out of work: the next descriptor's time starts when it starts.
  mutating func idle() { clock = 0 }

  /// A descriptor begins.
  mutating func begin() {
    if clock == 0, timing.isPaced { clock = Deadline.now() }
  }

  /// When `outcome` may be published; nil for at once.
  mutating func end(of outcome: EngineOutcome) -> UInt64? {
    guard timing.isPaced || outcome.delay != 0 else { return nil }
    let now = Deadline.now()
    if clock == 0 { clock = now }
    clock &+= timing.cost(bytes: outcome.bytes, writesCompletion: outcome.writesCompletion)
    clock &+= outcome.delay
    if clock > now { return clock }
    clock = max(clock, now &- Self.slack)
    return nil
  }
}

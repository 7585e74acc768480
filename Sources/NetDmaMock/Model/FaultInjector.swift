// SPDX-License-Identifier: Apache-2.0

import NetDmaVFIO
import Synchronization

/// Applies a fault plan to descriptors; costs one load per descriptor while there is none.
final class FaultInjector: Sendable {
  private let isArmed = Atomic<Bool>(false)
  private let resetIsStuck = Atomic<Bool>(false)
  private let state = Mutex(State())

  fileprivate struct State {
    var plan = FaultPlan.none
    /// How often each rule may still hit.
    var left: [Int] = []
    /// A random state per channel, so that one channel's draws do not depend on another's pace.
    var random: [UInt64] = []
  }

  /// Whether there is a rule to ask for.
  var hasRules: Bool { isArmed.load(ordering: .acquiring) }

  var plan: FaultPlan { state.withLock { $0.plan } }

  /// Whether a RESET written now never ends.
  var resetNeverEnds: Bool { resetIsStuck.load(ordering: .relaxed) }

  /// Replaces the plan; limits and draws start anew.
  func install(_ plan: FaultPlan, channels: Int) {
    state.withLock { state in
      state.plan = plan
      state.left = plan.rules.map { $0.limit ?? .max }
      state.random = (0..<channels).map {
        plan.seed &+ 0x9e37_79b9_7f4a_7c15 &* UInt64($0 + 1)
      }
      resetIsStuck.store(plan.resetNeverEnds, ordering: .relaxed)
      isArmed.store(!plan.rules.isEmpty, ordering: .releasing)
    }
  }

  /// Puts into `outcome` what is to go wrong with a descriptor.
  ///
  /// `reads` and `writes` tell whether it touches a bus address range.
  func apply(
    to outcome: inout EngineOutcome, channel: Int, index: UInt64,
    reads: (ClosedRange<UInt64>) -> Bool, writes: (ClosedRange<UInt64>) -> Bool
  ) {
    state.withLock { state in
      for position in state.plan.rules.indices where state.left[position] > 0 {
        let rule = state.plan.rules[position]
        guard rule.channel == nil || rule.channel == channel else { continue }
        let hits =
          switch rule.trigger {
          case .descriptor(let number): number == index
          case .source(let range): reads(range)
          case .destination(let range): writes(range)
          case .probability(let chance): state.draw(channel) < chance
          }
        guard hits else { continue }
        if state.left[position] != .max { state.left[position] -= 1 }
        outcome.add(rule.effect)
      }
    }
  }
}

extension FaultInjector.State {
  /// A number from 0 to below 1 (SplitMix64, 53 bits).
  fileprivate mutating func draw(_ channel: Int) -> Double {
    guard random.indices.contains(channel) else { return 1 }
    random[channel] &+= 0x9e37_79b9_7f4a_7c15
    var z = random[channel]
    z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
    z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
    return Double((z ^ (z >> 31)) >> 11) / 0x1p53
  }
}

extension EngineOutcome {
  /// Makes one fault of a plan part of the outcome.
  fileprivate mutating func add(_ effect: FaultPlan.Effect) {
    injected += 1
    switch effect {
    case .error(let bit):
      if errors == 0, (0...27).contains(bit) { errors = 1 << UInt32(bit) }
    case .hang: isHung = true
    case .slow(let nanoseconds): delay &+= nanoseconds
    case .lostInterrupt: losesInterrupt = true
    case .spuriousInterrupt: interruptsSpuriously = true
    case .lostCompletion: losesCompletion = true
    case .wrongCompletion(let xor): completionXor ^= xor
    }
  }
}

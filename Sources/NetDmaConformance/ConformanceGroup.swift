// SPDX-License-Identifier: Apache-2.0

/// What a rule is about; the first part of its name.
public enum ConformanceGroup: String, Sendable, CaseIterable {
  /// Registers that the function has once.
  case general
  /// PCI configuration space.
  case config
  /// Registers that each channel has, apart from what starts and stops it.
  case channel
  /// The channel's state machine and DMACOUNT.
  case state
  /// What a descriptor makes the engine do.
  case descriptor
  /// The completion word, and CHANSTS beside it.
  case completion
  /// CHANERR, and what happens to the chain.
  case error
  /// Messages to the host.
  case interrupt
  /// CHANCMD's RESET, and the function's reset.
  case reset
  /// XOR, P+Q and CRC, where DMACAPABILITY has them.
  case raid
}

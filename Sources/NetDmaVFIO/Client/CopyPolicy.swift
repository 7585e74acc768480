// SPDX-License-Identifier: Apache-2.0

import CNetDma
import Glibc

/// Which async copies the CPU makes itself, because it is done before the engine would be.
public enum CopyPolicy: Hashable, Sendable {
  /// None: every copy goes to the engine.
  case engineOnly
  /// Copies of fewer bytes than this.
  case cpuBelow(Int)
  /// Copies below the size at which the engine was quicker when the engine was opened: the first
  /// async copy measures it, which takes some milliseconds. Where that fails a warning is logged, and
  /// the CPU makes the copies that it was found to be quicker at, if any.
  case measured
}

/// What an engine has done for its async callers.
public struct DMAEngineStatistics: Hashable, Sendable {
  /// The sum over all channels, those of one's own included.
  public var channels: NetDmaChannelStatistics
  /// Copies that the CPU made by `CopyPolicy`.
  public var cpuCopies: UInt64
  /// Bytes of those.
  public var cpuBytes: UInt64
  /// Copies of fewer bytes are made by the CPU now; 0 when none is.
  public var cpuThreshold: Int
  /// ISR and DPC calls for channels that were gone.
  public var staleCalls: UInt64
  /// Interrupts on a vector whose channel nobody had.
  public var unclaimedInterrupts: UInt64
}

/// Copies by the CPU between two buffers of an address space.
enum CPUCopy {
  /// Copies; false when a side lies in no live buffer, for the engine to find out.
  static func copy(
    from source: DMASlice, to destination: DMASlice, in space: DMAAddressSpace
  ) -> Bool {
    guard let from = space.backing(of: source), let to = space.backing(of: destination) else {
      return false
    }
    // Both ranges lie in their buffers, which the references keep mapped during the call. memmove,
    // because the caller may have let them overlap.
    unsafe memmove(
      to.address + Int(destination.iova - to.iova), from.address + Int(source.iova - from.iova),
      source.count)
    return true
  }

  /// Nanoseconds of the quickest of several copies of `count` bytes.
  static func time(_ count: Int, from: DMASlice, to: DMASlice, in space: DMAAddressSpace) -> UInt64
  {
    var best = UInt64.max
    for _ in 0..<5 {
      let begin = Deadline.now()
      _ = copy(from: from.slice(0..<count), to: to.slice(0..<count), in: space)
      best = min(best, Deadline.now() &- begin)
    }
    return best
  }
}

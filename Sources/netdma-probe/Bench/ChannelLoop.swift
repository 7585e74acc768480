// SPDX-License-Identifier: Apache-2.0

import NetDmaVFIO

/// A channel of one's own that is kept busy by one thread.
protocol ChannelLoop: ~Copyable {
  /// What the channel has done since it was opened.
  var statistics: NetDmaChannelStatistics { get }

  /// Makes `limit` operations, fewer when the window ends before, and waits for the last one;
  /// returns how many ended.
  ///
  /// - Throws: `BenchError.operationFailed`, `NetDmaError` where the channel is gone.
  mutating func round(
    _ memory: borrowing BenchMemory, limit: Int, window: BenchWindow,
    _ latencies: inout LatencyHistogram
  ) throws -> Int
}

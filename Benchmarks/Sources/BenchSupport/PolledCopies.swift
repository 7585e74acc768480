// SPDX-License-Identifier: Apache-2.0

package import NetDmaVFIO

/// Copies as fast as they go on a polled channel.
package enum PolledCopies {
  /// Copies for `nanoseconds`, in batches of `batch` with at most `depth` outstanding; gives copies per
  /// second and in all.
  ///
  /// Copy number n goes from place n mod `places` of `source` to the same place of `target`, `size` bytes
  /// each.
  package static func run(
    _ channel: inout NetDmaChannel, from source: DMASlice, to target: DMASlice, size: Int,
    places: Int, batch: Int, depth: Int, nanoseconds: UInt64
  ) throws -> (rate: Double, count: Int) {
    let pairs = (0..<places).map { place in
      let range = place * size..<(place + 1) * size
      return (source: source.slice(range), target: target.slice(range))
    }
    let start = Deadline.now()
    var (submitted, completed, place) = (0, 0, 0)
    var elapsed: UInt64 = 0
    while elapsed < nanoseconds {
      for _ in 0..<64 where submitted - completed <= depth - batch {
        for _ in 0..<batch {
          guard
            channel.enqueueCopy(from: pairs[place].source, to: pairs[place].target, token: 0)
          else { throw BenchError("the ring is full") }
          place = place + 1 == places ? 0 : place + 1
        }
        try channel.submit()
        submitted += batch
        let result = try channel.poll()
        guard result.failed == 0 else { throw BenchError("a copy failed") }
        completed += result.completed
      }
      completed += try channel.poll().completed
      elapsed = Deadline.now() &- start
    }
    let rate = Double(completed) * 1e9 / Double(elapsed)
    while completed < submitted { completed += try channel.poll().completed }
    return (rate, completed)
  }
}

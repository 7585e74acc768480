// SPDX-License-Identifier: Apache-2.0

/// When the operations in flight were submitted, for a channel that ends them in order.
struct SubmissionQueue {
  private var times: [UInt64]
  private var ends: [Int]
  private let mask: Int
  private var head = 0
  private var tail = 0
  private var counted = 0

  /// Room for `capacity` submissions.
  init(capacity: Int) {
    var size = 1
    while size < capacity + 1 { size *= 2 }
    times = Array(repeating: 0, count: size)
    ends = Array(repeating: 0, count: size)
    mask = size - 1
  }

  /// Notes that all operations before number `end` were submitted by `time`.
  mutating func push(time: UInt64, end: Int) {
    times[head & mask] = time
    ends[head & mask] = end
    head &+= 1
  }

  /// Tells, submission by submission, how many operations before number `end` were submitted when.
  mutating func pop(before end: Int, _ body: (_ time: UInt64, _ count: Int) -> Void) {
    while counted < end, tail != head {
      let last = min(ends[tail & mask], end)
      body(times[tail & mask], last - counted)
      counted = last
      if last == ends[tail & mask] { tail &+= 1 }
    }
  }
}

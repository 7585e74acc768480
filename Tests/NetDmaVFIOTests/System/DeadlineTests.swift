// SPDX-License-Identifier: Apache-2.0

import NetDmaVFIO
import Testing

struct DeadlineTests {
  @Test(
    "milliseconds are whole, and as many as an Int has for what is longer",
    arguments: [
      (.zero, 0), (.microseconds(1999), 1), (.microseconds(-1999), -1), (.seconds(3), 3000),
      (.seconds(Int64.max), .max), (.seconds(Int64.min), .min),
      (.seconds(Int64.max) + .seconds(Int64.max), .max),
      // Whose thousandfold wraps to 0.
      (.seconds(Int64(1) << 61), .max),
    ] as [(Duration, Int)])
  func milliseconds(duration: Duration, expected: Int) {
    #expect(duration.wholeMilliseconds == expected)
  }

  @Test(
    "nanoseconds are whole, 0 for what is past, and as many as the clock has for what is longer",
    arguments: [
      (.zero, 0), (.nanoseconds(7), 7), (.seconds(-1), 0), (.seconds(2), 2_000_000_000),
      (.seconds(Int64.max), .max), (.seconds(Int64.max) + .seconds(Int64.max), .max),
      (.seconds(Int64(1) << 55), .max),
    ] as [(Duration, UInt64)])
  func nanoseconds(duration: Duration, expected: UInt64) {
    #expect(duration.wholeNanoseconds == expected)
  }

  @Test(
    "a deadline that is for ever off does not pass, and one as far in the past has",
    arguments: [
      .seconds(Int64.max), .seconds(Int64.max) + .seconds(60), .seconds(Int64(1) << 55),
    ] as [Duration])
  func endless(duration: Duration) {
    #expect(!Deadline(after: duration).hasPassed)
    #expect(Deadline(after: .zero - duration).hasPassed)
    #expect(Deadline(after: .zero).hasPassed)
  }
}

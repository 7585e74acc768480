// SPDX-License-Identifier: Apache-2.0

/// How patient the test is.
public struct ConformanceOptions: Sendable {
  /// How long anything may take that a device has to do.
  ///
  /// Drivers give 100 to 200 ms; the default is generous since nothing here measures speed.
  public var limit: Duration
  /// How long the test waits for what must not happen.
  public var quietTime: Duration

  /// The patience for hardware and emulators on a busy machine.
  public init(limit: Duration = .seconds(2), quietTime: Duration = .milliseconds(10)) {
    self.limit = limit
    self.quietTime = quietTime
  }
}

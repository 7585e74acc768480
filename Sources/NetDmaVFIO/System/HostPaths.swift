// SPDX-License-Identifier: Apache-2.0

/// Where this machine's pseudo file systems are; other roots serve a tree that stands in for them.
public struct HostPaths: Hashable, Sendable {
  /// sysfs, normally "/sys".
  public let sysfs: String
  /// procfs, normally "/proc".
  public let procfs: String
  /// Device nodes, normally "/dev".
  public let devices: String
  /// Files that last until the machine is booted again, normally "/run".
  public let run: String

  /// Roots without a trailing slash.
  public init(
    sysfs: String = "/sys", procfs: String = "/proc", devices: String = "/dev",
    run: String = "/run"
  ) {
    self.sysfs = sysfs
    self.procfs = procfs
    self.devices = devices
    self.run = run
  }

  /// The running kernel's.
  public static let host = HostPaths()
}

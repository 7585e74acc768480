// SPDX-License-Identifier: Apache-2.0

import ArgumentParser
import Glibc
import NetDmaVFIO

/// Which machine a command looks at: this one, or a directory that stands in for it.
struct HostOptions: ParsableArguments {
  @Option(
    name: .customLong("sysroot"),
    help: ArgumentHelp(
      "A directory with sys, proc, dev and run to look at in place of this machine's "
        + "(or NETDMA_SYSROOT).",
      valueName: "path", visibility: .hidden))
  var sysroot: String?

  /// The directory that stands in, nil for this machine.
  var root: String? {
    if let sysroot { return sysroot }
    // The result is read before anything could change the environment.
    guard let value = unsafe getenv("NETDMA_SYSROOT") else { return nil }
    let path = unsafe String(cString: value)
    return path.isEmpty ? nil : path
  }

  /// Whether another tree stands in for this machine.
  var isStandIn: Bool { root != nil }

  /// Its pseudo file systems.
  var paths: HostPaths {
    guard let root else { return .host }
    return HostPaths(
      sysfs: root + "/sys", procfs: root + "/proc", devices: root + "/dev", run: root + "/run")
  }
}

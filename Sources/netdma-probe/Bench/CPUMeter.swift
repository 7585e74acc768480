// SPDX-License-Identifier: Apache-2.0

import Glibc
import NetDmaVFIO

/// CPU time of this process, without that of device models in it: those stand for hardware.
struct CPUMeter: Sendable {
  private let engines: [clockid_t]

  /// Finds the models' threads; make it after the device was opened.
  init(files: any SystemFiles = HostFiles()) {
    let tasks = "/proc/self/task"
    engines = ((try? files.entries(of: tasks)) ?? []).compactMap { name in
      guard let thread = clockid_t(name),
        files.text("\(tasks)/\(name)/comm")?.hasPrefix("ioat-engine-") == true
      else { return nil }
      // The kernel's number for the CPU clock of a thread of this process, as
      // pthread_getcpuclockid(3) makes it: the inverted id, then "one thread" and "run time".
      return ~thread << 3 | 0b110
    }
  }

  /// Nanoseconds so far.
  var total: UInt64 {
    engines.reduce(Self.read(CLOCK_PROCESS_CPUTIME_ID)) { $0 &- Self.read($1) }
  }

  /// Nanoseconds of the calling thread so far.
  static var thread: UInt64 { read(CLOCK_THREAD_CPUTIME_ID) }

  /// 0 for a thread that ended.
  private static func read(_ clock: clockid_t) -> UInt64 {
    var time = timespec()
    // The pointer lives for the call.
    guard unsafe clock_gettime(clock, &time) == 0 else { return 0 }
    return UInt64(time.tv_sec) &* 1_000_000_000 &+ UInt64(time.tv_nsec)
  }
}

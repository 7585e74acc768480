// SPDX-License-Identifier: Apache-2.0

import Glibc
import NetDmaVFIO

/// The machine that was measured on.
struct MachineFacts: Hashable, Encodable, Sendable {
  /// The CPU's name, "unknown" where the kernel tells none.
  let processor: String
  /// CPUs that this process may use.
  let cpus: Int
  /// Bytes of memory, nil where the kernel does not tell.
  let memory: UInt64?
  /// The kernel's release.
  let kernel: String
  /// The kernel's name of the machine's architecture.
  let architecture: String
}

extension MachineFacts {
  /// This machine.
  init(files: any SystemFiles = HostFiles()) {
    let names = ["model name", "Model", "cpu model"]
    processor =
      (files.text("/proc/cpuinfo") ?? "").split(separator: "\n").lazy.compactMap { line in
        let parts = line.split(separator: ":", maxSplits: 1)
        guard parts.count == 2 else { return nil }
        let name = trimming(parts[0])
        return names.contains(String(name)) ? String(trimming(parts[1])) : nil
      }.first { !$0.isEmpty } ?? "unknown"
    cpus = ProcessorSet.available().count
    memory =
      (files.text("/proc/meminfo") ?? "").split(separator: "\n")
      .first { $0.hasPrefix("MemTotal:") }
      .flatMap { $0.split(separator: " ").dropFirst().first }
      .flatMap { UInt64($0) }.map { $0 << 10 }
    var system = utsname()
    // The kernel fills the structure, which lives for the call.
    _ = unsafe uname(&system)
    kernel = Self.text(system.release)
    architecture = Self.text(system.machine)
  }

  /// The text in an array of characters that the importer made a tuple.
  private static func text<Characters>(_ characters: Characters) -> String {
    unsafe withUnsafeBytes(of: characters) { bytes in
      unsafe String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
    }
  }
}

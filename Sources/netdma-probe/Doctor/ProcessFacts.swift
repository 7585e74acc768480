// SPDX-License-Identifier: Apache-2.0

import NetDmaVFIO

/// What the kernel lets the calling process do, from /proc/self.
struct ProcessFacts: Equatable {
  /// Effective user and groups, nil when procfs does not tell.
  var user: UInt32?
  var groups: Set<UInt32> = []
  /// Effective capabilities, one bit each.
  var capabilities: UInt64 = 0
  /// The soft RLIMIT_MEMLOCK in bytes, nil when unlimited or unknown.
  var lockedMemoryLimit: UInt64?
  var knowsLockedMemoryLimit = false

  init(_ machine: VFIOHost) {
    let directory = machine.paths.procfs + "/self"
    for line in (machine.files.text(directory + "/status") ?? "").split(separator: "\n") {
      let words = line.split { $0 == "\t" || $0 == " " || $0 == ":" }
      // The second number is the effective one.
      switch words.first {
      case "Uid" where words.count > 2: user = UInt32(words[2])
      case "Gid" where words.count > 2: if let group = UInt32(words[2]) { groups.insert(group) }
      case "Groups": groups.formUnion(words.dropFirst().compactMap { UInt32($0) })
      case "CapEff" where words.count > 1: capabilities = UInt64(words[1], radix: 16) ?? 0
      default: break
      }
    }
    let limits = machine.files.text(directory + "/limits") ?? ""
    for line in limits.split(separator: "\n") where line.hasPrefix("Max locked memory") {
      guard let soft = line.split(separator: " ").dropFirst(3).first else { continue }
      lockedMemoryLimit = UInt64(soft)
      knowsLockedMemoryLimit = soft == "unlimited" || lockedMemoryLimit != nil
    }
  }

  var isRoot: Bool { user == 0 }
  /// CAP_IPC_LOCK: locked memory is not limited.
  var mayLockMemory: Bool { capabilities & 1 << 14 != 0 }
  /// CAP_DAC_OVERRIDE: permissions of files do not matter.
  private var overridesPermissions: Bool { capabilities & 1 << 1 != 0 }

  /// Whether the permission bits let this process read and write.
  func mayReadAndWrite(_ status: FileStatus) -> Bool {
    if isRoot || overridesPermissions { return true }
    let bits =
      status.owner == user
      ? status.permissions >> 6
      : groups.contains(status.group)
        ? status.permissions >> 3 : status.permissions
    return bits & 6 == 6
  }
}

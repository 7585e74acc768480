// SPDX-License-Identifier: Apache-2.0

import NetDmaVFIO
import Synchronization
import SystemPackage

extension FakeKernel: SystemFiles {
  private func missing(_ call: String, _ path: String) -> SystemCallError {
    SystemCallError(call: call, subject: path, errno: .noSuchFileOrDirectory)
  }

  package func read(_ path: String) throws(SystemCallError) -> String {
    guard let text = state.withLock({ $0.texts[path] }) else { throw missing("open", path) }
    return text
  }

  package func target(of link: String) throws(SystemCallError) -> String {
    guard let target = state.withLock({ $0.links[link] }) else { throw missing("readlink", link) }
    return target
  }

  package func entries(of directory: String) throws(SystemCallError) -> [String] {
    let prefix = directory + "/"
    let names = state.withLock { state in
      let paths = Array(state.texts.keys) + Array(state.links.keys) + Array(state.statuses.keys)
      return Set(
        paths.filter { $0.hasPrefix(prefix) }
          .compactMap { $0.dropFirst(prefix.count).split(separator: "/").first.map(String.init) })
    }
    if names.isEmpty { throw missing("opendir", directory) }
    return names.sorted()
  }

  package func write(_ text: String, to path: String) throws(SystemCallError) {
    throw SystemCallError(call: "write", subject: path, errno: .permissionDenied)
  }

  package func store(_ text: String, at path: String) throws(SystemCallError) {
    state.withLock { $0.texts[path] = text }
  }

  package func remove(_ path: String) throws(SystemCallError) {
    state.withLock { $0.texts[path] = nil }
  }

  package func lock(
    _ path: String, until deadline: Deadline
  ) throws(SystemCallError) -> OwnedFileDescriptor? { nil }

  package func exists(_ path: String) -> Bool {
    state.withLock { state in
      state.texts[path] != nil || state.links[path] != nil || state.statuses[path] != nil
        || (Array(state.texts.keys) + Array(state.links.keys) + Array(state.statuses.keys))
          .contains { $0.hasPrefix(path + "/") }
    }
  }

  package func isReadableAndWritable(_ path: String) -> Bool { exists(path) }

  package func status(of path: String) -> FileStatus? { state.withLock { $0.statuses[path] } }
}

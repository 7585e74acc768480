// SPDX-License-Identifier: Apache-2.0

import NetDmaVFIO
import Synchronization
import SystemPackage

/// A tree whose files react as the kernel's do: what is written to unbind, bind, drivers_probe and
/// driver_override moves functions from driver to driver.
package final class ReactingSysFS: SystemFiles {
  package let tree: SysFSTree
  private let files = HostFiles()

  package struct State: Sendable {
    package init() {}
    /// The driver that a function gets from a probe without an override.
    package var defaultDrivers: [String: String] = [:]
    /// Functions whose probe by a driver fails, "0000:00:04.0 vfio-pci".
    package var refusals: Set<String> = []
    /// Writes that fail, by the path's end and the value: "drivers_probe 0000:00:04.0".
    package var failures: [String: [Errno]] = [:]
    /// Functions that are unplugged by the next write that names them.
    package var unplugged: Set<String> = []
    /// Every write, "driver_override vfio-pci", oldest first.
    package var writes: [String] = []
    /// The lock's holders, to see that there is one at a time.
    package var isLocked = false
    package var locksRefused = false
  }

  package let state = Mutex(State())

  package init(_ tree: SysFSTree) { self.tree = tree }

  package var writes: [String] { state.withLock { $0.writes } }

  package func read(_ path: String) throws(SystemCallError) -> String { try files.read(path) }
  package func target(of link: String) throws(SystemCallError) -> String {
    try files.target(of: link)
  }
  package func entries(of directory: String) throws(SystemCallError) -> [String] {
    try files.entries(of: directory)
  }
  package func store(_ text: String, at path: String) throws(SystemCallError) {
    try files.store(text, at: path)
  }
  package func remove(_ path: String) throws(SystemCallError) { try files.remove(path) }
  package func lock(
    _ path: String, until deadline: Deadline
  ) throws(SystemCallError) -> OwnedFileDescriptor? {
    if state.withLock({ $0.locksRefused }) { return nil }
    return try files.lock(path, until: deadline)
  }
  package func exists(_ path: String) -> Bool { files.exists(path) }
  package func isReadableAndWritable(_ path: String) -> Bool {
    let name = path.split(separator: "/").last.map(String.init) ?? ""
    return files.exists(path) && state.withLock { $0.failures["access \(name)"] == nil }
  }
  package func status(of path: String) -> FileStatus? { files.status(of: path) }

  package func write(_ text: String, to path: String) throws(SystemCallError) {
    let parts = path.split(separator: "/").map(String.init)
    let name = parts.last ?? ""
    let value = String(trimming(text))
    let label = "\(name) \(value)"
    let failure = state.withLock { state -> Errno? in
      state.writes.append(label)
      guard var queue = state.failures[label], !queue.isEmpty else { return nil }
      let first = queue.removeFirst()
      state.failures[label] = queue
      return first
    }
    let owner = name == "driver_override" ? parts.dropLast().last ?? "" : value
    if state.withLock({ $0.unplugged.contains(owner) }) {
      tree.delete("sys/bus/pci/devices/\(owner)")
      throw SystemCallError(call: "write", subject: path, errno: .operationNotSupportedByDevice)
    }
    if let failure { throw SystemCallError(call: "write", subject: path, errno: failure) }
    // The file must be there, as for the kernel's.
    try files.write(text, to: path)
    do {
      switch name {
      case "driver_override":
        try tree.file(
          SysFSTree.directory(owner) + "/driver_override",
          (value.isEmpty ? "(null)" : value) + "\n")
      case "unbind":
        tree.setDriver(value, nil)
      case "drivers_probe":
        probe(value)
      case "bind":
        attach(value, parts.dropLast().last ?? "")
      default: break
      }
    } catch {
      throw SystemCallError(call: "write", subject: path, errno: .ioError)
    }
  }

  private func probe(_ address: String) {
    guard tree.driver(address) == nil else { return }
    let override = tree.text(SysFSTree.directory(address) + "/driver_override")
    let chosen =
      override == nil || override == "(null)"
      ? state.withLock { $0.defaultDrivers[address] } : override
    if let chosen { attach(address, chosen) }
  }

  private func attach(_ address: String, _ driver: String) {
    let isLoaded = files.exists("\(tree.root)/sys/bus/pci/drivers/\(driver)")
    let isRefused = state.withLock { $0.refusals.contains("\(address) \(driver)") }
    if isLoaded, !isRefused { tree.setDriver(address, driver) }
  }
}

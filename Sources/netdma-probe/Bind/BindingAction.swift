// SPDX-License-Identifier: Apache-2.0

import Glibc
import Logging
import NetDmaVFIO

/// What `bind` and `unbind` do, on this machine or on a tree that stands in for it.
struct BindingAction {
  private let binding: DriverBinding
  private let machine: VFIOHost
  private let logger: Logger
  private let options: BindingOptions
  private let isDryRun: Bool

  init(
    paths: HostPaths, files: any SystemFiles, logger: Logger, options: BindingOptions,
    isDryRun: Bool
  ) {
    binding = DriverBinding(paths: paths, files: files, logger: logger)
    machine = VFIOHost(paths: paths, files: files, calls: HostKernel())
    self.logger = logger
    self.options = options
    self.isDryRun = isDryRun
  }

  /// Binds, and gives `user` the group's node; takes the binding back when that fails.
  func bind(_ address: PCIAddress, user: UserAccount? = nil) throws -> BindingReport {
    let plan =
      isDryRun
      ? try binding.planToBind(address, options: options)
      : try binding.bind(address, options: options)
    var node: String?
    if let user, let group = plan.group {
      let path = machine.groupPath(group)
      if !isDryRun {
        do {
          try give(path, to: user, of: address)
        } catch {
          if !plan.changes.isEmpty { try takeBack(plan) }
          throw error
        }
      }
      node = path
    }
    return BindingReport(
      command: "bind", plan: plan, isDryRun: isDryRun, user: user?.name, node: node,
      machine: machine)
  }

  /// Gives the function back.
  func unbind(_ address: PCIAddress) throws -> BindingReport {
    let plan =
      isDryRun
      ? try binding.planToUnbind(address, options: options)
      : try binding.unbind(address, options: options)
    return BindingReport(
      command: "unbind", plan: plan, isDryRun: isDryRun, user: nil, node: nil, machine: machine)
  }

  private func takeBack(_ plan: BindingPlan) throws(PCIError) {
    logger.info("giving the device back", metadata: ["device": "\(plan.address)"])
    // The functions that were bound before stay so.
    for change in plan.changes.reversed() {
      try binding.unbind(change.address, options: options.subtracting(.wholeGroup))
    }
  }

  private func give(
    _ path: String, to user: UserAccount, of address: PCIAddress
  ) throws(BindError) {
    // The kernel makes the node with the binding; a container may not see it.
    let hasAppeared = Deadline(after: .seconds(2)).poll { machine.files.exists(path) }
    guard hasAppeared else { throw .noNode(device: address.description, path: path) }
    do throws(SystemCallError) {
      _ = try systemCall("chown", on: path) {
        // The path is a NUL-terminated copy that lives for the call; all ones keeps the group.
        unsafe chown(path, user.id, gid_t.max)
      }
      // What others were allowed before stays.
      let mode = (machine.files.status(of: path)?.permissions ?? 0) | 0o600
      _ = try systemCall("chmod", on: path) { unsafe chmod(path, mode) }
    } catch {
      throw .nodeNotGiven(path: path, user: user.name, error: error)
    }
    logger.info("node given", metadata: ["node": "\(path)", "user": "\(user.name)"])
  }
}

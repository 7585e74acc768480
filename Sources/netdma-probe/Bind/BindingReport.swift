// SPDX-License-Identifier: Apache-2.0

import NetDmaVFIO

/// What `bind` and `unbind` print.
struct BindingReport: Encodable {
  let schema = JSONOutput.schema
  let command: String
  let device: String
  let dryRun: Bool
  /// Whether anything was, or would be, done to a driver.
  let changed: Bool
  let iommuGroup: Int?
  let changes: [Change]
  /// The driver afterwards; in a dry run the one now.
  let driver: String?
  let user: String?
  let node: String?
  /// Functions of the group that are with VFIO, the device itself not included.
  let othersWithVFIO: [String]

  struct Change: Encodable {
    let address: String
    let formerDriver: String?
    /// nil when the kernel chooses, or none.
    let driver: String?
    let commands: [String]
  }

  enum CodingKeys: String, CodingKey {
    case schema, command, device, dryRun, changed, iommuGroup, changes, driver, user, node,
      othersWithVFIO
  }

  init(
    command: String, plan: BindingPlan, isDryRun: Bool, user: String?, node: String?,
    machine: VFIOHost
  ) {
    self.command = command
    device = plan.address.description
    dryRun = isDryRun
    changed = !plan.changes.isEmpty
    iommuGroup = plan.group
    changes = plan.changes.map { change in
      let now = isDryRun ? change.driver : machine.node(change.address).driver
      return Change(
        address: change.address.description, formerDriver: change.formerDriver, driver: now,
        commands: (change.writes + change.finalWrites).map(\.description))
    }
    let function = machine.node(plan.address)
    driver = function.driver
    self.user = user
    self.node = node
    othersWithVFIO =
      plan.group.map { group in
        function.members(ofGroup: group).filter {
          $0.address != plan.address && ($0.driver.map(VFIODrivers.isVFIO) ?? false)
        }.map(\.address.description)
      } ?? []
  }

  func printText() {
    if !changed {
      print("\(device) is \(driver.map { "with \($0)" } ?? "without a driver") already.")
    } else if dryRun {
      print("As root, one after another:")
      for command in changes.flatMap(\.commands) { print("  \(command)") }
    }
    if !dryRun {
      for change in changes {
        print(
          "\(change.address): \(change.formerDriver ?? "no driver") -> \(change.driver ?? "no driver")"
        )
      }
    }
    if let user, let node {
      print(dryRun ? "  chown \(user) \(node)" : "\(node) belongs to \(user).")
    }
    for line in advice { print(line) }
  }

  private var advice: [String] {
    guard !dryRun else { return [] }
    if command == "bind" {
      return ["Next: netdma-probe doctor \(device)"]
    }
    guard !othersWithVFIO.isEmpty else { return [] }
    return [
      "Still with VFIO in group \(iommuGroup ?? 0): \(othersWithVFIO.joined(separator: ", "))"
    ]
  }
}

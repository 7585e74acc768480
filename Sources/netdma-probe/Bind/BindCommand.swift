// SPDX-License-Identifier: Apache-2.0

import ArgumentParser
import Logging
import NetDmaVFIO

/// `netdma-probe bind`: from the kernel's driver to vfio-pci.
struct BindCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "bind",
    abstract: "Bind a DMA engine to vfio-pci, so that programs can use it.",
    discussion: """
      Takes the one function from its driver, by driver_override, and remembers the driver for \
      unbind. A function that is no engine, or that somebody uses (a DMA client, a mounted disk, a \
      network interface that is up), is refused. When a step fails, what was done before it is undone. Binding again \
      does nothing. It lasts until the machine boots again.

      VFIO hands out whole IOMMU groups: with --group-ok the other functions of the group leave \
      their drivers too.

      EXAMPLES
        sudo netdma-probe bind 0000:00:04.0
        sudo netdma-probe bind 0000:00:04.0 --user $USER
        netdma-probe bind 0000:00:04.0 --dry-run
      """)

  @Argument(help: ArgumentHelp("A PCI function, see list.", valueName: "device"))
  var address: String

  @Option(
    help: ArgumentHelp("Give this user the group's node in /dev/vfio.", valueName: "name"),
    completion: .shellCommand("getent passwd | cut -d: -f1"))
  var user: String?

  @Flag(
    name: .customLong("group-ok"),
    help: "Take the other functions of the IOMMU group from their drivers too.")
  var takesGroup = false

  @Flag(name: .customLong("dry-run"), help: "Show what would be done, and do nothing.")
  var isDryRun = false

  @Flag(help: "Take functions that are in use, or no engines. What uses them breaks.")
  var force = false

  @Flag(help: "Print one JSON object.")
  var json = false

  @OptionGroup var log: LogOptions
  @OptionGroup var host: HostOptions

  func validate() throws { _ = try pciAddress(address) }

  func run() throws {
    try reportingErrors {
      let action = BindingAction(
        paths: host.paths, files: HostFiles(), logger: log.makeLogger(),
        options: .init(takesGroup: takesGroup, force: force), isDryRun: isDryRun)
      let report = try action.bind(
        try pciAddress(address), user: try user.map { try UserAccount(named: $0) })
      if json { try JSONOutput.print(report) } else { report.printText() }
    }
  }
}

/// `netdma-probe unbind`: back to the driver that the function had.
struct UnbindCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "unbind",
    abstract: "Give a DMA engine back to the driver that it had before bind.",
    discussion: """
      Without a memory of bind the kernel chooses the driver. A function that a process has open \
      is refused: unbinding would block until the process closes it. Unbinding again does nothing.

      EXAMPLES
        sudo netdma-probe unbind 0000:00:04.0
        sudo netdma-probe unbind 0000:00:04.0 --group-ok
        netdma-probe unbind 0000:00:04.0 --dry-run
      """)

  @Argument(help: ArgumentHelp("A PCI function, see list.", valueName: "device"))
  var address: String

  @Flag(
    name: .customLong("group-ok"),
    help: "Give back the functions that bind --group-ok took along too.")
  var takesGroup = false

  @Flag(name: .customLong("dry-run"), help: "Show what would be done, and do nothing.")
  var isDryRun = false

  @Flag(help: "Even if a process has it open or the former driver is not loaded.")
  var force = false

  @Flag(help: "Print one JSON object.")
  var json = false

  @OptionGroup var log: LogOptions
  @OptionGroup var host: HostOptions

  func validate() throws { _ = try pciAddress(address) }

  func run() throws {
    try reportingErrors {
      let action = BindingAction(
        paths: host.paths, files: HostFiles(), logger: log.makeLogger(),
        options: .init(takesGroup: takesGroup, force: force), isDryRun: isDryRun)
      let report = try action.unbind(try pciAddress(address))
      if json { try JSONOutput.print(report) } else { report.printText() }
    }
  }
}

extension BindingOptions {
  init(takesGroup: Bool, force: Bool) {
    self = []
    if takesGroup { insert(.wholeGroup) }
    if force { insert(.force) }
  }
}

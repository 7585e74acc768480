// SPDX-License-Identifier: Apache-2.0

import ArgumentParser
import Logging
import NetDmaVFIO

/// `netdma-probe list`: the DMA engines of this machine.
struct ListCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "list",
    abstract: "List the IOAT DMA engines of this machine.",
    discussion: """
      One line for each PCI function: address, channels (CH: those that ioatdma registered, else those \
      of the part), NUMA node, IOMMU group ("21+2" has two more functions, which are named \
      below), the driver bound now, whether netdma-probe can use it, platform and CB version. \
      Below: why not, and what to do. Reads sysfs only; it disturbs no driver and needs no \
      privileges.

      EXAMPLES
        netdma-probe list
        netdma-probe list --all
        netdma-probe list --json
      """)

  @Flag(help: "Every PCI function, not only DMA engines.")
  var all = false

  @Flag(help: "Print one JSON object.")
  var json = false

  @OptionGroup var log: LogOptions
  @OptionGroup var host: HostOptions

  func run() throws {
    try reportingErrors {
      let logger = log.makeLogger()
      let entries: [ListEntry]
      var hasBus = true
      do throws(PCIError) {
        entries = try collect(logger)
      } catch .noPCIBus {
        // A machine without PCI has no DMA engines; that is an answer, not a failure.
        entries = []
        hasBus = false
      }
      let report = ListReport(entries: entries, showsAll: all, hasPCI: hasBus)
      if json { try JSONOutput.print(report) } else { report.printText() }
    }
  }

  private func collect(_ logger: Logger) throws(PCIError) -> [ListEntry] {
    var enumerator = try PCIEnumerator(paths: host.paths, logger: logger)
    let devices = enumerator.devices { all || IOATDeviceID($0) != nil }
    var entries: [ListEntry] = []
    for device in devices {
      // pci.ids takes longer to load than the bus to walk; engines have names of their own.
      let name = IOATDeviceID(device.identity) == nil ? enumerator.names(of: device) : nil
      let node = SysFSDevice(device.address, paths: host.paths, files: HostFiles())
      entries.append(
        ListEntry(device, names: name, kernelChannels: node.kernelChannelCount))
    }
    return entries
  }
}

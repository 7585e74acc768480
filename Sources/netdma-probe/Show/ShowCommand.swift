// SPDX-License-Identifier: Apache-2.0

import ArgumentParser
import Logging
import NetDmaMock
import NetDmaVFIO

/// `netdma-probe show`: one device, everything decoded.
struct ShowCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "show",
    abstract: "Decode everything that one DMA engine tells.",
    discussion: """
      Configuration space with its capabilities, BARs, MSI-X, NUMA node, IOMMU group, the state of \
      VFIO, and the registers of the engine and its channels with each bit named: NAME+ is set, \
      NAME- is clear. Registers are read only where that changes nothing, and only of a device \
      that no kernel driver owns. Opening a device through VFIO resets it, as always.

      Root sees all capabilities; the kernel shows others the first 64 bytes of configuration space.

      EXAMPLES
        netdma-probe show 0000:00:04.0
        netdma-probe show --mock --model ice-lake
        netdma-probe show --vfio-user /run/ioat.sock --json
      """)

  @Argument(
    help: ArgumentHelp("The same as --device, bound to vfio-pci or not.", valueName: "device"))
  var positionalAddress: String?

  @OptionGroup var device: DeviceChoice

  @Flag(help: "Print one JSON object.")
  var json = false

  @OptionGroup var log: LogOptions
  @OptionGroup var host: HostOptions

  func validate() throws {
    // One or the other, not both.
    guard (positionalAddress != nil) != device.isMade else {
      throw ValidationError(
        "Name one device: DEVICE, --device ADDRESS, --vfio-user PATH or --mock.")
    }
    try address.map { _ = try pciAddress($0) }
  }

  /// The PCI function, nil for another kind of device.
  private var address: String? { positionalAddress ?? device.address }

  func run() throws {
    try reportingErrors {
      let logger = log.makeLogger()
      let report: ShowReport
      if let address {
        // A function that VFIO does not have is shown too, as far as sysfs goes.
        report = try ShowReport(address: try pciAddress(address), host: host, logger: logger)
      } else {
        report = try ShowReport(transport: try device.open(logger: logger), logger: logger)
      }
      if json { try JSONOutput.print(report) } else { report.printText() }
    }
  }
}

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
        netdma-probe show --mock
        netdma-probe show --vfio-user /run/ioat.sock --json
      """)

  @Argument(help: ArgumentHelp("A PCI function, see list.", valueName: "device"))
  var address: String?

  @Option(
    name: .customLong("vfio-user"),
    help: ArgumentHelp("The socket of a vfio-user server, see emulate.", valueName: "path"),
    completion: .file())
  var socket: String?

  @Flag(name: .customLong("mock"), help: "The device model in this process.")
  var usesMock = false

  @Flag(help: "Print one JSON object.")
  var json = false

  @OptionGroup var log: LogOptions
  @OptionGroup var host: HostOptions

  func validate() throws {
    guard [address != nil, socket != nil, usesMock].filter({ $0 }).count == 1 else {
      throw ValidationError("Name one device: DEVICE, --vfio-user PATH or --mock.")
    }
    try address.map { _ = try pciAddress($0) }
  }

  func run() throws {
    try reportingErrors {
      let logger = log.makeLogger()
      let report: ShowReport
      if let address {
        report = try ShowReport(address: try pciAddress(address), host: host, logger: logger)
      } else if let socket {
        report = try ShowReport(
          transport: try VFIOUserClient.connect(path: socket, timeout: .seconds(5), logger: logger),
          logger: logger)
      } else {
        report = try ShowReport(transport: try MockTransport(), logger: logger)
      }
      if json { try JSONOutput.print(report) } else { report.printText() }
    }
  }
}

/// The address that an argument names.
func pciAddress(_ text: String) throws -> PCIAddress {
  guard let address = PCIAddress(text) else {
    throw ValidationError(
      "'\(text)' is not a PCI address; write it like 0000:00:04.0 (see netdma-probe list).")
  }
  return address
}

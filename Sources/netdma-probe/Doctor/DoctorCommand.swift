// SPDX-License-Identifier: Apache-2.0

import ArgumentParser
import Logging
import NetDmaVFIO

/// `netdma-probe doctor`: what keeps a DMA engine from being used, and what to do about it.
struct DoctorCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "doctor",
    abstract: "Find out what keeps a DMA engine from being used, and how to mend it.",
    discussion: """
      Looks at each precondition in order: firmware, kernel, modules, limits, the device, its \
      IOMMU group, the rights of the user who asks. ✓ is as it should be, ✗ keeps copies from \
      working, ? cannot be known or could be better; commands and edits that help follow. When \
      nothing is wrong it proves that with copies on the device.

      Run it as the user who will use the device. Without DEVICE it takes the engine that is \
      closest to working. It changes nothing but that a device that is free and bound to vfio-pci \
      is opened, which resets it.

      EXAMPLES
        netdma-probe doctor
        netdma-probe doctor 0000:00:04.0
        netdma-probe doctor --json

      The exit status is 0 only if the copies were correct; 77 if only rights are missing.
      """)

  @Argument(help: ArgumentHelp("A PCI function, see list.", valueName: "device"))
  var address: String?

  @Flag(help: "Print one JSON object.")
  var json = false

  @OptionGroup var log: LogOptions
  @OptionGroup var host: HostOptions

  func validate() throws { try address.map { _ = try pciAddress($0) } }

  func run() throws {
    try reportingErrors {
      let logger = log.makeLogger()
      let doctor = Doctor(
        machine: DoctorMachine(root: host.root),
        prove: host.isStandIn
          ? nil
          : { address in
            try CopyProof.run(
              on: try openKernelDevice(address: address, logger: logger), logger: logger)
          })
      let report = doctor.examine(try address.map { try pciAddress($0) })
      if json { try JSONOutput.print(report) } else { report.printText() }
      if report.status != .success { throw report.status }
    }
  }
}

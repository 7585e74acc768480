// SPDX-License-Identifier: Apache-2.0

import TestSupport
import Testing

@Suite("show")
struct ShowTests {
  /// A register of a list, by name.
  private func register(_ name: String, in list: Any?) throws -> [String: Any] {
    let registers = try #require(list as? [[String: Any]])
    return try #require(registers.first { $0["name"] as? String == name }, "\(name)")
  }

  private func field(_ name: String, of register: [String: Any]) throws -> [String: Any] {
    let fields = try #require(register["fields"] as? [[String: Any]])
    return try #require(fields.first { $0["name"] as? String == name }, "\(name)")
  }

  /// What must be so of the model, however it is reached.
  private func checkModel(_ object: [String: Any]) throws {
    #expect(object["vendorID"] as? String == "8086")
    #expect(object["deviceID"] as? String == "2021")
    #expect(object["cbVersion"] as? String == "3.3")
    let general = object["general"]
    let limit = try register("XFERCAP", in: general)
    #expect(limit["value"] as? String == "0x14")
    #expect(try field("transfer-limit", of: limit)["meaning"] as? String == "1048576 bytes")
    let capability = try register("DMACAPABILITY", in: general)
    #expect(try field("fill", of: capability)["value"] as? Int == 1)
    #expect(try field("xor", of: capability)["value"] as? Int == 0)
    let channels = try #require(object["channels"] as? [[String: Any]])
    #expect(channels.count == 1)
    let status = try register("CHANSTS", in: channels[0]["registers"])
    #expect(try field("state", of: status)["meaning"] as? String == "HALTED")
    let capabilities = try #require(object["capabilities"] as? [[String: Any]])
    #expect(capabilities.contains { $0["name"] as? String == "MSI-X" })
  }

  @Test("the mock and a vfio-user server show the same engine, bit by bit")
  func model() throws {
    let mock = try ProbeProcess.run(["show", "--mock", "--json"])
    #expect(mock.status == 0)
    let object = try jsonObject(mock)
    #expect(object["transport"] as? String == "mock")
    try checkModel(object)
    let emulator = try EmulatorProcess(["--fast"])
    let remote = try ProbeProcess.run(["show", "--vfio-user", emulator.socket, "--json"])
    #expect(remote.status == 0, "\(remote.errors)")
    try checkModel(try jsonObject(remote))
  }

  @Test("registers that reading changes are named but not read")
  func sideEffects() throws {
    let object = try jsonObject(try ProbeProcess.run(["show", "--mock", "--json"]))
    let channels = try #require(object["channels"] as? [[String: Any]])
    let untouched = [
      try register("INTRCTRL", in: object["general"]),
      try register("ATTNSTATUS", in: object["general"]),
      try register("CHANCTRL", in: channels[0]["registers"]),
    ]
    for register in untouched {
      #expect(register["value"] == nil)
      #expect((register["note"] as? String)?.hasPrefix("reading ") == true)
    }
  }

  @Test("registers of a device that a kernel driver owns are refused, the rest is shown")
  func owned() throws {
    let tree = try SysFSTree()
    try tree.add("0000:00:04.0") { $0.group = 7 }
    try tree.add("0000:00:04.1") { $0.group = 7 }
    let result = try ProbeProcess.run([
      "show", "0000:00:04.0", "--json", "--sysroot", tree.root,
    ])
    #expect(result.status == 0, "\(result.errors)")
    let object = try jsonObject(result)
    #expect(object["registersUnavailable"] as? String == "The kernel driver ioatdma owns them.")
    #expect(
      object["remedy"] as? String
        == "Bind it to vfio-pci with: netdma-probe bind 0000:00:04.0")
    #expect((object["general"] as? [Any])?.isEmpty == true)
    #expect((object["channels"] as? [Any])?.isEmpty == true)
    let kernel = try #require(object["kernel"] as? [String: Any])
    #expect(kernel["iommuGroup"] as? Int == 7)
    #expect(kernel["driver"] as? String == "ioatdma")
    #expect((kernel["groupMembers"] as? [Any])?.count == 1)
    let command = try register("COMMAND", in: object["configuration"])
    #expect(try field("MASTER", of: command)["bits"] as? String == "2")
    let capabilities = try #require(object["capabilities"] as? [[String: Any]])
    #expect(
      capabilities.compactMap { $0["name"] as? String }.prefix(3) == [
        "MSI-X", "PCI Express", "Advanced Error Reporting",
      ])
  }

  @Test("an ordinary user's 64 bytes of configuration space are decoded, and the lack is said")
  func shortConfiguration() throws {
    let tree = try SysFSTree()
    try tree.add("0000:00:04.0") {
      $0.configuration = Array($0.configuration.prefix(64))
      $0.group = 7
      $0.driver = nil
    }
    let result = try ProbeProcess.run(["show", "0000:00:04.0", "--sysroot", tree.root])
    #expect(result.status == 0)
    #expect(result.output.contains("Capabilities are shown to root only."))
    #expect(result.output.contains("No driver is bound to the function."))
    #expect(result.output.contains("COMMAND"))
  }

  @Test("the mock is of the model that is asked for, as for the commands that copy")
  func models() throws {
    let object = try jsonObject(
      try ProbeProcess.run(["show", "--mock", "--model", "ice-lake", "--raid", "--json"]))
    #expect(object["deviceID"] as? String == "0b00")
    #expect(object["cbVersion"] as? String == "3.4")
    let capability = try register("DMACAPABILITY", in: object["general"])
    #expect(try field("xor", of: capability)["value"] as? Int == 1)
  }

  @Test("--device names a function as the operand does, whatever driver it has")
  func deviceOption() throws {
    let tree = try SysFSTree()
    try tree.add("0000:00:04.0") { $0.group = 7 }
    let lines = [["0000:00:04.0"], ["--device", "0000:00:04.0"]]
    let outputs = try lines.map {
      try ProbeProcess.run(["show"] + $0 + ["--sysroot", tree.root]).output
    }
    #expect(outputs[0].contains("The kernel driver ioatdma owns them."))
    #expect(outputs[0] == outputs[1])
  }

  @Test("no line is longer than 80 columns")
  func width() throws {
    let result = try ProbeProcess.run(["show", "--mock"])
    for line in result.output.split(separator: "\n") { #expect(line.count <= 80, "\(line)") }
  }

  @Test("a device that is not there is 69, two devices or none are 64")
  func refusals() throws {
    let tree = try SysFSTree()
    let missing = try ProbeProcess.run(["show", "0000:00:04.0", "--sysroot", tree.root])
    #expect(missing.status == 69)
    #expect(missing.errors.contains("There is no PCI device 0000:00:04.0."))
    for arguments in [
      ["show"], ["show", "--mock", "0000:00:04.0"], ["show", "nonsense"],
      ["show", "0000:00:04.0", "--device", "0000:00:04.0"],
    ] {
      #expect(try ProbeProcess.run(arguments).status == 64)
    }
  }
}

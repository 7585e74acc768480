// SPDX-License-Identifier: Apache-2.0

import NetDmaVFIO

extension ShowReport {
  func printText() {
    let style = TextStyle.output
    let width = Terminal.width
    print(style.bold(device) + "  " + name)
    print()
    for (label, value) in facts { print(wrapped(label, value, width: width)) }
    section("Configuration space", configuration, style, width)
    if !seesCapabilities {
      print()
      print("Capabilities are shown to root only.")
    }
    for capability in capabilities {
      let title = "\(capability.name) capability at \(capability.offset)"
      section(title, capability.registers, style, width)
    }
    section("Engine", general, style, width)
    for channel in channels {
      section("Channel \(channel.index)", channel.registers, style, width)
    }
    if let registersUnavailable {
      print()
      print(style.bold("Registers") + " are not read. " + registersUnavailable)
      if let remedy { print(remedy) }
    }
  }

  /// What is known apart from registers, label by label.
  private var facts: [(String, String)] {
    var facts = [("identity", "\(vendorID):\(deviceID), through \(transport)")]
    if let kernel {
      facts.append(
        (
          "driver",
          (kernel.driver ?? "none")
            + (kernel.driverOverride.map { ", driver_override \($0)" } ?? "")
        ))
      facts.append(("NUMA node", kernel.numaNode.map(String.init) ?? "unknown"))
      facts.append(("IOMMU group", group(kernel)))
      facts.append(
        (
          "VFIO nodes",
          kernel.nodes.isEmpty
            ? "none"
            : kernel.nodes.map { $0.path + ($0.isAccessible ? "" : " (no permission)") }
              .joined(separator: ", ")
        ))
    }
    for bar in bars {
      var words = [byteCount(bar.size)]
      if let base = bar.base { words.append("at \(base)") }
      if let kind = bar.kind { words.append(kind) }
      if let mappable = bar.mappable {
        words.append(
          mappable.isEmpty
            ? "not mappable" : "mappable \(mappable.joined(separator: ", "))")
      }
      facts.append(("BAR\(bar.index)", words.joined(separator: ", ")))
    }
    return facts
  }

  private func group(_ kernel: KernelState) -> String {
    guard let number = kernel.iommuGroup else { return "none: the IOMMU is off" }
    guard !kernel.groupMembers.isEmpty else { return "\(number), alone" }
    let others = kernel.groupMembers.map { "\($0.address) (\($0.driver ?? "no driver"))" }
    return "\(number), with \(others.joined(separator: ", "))"
  }

  private func section(
    _ title: String, _ registers: [DecodedRegister], _ style: TextStyle, _ width: Int
  ) {
    if registers.isEmpty && !title.contains("capability") { return }
    print()
    print(style.bold(title))
    for register in registers {
      let value = register.value ?? "(not read)"
      let head = "  " + pad(register.offset, 6) + pad(register.name, 21)
      let words =
        register.value == nil
        ? (register.note ?? "").split(separator: " ").map(String.init) : register.words
      // Values of 64 bits are longer than the column; what follows them starts a line later.
      print(style.dim(head) + value, terminator: "")
      let column = 2 + 6 + 21 + 12
      let used = head.count + value.count
      let lines = fold(words, width: width - column)
      if let first = lines.first, !first.isEmpty, used < column {
        print(String(repeating: " ", count: column - used) + first)
      } else {
        print()
        if let first = lines.first, !first.isEmpty {
          print(String(repeating: " ", count: column) + first)
        }
      }
      for line in lines.dropFirst() { print(String(repeating: " ", count: column) + line) }
    }
  }

  private func wrapped(_ label: String, _ value: String, width: Int) -> String {
    let lines = fold(value.split(separator: " ").map(String.init), width: width - 15)
    return lines.enumerated().map { index, line in
      (index == 0 ? "  " + pad(label, 13) : String(repeating: " ", count: 15)) + line
    }.joined(separator: "\n")
  }
}

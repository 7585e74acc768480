// SPDX-License-Identifier: Apache-2.0

/// Where a PCI function is: domain, bus, device and function, "0000:00:04.0".
public struct PCIAddress: Hashable, Sendable {
  /// The PCI segment, usually 0; up to 31 bits, since functions behind Intel VMD are above 0xffff.
  public let domain: UInt32
  /// The bus in the domain.
  public let bus: UInt8
  /// The device on the bus, 0...31.
  public let device: UInt8
  /// The function of the device, 0...7.
  public let function: UInt8

  /// An address of numbers, nil when one is out of range.
  public init?(domain: UInt32 = 0, bus: UInt8, device: UInt8, function: UInt8) {
    guard domain <= Self.maximumDomain, device < 32, function < 8 else { return nil }
    self.domain = domain
    self.bus = bus
    self.device = device
    self.function = function
  }

  /// The kernel's domains are signed 32-bit numbers.
  private static let maximumDomain: UInt32 = 0x7fff_ffff

  /// The path component below /sys/bus/pci/devices, and the name that VFIO_GROUP_GET_DEVICE_FD takes.
  public var name: String { description }
}

extension PCIAddress: LosslessStringConvertible {
  /// Parses "0000:00:04.0" or, in domain 0, "00:04.0".
  ///
  /// Strict: four to eight hexadecimal digits of domain, two of bus, two of device, one of function,
  /// nothing around them. Nil for anything else.
  public init?(_ description: String) {
    var fields: [[UInt8]] = [[]]
    for byte in description.utf8 {
      switch byte {
      case UInt8(ascii: ":") where fields.count < 3, UInt8(ascii: "."): fields.append([])
      default: fields[fields.count - 1].append(byte)
      }
    }
    // The function follows the only dot, which comes last.
    guard description.utf8.count(where: { $0 == UInt8(ascii: ".") }) == 1,
      description.utf8.dropLast().last == UInt8(ascii: "."), (3...4).contains(fields.count)
    else { return nil }
    let hasDomain = fields.count == 4
    let domainField = hasDomain ? fields[0] : Array("0000".utf8)
    let rest = hasDomain ? fields.dropFirst() : fields[...]
    let widths = rest.map(\.count)
    guard (4...8).contains(domainField.count), widths == [2, 2, 1] else { return nil }
    let values = ([domainField] + rest).compactMap(Self.hexadecimal)
    guard values.count == 4 else { return nil }
    self.init(
      domain: values[0], bus: UInt8(truncatingIfNeeded: values[1]),
      device: UInt8(truncatingIfNeeded: values[2]), function: UInt8(truncatingIfNeeded: values[3]))
  }

  /// At most eight digits, no sign.
  private static func hexadecimal(_ digits: [UInt8]) -> UInt32? {
    var value: UInt32 = 0
    for digit in digits {
      let nibble: UInt8
      switch digit {
      case UInt8(ascii: "0")...UInt8(ascii: "9"): nibble = digit - UInt8(ascii: "0")
      case UInt8(ascii: "a")...UInt8(ascii: "f"): nibble = digit - UInt8(ascii: "a") + 10
      case UInt8(ascii: "A")...UInt8(ascii: "F"): nibble = digit - UInt8(ascii: "A") + 10
      default: return nil
      }
      value = value << 4 | UInt32(nibble)
    }
    return digits.isEmpty ? nil : value
  }

  /// As the kernel writes it: "0000:00:04.0".
  public var description: String {
    hexDigits(domain, 4) + ":" + hexDigits(bus, 2) + ":" + hexDigits(device, 2)
      + "." + String(function)
  }
}

extension PCIAddress: Comparable {
  /// By domain, bus, device, function.
  public static func < (a: Self, b: Self) -> Bool {
    (a.domain, a.bus, a.device, a.function) < (b.domain, b.bus, b.device, b.function)
  }
}

/// `value` in lower-case hexadecimal with at least `width` digits and no prefix.
package func hexDigits(_ value: some BinaryInteger, _ width: Int) -> String {
  let digits = String(value, radix: 16)
  return String(repeating: "0", count: max(0, width - digits.count)) + digits
}

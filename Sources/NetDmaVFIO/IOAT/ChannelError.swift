// SPDX-License-Identifier: Apache-2.0

/// CHANERR bits (Linux IOAT_CHANERR_*): why a channel halted.
public struct ChannelError: OptionSet, Hashable, Sendable, CustomStringConvertible {
  /// The register's value.
  public let rawValue: UInt32
  /// A set from the register's value.
  public init(rawValue: UInt32) { self.rawValue = rawValue }

  /// SRC_ADDR: bad source address.
  public static let sourceAddress = Self(rawValue: 1 << 0)
  /// DEST_ADDR: bad destination address.
  public static let destinationAddress = Self(rawValue: 1 << 1)
  /// NEXT_ADDR: bad next-descriptor address.
  public static let nextAddress = Self(rawValue: 1 << 2)
  /// NEXT_DESC_ALIGN: descriptor error.
  public static let descriptor = Self(rawValue: 1 << 3)
  /// CHAIN_ADDR_VALUE: bad CHAINADDR.
  public static let chainAddress = Self(rawValue: 1 << 4)
  /// CHANCMD: bad command.
  public static let command = Self(rawValue: 1 << 5)
  /// CHIPSET_UNCORR_DATA: chipset data integrity.
  public static let chipsetData = Self(rawValue: 1 << 6)
  /// DMA_UNCORR_DATA: engine data integrity.
  public static let engineData = Self(rawValue: 1 << 7)
  /// READ_DATA: a read failed.
  public static let readData = Self(rawValue: 1 << 8)
  /// WRITE_DATA: a write failed.
  public static let writeData = Self(rawValue: 1 << 9)
  /// CONTROL: bad descriptor control word.
  public static let control = Self(rawValue: 1 << 10)
  /// LENGTH: bad transfer size.
  public static let length = Self(rawValue: 1 << 11)
  /// COMPLETION_ADDR: bad CHANCMP.
  public static let completionAddress = Self(rawValue: 1 << 12)
  /// INT_CONFIGURATION: interrupt configuration.
  public static let interruptConfiguration = Self(rawValue: 1 << 13)
  /// SED address, or soft error.
  public static let superExtendedDescriptor = Self(rawValue: 1 << 14)
  /// UNAFFILIATED: not tied to a descriptor.
  public static let unaffiliated = Self(rawValue: 1 << 15)
  /// XOR_P_OR_CRC: P, XOR or CRC did not match.
  public static let xorPOrCRC = Self(rawValue: 1 << 16)
  /// XOR_Q: Q did not match.
  public static let xorQ = Self(rawValue: 1 << 17)
  /// DESCRIPTOR_COUNT: DMACOUNT ran over.
  public static let descriptorCount = Self(rawValue: 1 << 18)

  /// The specification's name of each bit, from bit 0.
  public static let bitNames = [
    "SRC_ADDR", "DEST_ADDR", "NEXT_ADDR", "NEXT_DESC_ALIGN", "CHAIN_ADDR_VALUE", "CHANCMD",
    "CHIPSET_UNCORR_DATA", "DMA_UNCORR_DATA", "READ_DATA", "WRITE_DATA", "CONTROL", "LENGTH",
    "COMPLETION_ADDR", "INT_CONFIGURATION", "SOFT", "UNAFFILIATED", "XOR_P_OR_CRC", "XOR_Q",
    "DESCRIPTOR_COUNT", "DIF_ALL_F", "DIF_GUARD_TAG", "DIF_APP_TAG", "DIF_REF_TAG", "BUNDLE",
    "RESULT_DIF_ALL_F", "RESULT_GUARD_TAG", "RESULT_APP_TAG", "RESULT_REF_TAG",
  ]

  /// Names of the bits that are set; an unnamed bit shows as "bit 29".
  public var names: [String] {
    (0..<32).filter { rawValue & (1 << $0) != 0 }.map {
      $0 < Self.bitNames.count ? Self.bitNames[$0] : "bit \($0)"
    }
  }

  /// "READ_DATA (0x100)", or "no error bit".
  public var description: String {
    isEmpty ? "no error bit" : "\(names.joined(separator: "|")) (\(hex(rawValue)))"
  }
}

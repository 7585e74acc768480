// SPDX-License-Identifier: Apache-2.0

/// DMACAPABILITY (BAR0 + 0x10) by names, as command lines spell them.
public struct DMACapabilities: OptionSet, Hashable, Sendable, CustomStringConvertible {
  /// The register's value.
  public let rawValue: UInt32
  /// A set from the register's value.
  public init(rawValue: UInt32) { self.rawValue = rawValue }

  /// Bit 0: a copy may go on in other pages after 4 KiB.
  public static let pageBreak = Self(rawValue: CapabilityBit.pageBreak)
  /// Bit 1: CRC32C of memory.
  public static let crc = Self(rawValue: CapabilityBit.crc)
  /// Bit 4: direct cache access.
  public static let dca = Self(rawValue: CapabilityBit.dca)
  /// Bit 5: CRC32C while copying.
  public static let moveCRC = Self(rawValue: CapabilityBit.moveCRC)
  /// Bit 6: block fill.
  public static let fill = Self(rawValue: CapabilityBit.fill)
  /// Bit 7: APIC ids wider than 8 bits.
  public static let extendedAPICID = Self(rawValue: CapabilityBit.extendedAPICID)
  /// Bit 8: XOR of up to eight sources.
  public static let xor = Self(rawValue: CapabilityBit.xor)
  /// Bit 9: P and Q of up to eight sources.
  public static let pq = Self(rawValue: CapabilityBit.pq)
  /// Bit 13 (DWBES): status is written back into descriptors.
  public static let descriptorWriteBack = Self(rawValue: CapabilityBit.descriptorWriteBack)
  /// Bit 17 (RAID16SS): P and Q of up to sixteen sources.
  public static let raid16Sources = Self(rawValue: CapabilityBit.raid16Sources)
  /// Bit 19: completion timeouts.
  public static let completionTimeout = Self(rawValue: CapabilityBit.completionTimeout)
  /// Bit 23 (DPS): descriptors are prefetched from contiguous rings.
  public static let descriptorPrefetch = Self(rawValue: CapabilityBit.descriptorPrefetch)

  /// The names and what they stand for, in the register's order.
  static let names: [(name: String, capability: DMACapabilities)] = [
    ("page-break", .pageBreak), ("crc", .crc), ("dca", .dca), ("move-crc", .moveCRC),
    ("fill", .fill), ("ext-apic-id", .extendedAPICID), ("xor", .xor), ("pq", .pq),
    ("dwbes", .descriptorWriteBack), ("raid16ss", .raid16Sources),
    ("completion-timeout", .completionTimeout), ("dps", .descriptorPrefetch),
  ]

  /// Reads a list of names such as "page-break,fill,xor", the register's value as "0x341" or "341",
  /// or "none".
  ///
  /// "dca", which is a hexadecimal number too, is the name.
  ///
  /// - Throws: `ProfileError.unknownCapability` for a name that does not exist,
  ///   `.capabilitiesTooWide` for a number of more than 32 bits, `.unmodelledCapabilities` for bits
  ///   that the model does not implement: a driver would use them.
  public init(parsing text: String) throws(ProfileError) {
    let lower = text.lowercased()
    let digits = lower.hasPrefix("0x") ? lower.dropFirst(2) : lower[...]
    let isName = Self.validNames.contains(lower)
    if !isName, !digits.isEmpty, digits.allSatisfy({ $0.isASCII && $0.isHexDigit }) {
      guard let value = UInt32(digits, radix: 16) else {
        throw .capabilitiesTooWide(number: text)
      }
      let unmodelled = value & ~CapabilityBit.implemented
      guard unmodelled == 0 else { throw .unmodelledCapabilities(bits: unmodelled) }
      self.init(rawValue: value)
      return
    }
    var set: DMACapabilities = []
    if lower != "none" {
      for part in lower.split(separator: ",", omittingEmptySubsequences: false) {
        guard let entry = Self.names.first(where: { $0.name == part }) else {
          throw .unknownCapability(name: String(part), valid: Self.validNames)
        }
        set.insert(entry.capability)
      }
    }
    self = set
  }

  private static var validNames: [String] { names.map(\.name) }

  /// The names that `init(parsing:)` reads, "none" for an empty set.
  public var description: String {
    let known = Self.names.filter { contains($0.capability) }.map(\.name)
    return known.isEmpty ? "none" : known.joined(separator: ",")
  }
}

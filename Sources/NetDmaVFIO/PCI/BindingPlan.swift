// SPDX-License-Identifier: Apache-2.0

/// One write to sysfs.
public struct SysFSWrite: Hashable, Sendable, CustomStringConvertible {
  /// The file.
  public let path: String
  /// What is written; a lone newline empties driver_override.
  public let value: String

  /// Describes a write.
  public init(path: String, value: String) {
    self.path = path
    self.value = value
  }

  /// As a person would type it: "echo vfio-pci > /sys/…".
  public var description: String {
    value == "\n" ? "echo > \(path)" : "echo \(value) > \(path)"
  }
}

/// What happens to one function.
public struct FunctionChange: Hashable, Sendable {
  /// The function.
  public let address: PCIAddress
  /// Its driver before, nil for none.
  public let formerDriver: String?
  /// Its driver_override before, nil for none.
  public let formerOverride: String?
  /// Its driver afterwards, nil for none, or for whichever the kernel chooses when
  /// `kernelChooses` is set.
  public let driver: String?
  /// Whether the kernel picks the driver.
  public let kernelChooses: Bool
  /// The writes, in order, that bring the change about.
  public let writes: [SysFSWrite]
  /// The write after the change was verified.
  public let finalWrites: [SysFSWrite]
}

/// What a bind or unbind does, function by function.
public struct BindingPlan: Hashable, Sendable {
  /// The function that was asked for.
  public let address: PCIAddress
  /// The changes, in the order in which they are made; empty when everything is as wanted.
  public let changes: [FunctionChange]
  /// The IOMMU group, nil for none.
  public let group: Int?

  /// Every write, in order: what a dry run shows.
  public var writes: [SysFSWrite] { changes.flatMap { $0.writes + $0.finalWrites } }
}

/// What binding may do beyond the one function.
public struct BindingOptions: OptionSet, Hashable, Sendable {
  /// The set's bits.
  public let rawValue: UInt8
  /// A set from its bits.
  public init(rawValue: UInt8) { self.rawValue = rawValue }
  /// Take the other functions of the IOMMU group from their drivers too, or give them back.
  public static let wholeGroup = Self(rawValue: 1)
  /// Take functions that are in use, or no known engines; unbind even when the former driver is not loaded.
  public static let force = Self(rawValue: 2)
}

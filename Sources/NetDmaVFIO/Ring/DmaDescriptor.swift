// SPDX-License-Identifier: Apache-2.0

/// NET_DMA_DESCRIPTOR, which is the IOAT hardware descriptor: 64 bytes, aligned to 64.
///
/// Addresses are IOVAs of the device's IOMMU domain. The layout is asserted by a test against the
/// literal offsets of netdma.h.
public struct DmaDescriptor: Equatable, Sendable {
  /// 0x00: bytes to transfer, at least 1, at most the engine's limit (XFERCAP).
  public var transferSize: UInt32 = 0
  /// 0x04: what to do and how to report it.
  public var controlFlags: DmaControlFlags = []
  /// 0x08: source address, or the 8-byte pattern of a fill.
  public var sourceAddress: UInt64 = 0
  /// 0x10: destination address.
  public var destinationAddress: UInt64 = 0
  /// 0x18: the next descriptor; in NetDMA 2.x never null, the chain is a ring.
  public var nextDescriptor: UInt64 = 0
  /// 0x20: where the source goes on after its first page (page break).
  public var nextSourceAddress: UInt64 = 0
  /// 0x28: where the destination goes on after its first page (page break).
  public var nextDestinationAddress: UInt64 = 0
  /// 0x30: the interface's own.
  public var userContext1: UInt64 = 0
  /// 0x38: the interface's own.
  public var userContext2: UInt64 = 0

  /// An all-zero descriptor, which no engine accepts.
  public init() {}
}

/// ControlFlags of NET_DMA_DESCRIPTOR, descriptor byte 0x04.
public struct DmaControlFlags: OptionSet, Hashable, Sendable {
  /// The 32-bit control word.
  public let rawValue: UInt32
  /// A control word from its bits.
  @inlinable
  public init(rawValue: UInt32) { self.rawValue = rawValue }

  /// NET_DMA_INTERRUPT_ON_COMPLETION: raise the channel's interrupt when done.
  public static let interruptOnCompletion = Self(rawValue: 0x0000_0001)
  /// NET_DMA_SOURCE_NO_SNOOP: the source need not be snooped.
  public static let sourceNoSnoop = Self(rawValue: 0x0000_0002)
  /// NET_DMA_DESTINATION_NO_SNOOP: the destination need not be snooped.
  public static let destinationNoSnoop = Self(rawValue: 0x0000_0004)
  /// NET_DMA_STATUS_UPDATE_ON_COMPLETION: write the 64-bit completion status.
  public static let statusUpdateOnCompletion = Self(rawValue: 0x0000_0008)
  /// NET_DMA_SERIALIZE_TRANSFER: all its writes land before the next descriptor's data is read.
  public static let serializeTransfer = Self(rawValue: 0x0000_0010)
  /// NET_DMA_NULL_TRANSFER: no transfer; the size must still be non-zero.
  public static let nullTransfer = Self(rawValue: 0x0000_0020)
  /// NET_DMA_SOURCE_PAGE_BREAK: after the first source page go on at `nextSourceAddress`.
  public static let sourcePageBreak = Self(rawValue: 0x0000_0040)
  /// NET_DMA_DESTINATION_PAGE_BREAK: likewise for the destination.
  public static let destinationPageBreak = Self(rawValue: 0x0000_0080)
  /// NET_DMA_DESTINATION_DCA_ENABLE: DCA hint for the destination.
  public static let destinationDCAEnable = Self(rawValue: 0x0000_0200)

  /// What a client may ask for with an operation: fence, no-snoop and DCA.
  ///
  /// The rest of the control word is the driver's: what the operation is, and whether it reports.
  public static let options: Self = [
    .sourceNoSnoop, .destinationNoSnoop, .serializeTransfer, .destinationDCAEnable,
  ]

  /// `options` as a number that the compiler knows.
  @inlinable @inline(__always)
  static var optionBits: UInt32 { 0x0000_0216 }

  /// The flags of `options` that are among those a client may ask for.
  var permitted: Self { Self(rawValue: rawValue & Self.optionBits) }

  /// Bits 31:24, the operation.
  public var operation: DmaOperation { DmaOperation(rawValue: UInt8(rawValue >> 24)) }

  /// Control flags for `operation` with the given option bits.
  public init(_ operation: DmaOperation, _ options: DmaControlFlags = []) {
    rawValue = UInt32(operation.rawValue) << 24 | options.rawValue & 0x00ff_ffff
  }
}

/// The operation in bits 31:24 of the control word (ioat hw.h IOAT_OP_*).
public struct DmaOperation: RawRepresentable, Hashable, Sendable {
  /// The opcode byte.
  public let rawValue: UInt8
  /// An operation by its opcode.
  public init(rawValue: UInt8) { self.rawValue = rawValue }

  /// NET_DMA_OP_TYPE_STANDARD_DMA: copy, or null with the null flag.
  public static let copy = Self(rawValue: 0x00)
  /// Fill with an 8-byte pattern.
  public static let fill = Self(rawValue: 0x01)
  /// XOR of 2 to 8 sources.
  public static let xor = Self(rawValue: 0x87)
  /// Check that the XOR of the sources is what the destination holds.
  public static let xorValidate = Self(rawValue: 0x88)
  /// P and Q of 2 to 8 sources.
  public static let pq = Self(rawValue: 0x89)
  /// Check P and Q of 2 to 8 sources.
  public static let pqValidate = Self(rawValue: 0x8a)
  /// P and Q of 9 to 16 sources, with a super-extended descriptor.
  public static let pq16 = Self(rawValue: 0xa0)
  /// Check P and Q of 9 to 16 sources.
  public static let pq16Validate = Self(rawValue: 0xa1)
  /// NET_DMA_OP_TYPE_CONTEXT_CHANGE: set the channel's DCA target CPU.
  public static let contextChange = Self(rawValue: 0xff)
}

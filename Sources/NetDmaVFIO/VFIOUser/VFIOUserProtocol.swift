// SPDX-License-Identifier: Apache-2.0

/// Command numbers of vfio-user (docs/interop/vfio-user.rst in QEMU).
package struct VFIOUserCommand: RawRepresentable, Hashable, Sendable, CustomStringConvertible {
  package let rawValue: UInt16
  package init(rawValue: UInt16) { self.rawValue = rawValue }

  package static let version = Self(rawValue: 1)
  package static let dmaMap = Self(rawValue: 2)
  package static let dmaUnmap = Self(rawValue: 3)
  package static let deviceGetInfo = Self(rawValue: 4)
  package static let deviceGetRegionInfo = Self(rawValue: 5)
  package static let deviceGetRegionIOFDs = Self(rawValue: 6)
  package static let deviceGetIRQInfo = Self(rawValue: 7)
  package static let deviceSetIRQs = Self(rawValue: 8)
  package static let regionRead = Self(rawValue: 9)
  package static let regionWrite = Self(rawValue: 10)
  package static let dmaRead = Self(rawValue: 11)
  package static let dmaWrite = Self(rawValue: 12)
  package static let deviceReset = Self(rawValue: 13)
  package static let regionWriteMulti = Self(rawValue: 15)
  package static let deviceFeature = Self(rawValue: 16)
  package static let migrationDataRead = Self(rawValue: 17)
  package static let migrationDataWrite = Self(rawValue: 18)

  private static let names = [
    "", "VERSION", "DMA_MAP", "DMA_UNMAP", "DEVICE_GET_INFO", "DEVICE_GET_REGION_INFO",
    "DEVICE_GET_REGION_IO_FDS", "DEVICE_GET_IRQ_INFO", "DEVICE_SET_IRQS", "REGION_READ",
    "REGION_WRITE", "DMA_READ", "DMA_WRITE", "DEVICE_RESET", "", "REGION_WRITE_MULTI",
    "DEVICE_FEATURE", "MIG_DATA_READ", "MIG_DATA_WRITE",
  ]

  /// The specification's name, "command 99" where there is none.
  package var description: String {
    let index = Int(rawValue)
    let name = index < Self.names.count ? Self.names[index] : ""
    return name.isEmpty ? "command \(rawValue)" : name
  }
}

/// The 16 bytes before every message.
package struct VFIOUserHeader: Hashable, Sendable {
  /// Chosen by the sender of the command, echoed in the reply.
  package var id: UInt16
  package var command: VFIOUserCommand
  /// Bytes of the whole message, this header included.
  package var size: UInt32
  package var flags: UInt32
  /// errno, in a reply with the error flag.
  package var error: UInt32

  package static let size = 16
  package static let typeMask: UInt32 = 0xf
  package static let typeCommand: UInt32 = 0
  package static let typeReply: UInt32 = 1
  package static let noReply: UInt32 = 0x10
  package static let errorFlag: UInt32 = 0x20

  package init(
    id: UInt16, command: VFIOUserCommand, size: UInt32, flags: UInt32, error: UInt32 = 0
  ) {
    self.id = id
    self.command = command
    self.size = size
    self.flags = flags
    self.error = error
  }

  /// Decodes exactly 16 bytes; nil when there are fewer.
  package init?(_ bytes: [UInt8]) {
    var reader = WireReader(bytes)
    guard let id = reader.u16(), let command = reader.u16(), let size = reader.u32(),
      let flags = reader.u32(), let error = reader.u32()
    else { return nil }
    self.init(
      id: id, command: VFIOUserCommand(rawValue: command), size: size, flags: flags, error: error)
  }

  package var bytes: [UInt8] {
    var writer = WireWriter()
    writer.u16(id)
    writer.u16(command.rawValue)
    writer.u32(size)
    writer.u32(flags)
    writer.u32(error)
    return writer.bytes
  }

  package var isReply: Bool { flags & Self.typeMask == Self.typeReply }
  package var isCommand: Bool { flags & Self.typeMask == Self.typeCommand }
  package var wantsReply: Bool { isCommand && flags & Self.noReply == 0 }
  package var isError: Bool { flags & Self.errorFlag != 0 }
}

/// Numbers of the protocol that both sides share.
package enum VFIOUser {
  /// Largest payload of a data transfer that this implementation takes and makes.
  package static let maximumTransfer = 1 << 20
  /// Descriptors that this implementation takes in one message.
  package static let maximumDescriptors = 8
  /// Descriptors that are taken in one message all the same: some clients connect every vector of a
  /// function at once, whatever the server announced.
  package static let toleratedDescriptors = 32
  /// Mappings that this implementation keeps.
  package static let maximumMappings = 65535
  /// Largest message: a full transfer and the fixed parts before it.
  package static let maximumMessage = maximumTransfer + 64
  /// Longest JSON of a VERSION message.
  package static let maximumJSON = 4096

  package static let mapReadable: UInt32 = 1
  package static let mapWritable: UInt32 = 2
  package static let unmapAll: UInt32 = 2

  package static let regionRead: UInt32 = 1
  package static let regionWrite: UInt32 = 2
  package static let regionMap: UInt32 = 4
  package static let regionCapabilities: UInt32 = 8
  package static let sparseMapCapability: UInt16 = 1
  /// The offset, 8 bytes, of a page of the region that mirrors its first one for DMACOUNT.
  ///
  /// See `RegionInfo.doorbells`. Not of the specification: whoever does not know the number passes
  /// over it.
  package static let doorbellCapability: UInt16 = 0x4e44

  package static let deviceReset: UInt32 = 1
  package static let devicePCI: UInt32 = 2

  package static let irqEventFD: UInt32 = 1
  package static let irqMaskable: UInt32 = 2
  package static let irqAutomasked: UInt32 = 4
  package static let irqDataNone: UInt32 = 0x01
  package static let irqDataBool: UInt32 = 0x02
  package static let irqDataEventFD: UInt32 = 0x04
  package static let irqActionMask: UInt32 = 0x08
  package static let irqActionUnmask: UInt32 = 0x10
  package static let irqActionTrigger: UInt32 = 0x20
}

/// Takes little-endian numbers from bytes; every read is bounds checked and answers nil past the end.
package struct WireReader: Sendable {
  private let bytes: [UInt8]
  package private(set) var offset = 0

  package init(_ bytes: [UInt8]) { self.bytes = bytes }

  package var remaining: Int { bytes.count - offset }

  private mutating func integer<T: FixedWidthInteger>(_ type: T.Type) -> T? {
    let width = T.bitWidth / 8
    guard remaining >= width else { return nil }
    var value: T = 0
    for index in 0..<width { value |= T(truncatingIfNeeded: bytes[offset + index]) << T(8 * index) }
    offset += width
    return value
  }

  package mutating func u8() -> UInt8? { integer(UInt8.self) }
  package mutating func u16() -> UInt16? { integer(UInt16.self) }
  package mutating func u32() -> UInt32? { integer(UInt32.self) }
  package mutating func u64() -> UInt64? { integer(UInt64.self) }

  /// The next `count` bytes.
  package mutating func take(_ count: Int) -> [UInt8]? {
    guard count >= 0, remaining >= count else { return nil }
    defer { offset += count }
    return Array(bytes[offset..<offset + count])
  }

  /// Moves to an absolute offset; false past the end.
  package mutating func seek(_ position: Int) -> Bool {
    guard position >= 0, position <= bytes.count else { return false }
    offset = position
    return true
  }
}

/// Appends little-endian numbers.
package struct WireWriter: Sendable {
  package private(set) var bytes: [UInt8] = []

  package init() {}

  private mutating func integer<T: FixedWidthInteger>(_ value: T) {
    for index in 0..<T.bitWidth / 8 {
      bytes.append(UInt8(truncatingIfNeeded: value >> T(8 * index)))
    }
  }

  package mutating func u8(_ value: UInt8) { bytes.append(value) }
  package mutating func u16(_ value: UInt16) { integer(value) }
  package mutating func u32(_ value: UInt32) { integer(value) }
  package mutating func u64(_ value: UInt64) { integer(value) }
  package mutating func append(_ other: [UInt8]) { bytes += other }
}

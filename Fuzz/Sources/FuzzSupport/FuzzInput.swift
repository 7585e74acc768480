// SPDX-License-Identifier: Apache-2.0

/// Takes an input apart; past its end everything is zero.
public struct FuzzInput: Sendable {
  private let bytes: [UInt8]
  private var position = 0

  public init(_ data: UnsafePointer<UInt8>?, _ size: Int) {
    bytes = Array(UnsafeBufferPointer(start: data, count: size))
  }

  public var isAtEnd: Bool { position >= bytes.count }

  public mutating func u8() -> UInt8 {
    guard position < bytes.count else { return 0 }
    defer { position += 1 }
    return bytes[position]
  }

  public mutating func u16() -> UInt16 { UInt16(u8()) | UInt16(u8()) << 8 }

  public mutating func u64(bytes count: Int = 8) -> UInt64 {
    (0..<count).reduce(0) { $0 | UInt64(u8()) << UInt64(8 * $1) }
  }

  /// At most `count` bytes.
  public mutating func take(_ count: Int) -> [UInt8] {
    let end = min(bytes.count, position + count)
    defer { position = end }
    return Array(bytes[min(position, end)..<end])
  }
}

/// Little-endian bytes of some 32-bit numbers.
public func littleEndian32(_ values: UInt32...) -> [UInt8] { values.flatMap { littleEndian($0) } }

/// Little-endian bytes of some 64-bit numbers.
public func littleEndian64(_ values: UInt64...) -> [UInt8] { values.flatMap { littleEndian($0) } }

/// Little-endian bytes of a number.
public func littleEndian<T: FixedWidthInteger>(_ value: T) -> [UInt8] {
  (0..<T.bitWidth / 8).map { UInt8(truncatingIfNeeded: value >> T(8 * $0)) }
}

/// A vfio-user header.
public func header(id: UInt16, command: UInt16, size: Int, flags: UInt32, error: UInt32 = 0)
  -> [UInt8]
{
  littleEndian(id) + littleEndian(command) + littleEndian(UInt32(truncatingIfNeeded: size))
    + littleEndian(flags) + littleEndian(error)
}

// SPDX-License-Identifier: Apache-2.0

/// What XOR, P+Q and CRC operations have to give, worked out byte by byte from their definitions.
enum ParityOracle {
  /// The sum of all sources: XOR, or P.
  static func xor(_ sources: [[UInt8]]) -> [UInt8] {
    guard var sum = sources.first else { return [] }
    for source in sources.dropFirst() {
      for index in sum.indices { sum[index] ^= source[index] }
    }
    return sum
  }

  /// Q: the sum of coefficient times source in GF(2^8) with Linux's RAID-6 polynomial 0x11d.
  static func q(_ sources: [[UInt8]], _ coefficients: [UInt8]) -> [UInt8] {
    xor(
      zip(sources, coefficients).map { source, coefficient in
        source.map { multiply($0, coefficient) }
      })
  }

  /// One product, by shift and add.
  static func multiply(_ a: UInt8, _ b: UInt8) -> UInt8 {
    var (a, b, product) = (UInt16(a), b, UInt16(0))
    while b != 0 {
      if b & 1 != 0 { product ^= a }
      a <<= 1
      if a & 0x100 != 0 { a ^= 0x11d }
      b >>= 1
    }
    return UInt8(truncatingIfNeeded: product)
  }

  /// CRC32C as it travels: reflected, begun with ones, inverted at the end.
  static func crc32c(_ bytes: [UInt8]) -> UInt32 {
    var register = UInt32.max
    for byte in bytes {
      register ^= UInt32(byte)
      for _ in 0..<8 { register = register >> 1 ^ (register & 1 == 0 ? 0 : 0x82f6_3b78) }
    }
    return ~register
  }
}

// SPDX-License-Identifier: Apache-2.0

/// The arithmetic of the RAID and CRC operations over raw buffers of equal size.
enum ParityMath {
  /// `target` ^= `source`.
  static func xor(into target: UnsafeMutableRawBufferPointer, source: UnsafeRawBufferPointer) {
    let count = min(target.count, source.count)
    var offset = 0
    // In range, by the bound of the loop, at any alignment.
    while offset + 8 <= count {
      let sum =
        unsafe target.loadUnaligned(fromByteOffset: offset, as: UInt64.self)
        ^ source.loadUnaligned(fromByteOffset: offset, as: UInt64.self)
      unsafe target.storeBytes(of: sum, toByteOffset: offset, as: UInt64.self)
      offset += 8
    }
    while offset < count {
      unsafe target[offset] ^= source[offset]
      offset += 1
    }
  }

  /// `target` ^= `coefficient` · `source` in GF(2^8) with the polynomial 0x11d.
  static func multiplyAccumulate(
    into target: UnsafeMutableRawBufferPointer, source: UnsafeRawBufferPointer, coefficient: UInt8
  ) {
    switch coefficient {
    case 0: return
    case 1: return unsafe xor(into: target, source: source)
    default: break
    }
    let count = min(target.count, source.count)
    var offset = 0
    // In range, by the bound of the loop, at any alignment.
    while offset + 8 <= count {
      let product = multiply(
        unsafe source.loadUnaligned(fromByteOffset: offset, as: UInt64.self), by: coefficient)
      let old = unsafe target.loadUnaligned(fromByteOffset: offset, as: UInt64.self)
      unsafe target.storeBytes(of: old ^ product, toByteOffset: offset, as: UInt64.self)
      offset += 8
    }
    while offset < count {
      unsafe target[offset] ^= UInt8(
        truncatingIfNeeded: multiply(UInt64(source[offset]), by: coefficient))
      offset += 1
    }
  }

  /// Eight elements times `coefficient`: the sum of element · x^i over the coefficient's bits.
  private static func multiply(_ elements: UInt64, by coefficient: UInt8) -> UInt64 {
    var word = elements
    var sum: UInt64 = 0
    var bits = coefficient
    while bits != 0 {
      if bits & 1 != 0 { sum ^= word }
      word = double(word)
      bits >>= 1
    }
    return sum
  }

  /// Eight elements multiplied by x at once.
  private static func double(_ word: UInt64) -> UInt64 {
    let carries = (word >> 7) & 0x0101_0101_0101_0101
    return (word << 1) & 0xfefe_fefe_fefe_fefe ^ carries &* 0x1d
  }

  /// CRC32C register after `bytes` went through it; neither start nor result is inverted.
  static func crc32c(_ bytes: UnsafeRawBufferPointer, register: UInt32) -> UInt32 {
    var register = register
    for index in 0..<bytes.count {
      register ^= unsafe UInt32(bytes[index])
      for _ in 0..<8 {
        register = register >> 1 ^ (register & 1 == 0 ? 0 : 0x82f6_3b78)
      }
    }
    return register
  }
}

// SPDX-License-Identifier: Apache-2.0

/// The 64 bytes of a slot as eight little-endian words; what they mean depends on the opcode.
struct RawDescriptor: Sendable {
  var word0: UInt64 = 0
  var word1: UInt64 = 0
  var word2: UInt64 = 0
  var word3: UInt64 = 0
  var word4: UInt64 = 0
  var word5: UInt64 = 0
  var word6: UInt64 = 0
  var word7: UInt64 = 0

  /// Copies the slot out of `bytes`, which holds at least 64.
  init(_ bytes: UnsafeRawBufferPointer) {
    func word(_ index: Int) -> UInt64 {
      // In range by the caller's promise, at any alignment; a bounds check stays in debug builds.
      UInt64(littleEndian: unsafe bytes.loadUnaligned(fromByteOffset: 8 * index, as: UInt64.self))
    }
    word0 = word(0)
    word1 = word(1)
    word2 = word(2)
    word3 = word(3)
    word4 = word(4)
    word5 = word(5)
    word6 = word(6)
    word7 = word(7)
  }

  /// Byte 0: bytes to move (in a context change the context).
  var size: UInt32 { UInt32(truncatingIfNeeded: word0) }
  /// Byte 4: the control word.
  var control: UInt32 { UInt32(truncatingIfNeeded: word0 >> 32) }
  /// Control bits 31:24.
  var operation: UInt8 { UInt8(truncatingIfNeeded: word0 >> 56) }
  /// Byte 8: source, or the first of several, or the pattern of a fill.
  var source: UInt64 { word1 }
  /// Byte 16: destination, or P.
  var destination: UInt64 { word2 }
  /// Byte 24: the next slot.
  var next: UInt64 { word3 }
  /// Byte 32: where the source goes on behind a page break.
  var nextSource: UInt64 { word4 }
  /// Byte 40: where the destination goes on behind a page break.
  var nextDestination: UInt64 { word5 }

  func has(_ bit: UInt32) -> Bool { control & bit != 0 }

  /// Control bits 7:5, the sources beyond the operation's least number.
  var sourceCountField: Int {
    Int(control >> DescriptorBit.sourceCountShift & DescriptorBit.sourceCountMask)
  }
}

/// One side of a transfer: one run of addresses, or two with a page break.
struct TransferSide: Sendable {
  let first: UInt64
  let firstCount: UInt64
  let second: UInt64
  let size: UInt64

  /// With a page break the run ends with the 4 KiB page of `address` and goes on at `next`.
  init(_ address: UInt64, next: UInt64, breaksPage: Bool, size: UInt64) {
    first = address
    second = next
    self.size = size
    firstCount = breaksPage ? min(size, 4096 - address & 4095) : size
  }

  /// The address of byte `offset` (below `size`) and how many bytes follow without a break.
  func run(at offset: UInt64) -> (address: UInt64, count: UInt64) {
    offset < firstCount
      ? (first &+ offset, firstCount - offset)
      : (second &+ (offset - firstCount), size - offset)
  }

  /// Whether the engine can drive every address.
  func isReachable(_ configuration: ModelConfiguration) -> Bool {
    configuration.reaches(first, count: firstCount)
      && (firstCount == size || configuration.reaches(second, count: size - firstCount))
  }

  /// Whether a byte of it lies in `range`.
  func touches(_ range: ClosedRange<UInt64>) -> Bool {
    func overlaps(_ address: UInt64, _ count: UInt64) -> Bool {
      count != 0 && address <= range.upperBound
        && address.addingReportingOverflow(count - 1).partialValue >= range.lowerBound
    }
    return overlaps(first, firstCount) || overlaps(second, size - firstCount)
  }
}

// SPDX-License-Identifier: Apache-2.0

import NetDmaVFIO

/// Where the data of DMA_READ and DMA_WRITE messages begins.
///
/// The specification puts it behind an address and a count of 8 bytes each. Versions of QEMU's client
/// declare the count with 4 bytes, so that the data begins 4 bytes earlier in messages that are as long
/// as the others: 4 bytes at the end are 0 (11.1 follows the specification). The client does not say
/// which it is; its first answer that is not all zeros does.
enum DMAMessageLayout: CaseIterable {
  case specified
  case early

  /// Bytes of payload before the data.
  var dataOffset: Int {
    switch self {
    case .specified: 16
    case .early: 12
    }
  }

  /// The payload of a DMA_WRITE.
  func writeQuestion(_ address: UInt64, _ bytes: [UInt8]) -> [UInt8] {
    var writer = WireWriter()
    writer.u64(address)
    switch self {
    case .specified:
      writer.u64(UInt64(bytes.count))
      writer.append(bytes)
    case .early:
      writer.u32(UInt32(bytes.count))
      writer.append(bytes)
      writer.u32(0)
    }
    return writer.bytes
  }
}

/// What a client answered to a DMA_READ.
struct DMAReadAnswer {
  private let payload: [UInt8]
  private let count: Int

  /// The payload of a DMA_READ.
  static func question(_ address: UInt64, _ count: Int) -> [UInt8] {
    var writer = WireWriter()
    writer.u64(address)
    writer.u64(UInt64(count))
    return writer.bytes
  }

  /// Nil when it does not answer the question.
  init?(_ payload: [UInt8], address: UInt64, count: Int) {
    var reader = WireReader(payload)
    guard payload.count == 16 + count, reader.u64() == address, reader.u32() == UInt32(count)
    else { return nil }
    self.payload = payload
    self.count = count
  }

  /// The data; nil when the answer is not of this layout.
  func data(_ layout: DMAMessageLayout) -> [UInt8]? {
    let end = layout.dataOffset + count
    let other = layout == .specified ? payload[12..<16] : payload[end...]
    guard other.allSatisfy({ $0 == 0 }) else { return nil }
    return Array(payload[layout.dataOffset..<end])
  }

  /// Where the first byte is that could be data and is not 0; nil when there is none.
  var firstByte: Int? { payload.indices.dropFirst(12).first { payload[$0] != 0 } }

  /// The layout, if it can only be one.
  var evidentLayout: DMAMessageLayout? {
    // Each of the two has 4 bytes of 0 where the other has data.
    if payload[12..<16].contains(where: { $0 != 0 }) { return .early }
    return payload.suffix(4).contains { $0 != 0 } ? .specified : nil
  }
}

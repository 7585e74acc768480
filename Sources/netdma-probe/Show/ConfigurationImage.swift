// SPDX-License-Identifier: Apache-2.0

import Glibc
import NetDmaVFIO

/// A function's configuration space as it was when it was read: 64, 256 or 4096 bytes of it.
struct ConfigurationImage {
  let bytes: [UInt8]

  init(bytes: [UInt8]) { self.bytes = bytes }

  /// Whether capabilities, which begin behind the header, may be missing.
  var isShort: Bool { bytes.count < 256 }

  /// From sysfs, which shows ordinary users the first 64 bytes; empty when it shows nothing.
  init(sysfsDirectory: String) {
    var bytes = [UInt8](repeating: 0, count: 4096)
    // The path is a NUL-terminated copy that lives for the call.
    let fd = unsafe open(sysfsDirectory + "/config", O_RDONLY | O_CLOEXEC)
    guard fd >= 0 else {
      self.init(bytes: [])
      return
    }
    defer { close(fd) }
    var count = 0
    while count < bytes.count {
      let length = bytes.count - count
      // The rest of the array, whose length is `length`.
      let got = unsafe bytes.withUnsafeMutableBytes {
        unsafe pread(fd, $0.baseAddress.map { unsafe $0 + count }, length, count)
      }
      if got <= 0 { break }
      count += got
    }
    self.init(bytes: Array(bytes.prefix(count)))
  }

  /// Through a transport, by reads of 32 bits.
  init(_ transport: any DeviceTransport) throws(VFIOError) {
    let configuration = PCIConfiguration(transport)
    var bytes: [UInt8] = []
    for offset in stride(from: 0, to: try configuration.size & ~3, by: 4) {
      let value = try configuration.read32(at: offset)
      for byte in 0..<4 { bytes.append(UInt8(truncatingIfNeeded: value >> UInt32(8 * byte))) }
    }
    self.init(bytes: bytes)
  }

  /// `width` little-endian bytes, nil beyond what could be read.
  func read(at offset: UInt64, _ width: AccessWidth) -> UInt64? {
    let end = offset + UInt64(width.rawValue)
    guard end <= bytes.count else { return nil }
    return bytes[Int(offset)..<Int(end)].reversed().reduce(0) { $0 << 8 | UInt64($1) }
  }

  /// Both lists of capabilities, as far as they could be read.
  var capabilities: [PCICapability] {
    let standard =
      bytes.count >= 256
      ? PCICapabilityList.standard { (offset: UInt64) throws(Never) in read(at: offset, .word) ?? 0
      }
      : []
    let extended = PCICapabilityList.extended(end: UInt64(bytes.count)) {
      (offset: UInt64) throws(Never) in
      read(at: offset, .dword).flatMap { $0 == 0xffff_ffff ? nil : UInt32($0) }
    }
    return standard + extended
  }

  /// The registers of `layouts` that could be read, from `base` on.
  func decode(_ layouts: [RegisterLayout], base: UInt64 = 0) -> [DecodedRegister] {
    layouts.compactMap { layout in
      read(at: base + layout.offset, layout.width).map { layout.decode($0, base: base) }
    }
  }
}

// SPDX-License-Identifier: Apache-2.0

import CNetDma
import Glibc
import NetDmaVFIO

/// Payloads of commands, right unless a test says otherwise.
enum Wire {
  static func u32s(_ values: UInt32...) -> [UInt8] {
    var writer = WireWriter()
    for value in values { writer.u32(value) }
    return writer.bytes
  }

  static func u64s(_ values: UInt64...) -> [UInt8] {
    var writer = WireWriter()
    for value in values { writer.u64(value) }
    return writer.bytes
  }

  static func version(
    major: UInt16 = 0, minor: UInt16 = 0, json: String? = "{\"capabilities\":{}}", nul: Bool = true
  ) -> [UInt8] {
    var writer = WireWriter()
    writer.u16(major)
    writer.u16(minor)
    if let json { writer.append(Array(json.utf8) + (nul ? [0] : [])) }
    return writer.bytes
  }

  static func map(
    at iova: UInt64, size: UInt64, offset: UInt64 = 0, flags: UInt32 = 3, argsz: UInt32 = 32
  ) -> [UInt8] {
    u32s(argsz, flags) + u64s(offset, iova, size)
  }

  static func unmap(
    at iova: UInt64, size: UInt64, flags: UInt32 = 0, argsz: UInt32 = 24
  ) -> [UInt8] {
    u32s(argsz, flags) + u64s(iova, size)
  }

  static func regionInfo(_ index: UInt32, argsz: UInt32 = 32) -> [UInt8] {
    u32s(argsz, 0, index, 0) + u64s(0, 0)
  }

  static func irqInfo(_ index: UInt32, argsz: UInt32 = 16) -> [UInt8] { u32s(argsz, 0, index, 0) }

  static func setIRQs(
    flags: UInt32, index: UInt32 = 2, start: UInt32 = 0, count: UInt32 = 1, argsz: UInt32 = 20,
    data: [UInt8] = []
  ) -> [UInt8] {
    u32s(argsz, flags, index, start, count) + data
  }

  static func read(_ offset: UInt64, _ count: UInt32, region: UInt32 = 0) -> [UInt8] {
    u64s(offset) + u32s(region, count)
  }

  static func write(
    _ offset: UInt64, _ data: [UInt8], region: UInt32 = 0, count: UInt32? = nil
  ) -> [UInt8] {
    u64s(offset) + u32s(region, count ?? UInt32(data.count)) + data
  }

  static func write(_ offset: UInt64, _ value: UInt64, width: Int, region: UInt32 = 0) -> [UInt8] {
    write(offset, Array(u64s(value).prefix(width)), region: region)
  }

  /// Every command once, well formed.
  static var everyCommand: [(VFIOUserCommand, [UInt8])] {
    [
      (.version, version()), (.dmaMap, map(at: 0x10_0000, size: 4096)),
      (.dmaUnmap, unmap(at: 0x10_0000, size: 4096)), (.deviceGetInfo, u32s(16, 0, 0, 0)),
      (.deviceGetRegionInfo, regionInfo(0)), (.deviceGetRegionIOFDs, u32s(16, 0, 0, 0)),
      (.deviceGetIRQInfo, irqInfo(2)), (.deviceSetIRQs, setIRQs(flags: 0x24)),
      (.regionRead, read(0x88, 8)), (.regionWrite, write(0x90, 0x1000, width: 8)),
      (.regionWriteMulti, u64s(1, 0x90) + u32s(0, 8) + u64s(0x1000)), (.deviceReset, []),
      (.deviceFeature, u32s(8, 0x40000)), (.migrationDataRead, u32s(8, 0)),
      (.migrationDataWrite, u32s(8, 0)), (VFIOUserCommand(rawValue: 14), []),
    ]
  }
}

/// A memory file of the test's own.
final class MemoryFile: Sendable {
  private let file: OwnedFileDescriptor

  init(size: Int, sealed: Bool = true) throws {
    let fd = try systemCall("memfd_create", on: "test") {
      netdma_memfd_create("netdma-test", netdma_mfd_flags(0))
    }
    file = OwnedFileDescriptor(owning: fd)
    _ = try systemCall("ftruncate", on: "test") { ftruncate(fd, off_t(size)) }
    if sealed { _ = try systemCall("fcntl", on: "test") { netdma_seal_size(fd) } }
  }

  var fd: CInt { file.rawValue }

  func truncate(to size: Int) throws {
    _ = try systemCall("ftruncate", on: "test") { ftruncate(file.rawValue, off_t(size)) }
  }

  func write(_ bytes: [UInt8], at offset: Int) {
    _ = bytes.withUnsafeBytes {
      pwrite(file.rawValue, $0.baseAddress, bytes.count, off_t(offset))
    }
  }

  func read(_ count: Int, at offset: Int) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: count)
    let done = pread(file.rawValue, &bytes, count, off_t(offset))
    return Array(bytes.prefix(max(0, done)))
  }
}

// SPDX-License-Identifier: Apache-2.0

import CNetDma
import Glibc
import Logging
import Synchronization

extension VFIOUserClient {
  private func regionReply(
    _ region: RegionIndex
  ) throws(VFIOError) -> (payload: [UInt8], descriptors: [SharedDescriptor]) {
    var size: UInt32 = 32
    // The second round has room for the capabilities; a third would be a server that plays games.
    for _ in 0..<2 {
      var writer = WireWriter()
      for value in [size, 0, region.rawValue, 0] { writer.u32(value) }
      writer.u64(0)
      writer.u64(0)
      let reply = try connection.request(.deviceGetRegionInfo, writer.bytes)
      var reader = WireReader(reply.payload)
      guard let needed = reader.u32(), reply.payload.count >= 32 else {
        throw connection.violation(.deviceGetRegionInfo, "The reply is too short.")
      }
      if needed <= size { return reply }
      guard needed <= 65536 else {
        throw connection.violation(.deviceGetRegionInfo, "It wants \(needed) bytes for the answer.")
      }
      size = needed
    }
    throw connection.violation(.deviceGetRegionInfo, "The answer grows with every question.")
  }

  /// Asks the server.
  ///
  /// An area counts as mappable only if mapping it is safe: a server could cut off any other file
  /// later, and the next access would end this process.
  public func regionInfo(_ region: RegionIndex) throws(VFIOError) -> RegionInfo {
    try decode(regionReply(region), region).info
  }

  private func decode(
    _ reply: (payload: [UInt8], descriptors: [SharedDescriptor]), _ region: RegionIndex
  ) throws(VFIOError) -> (info: RegionInfo, offset: UInt64) {
    let payload = reply.payload
    func broken(_ detail: String) -> VFIOError {
      connection.violation(.deviceGetRegionInfo, detail)
    }
    guard region.rawValue < regionCount else {
      return (RegionInfo(size: 0, isReadable: false, isWritable: false), 0)
    }
    var reader = WireReader(payload)
    guard reader.u32() != nil, let flags = reader.u32(), let index = reader.u32(),
      let capabilities = reader.u32(), let size = reader.u64(), let offset = reader.u64()
    else { throw broken("The reply is too short.") }
    guard index == region.rawValue else { throw broken("The reply is for region \(index).") }
    guard size <= 1 << 48 else { throw broken("A region of \(size) bytes is not plausible.") }
    var areas: [Range<UInt64>] = []
    var doorbells: Range<UInt64>?
    if flags & VFIOUser.regionMap != 0 {
      areas = [0..<size]
      if flags & VFIOUser.regionCapabilities != 0 {
        guard let found = Self.capabilities(payload, at: capabilities, size: size) else {
          throw broken("The region's capabilities are not well formed.")
        }
        areas = found.areas.isEmpty ? areas : found.areas
        doorbells = found.doorbells
      }
      let length = reply.descriptors.first.map { Self.fixedLength(of: $0.rawValue) } ?? 0
      areas.removeAll { offset > length || $0.upperBound > length - offset }
      if let page = doorbells, !areas.contains(page) { doorbells = nil }
    }
    let info = RegionInfo(
      size: size, isReadable: flags & VFIOUser.regionRead != 0,
      isWritable: flags & VFIOUser.regionWrite != 0, mappableAreas: areas, doorbells: doorbells)
    return (info, offset)
  }

  /// Bytes of a file that can be mapped and never cut off; 0 for any other.
  private static func fixedLength(of fd: CInt) -> UInt64 {
    var status = stat()
    let seals = netdma_get_seals(fd)
    // Looked at before the size: from then on it cannot become less. The structure lives for the call.
    guard seals >= 0, seals & netdma_seal_shrink_flag() != 0, unsafe fstat(fd, &status) == 0,
      status.st_mode & S_IFMT == S_IFREG
    else { return 0 }
    return UInt64(clamping: status.st_size)
  }

  /// What a region's capabilities say.
  struct Capabilities {
    /// The areas of the sparse-mmap capability, empty when there is none.
    var areas: [Range<UInt64>] = []
    /// The page for doorbells.
    var doorbells: Range<UInt64>?
  }

  /// Walks the chain of capabilities; nil when it is malformed.
  static func capabilities(_ payload: [UInt8], at start: UInt32, size: UInt64) -> Capabilities? {
    var position = Int(start)
    var found = Capabilities()
    while position != 0 {
      var reader = WireReader(payload)
      guard position >= 32, reader.seek(position), let id = reader.u16(), reader.u16() != nil,
        let next = reader.u32()
      else { return nil }
      switch id {
      case VFIOUser.sparseMapCapability:
        guard let areas = sparseAreas(&reader, size: size) else { return nil }
        found.areas += areas
      case VFIOUser.doorbellCapability:
        guard let page = reader.u64(), page % 4096 == 0, page < size, size - page >= 4096 else {
          return nil
        }
        found.doorbells = page..<page + 4096
      default: break
      }
      // The chain runs forward, so it ends.
      guard next == 0 || Int(next) > position else { return nil }
      position = Int(next)
    }
    return found
  }

  private static func sparseAreas(
    _ reader: inout WireReader, size: UInt64
  ) -> [Range<UInt64>]? {
    guard let count = reader.u32(), reader.u32() != nil, Int(count) <= reader.remaining / 16 else {
      return nil
    }
    var areas: [Range<UInt64>] = []
    for _ in 0..<count {
      guard let offset = reader.u64(), let length = reader.u64(), offset % 4096 == 0,
        length % 4096 == 0, offset <= size, length <= size - offset,
        areas.allSatisfy({ offset >= $0.upperBound || offset + length <= $0.lowerBound })
      else { return nil }
      if length > 0 { areas.append(offset..<offset + length) }
    }
    return areas
  }

  /// One REGION_READ.
  public func read(
    _ region: RegionIndex, at offset: UInt64, width: AccessWidth
  ) throws(VFIOError) -> UInt64 {
    let count = UInt32(width.rawValue)
    let reply = try connection.request(.regionRead, access(region, offset, count)).payload
    var reader = WireReader(reply)
    guard reader.seek(12), reader.u32() == count, let bytes = reader.take(Int(count)),
      reader.remaining == 0
    else {
      throw connection.violation(.regionRead, "The reply has not the \(count) bytes asked for.")
    }
    return bytes.reversed().reduce(0) { $0 << 8 | UInt64($1) }
  }

  /// One REGION_WRITE: posted to BARs, answered for configuration space.
  ///
  /// Once a part of the device is mapped every write is answered: a store to the mapped part must
  /// not overtake a write that was made before it.
  public func write(
    _ region: RegionIndex, at offset: UInt64, width: AccessWidth, value: UInt64
  ) throws(VFIOError) {
    var payload = access(region, offset, UInt32(width.rawValue))
    for index in 0..<width.rawValue {
      payload.append(UInt8(truncatingIfNeeded: value >> UInt64(8 * index)))
    }
    if region == .configuration || hasMapping.load(ordering: .relaxed) {
      _ = try connection.request(.regionWrite, payload)
    } else {
      try connection.post(.regionWrite, payload)
    }
  }

  private func access(_ region: RegionIndex, _ offset: UInt64, _ count: UInt32) -> [UInt8] {
    var writer = WireWriter()
    writer.u64(offset)
    writer.u32(region.rawValue)
    writer.u32(count)
    return writer.bytes
  }

  /// Maps an area that the server offers through a file descriptor.
  public func map(
    _ region: RegionIndex, range: Range<UInt64>
  ) throws(VFIOError) -> MemoryMapping {
    let reply = try regionReply(region)
    // The areas lie inside the file behind `offset`, so the sum below does not overflow.
    let (info, offset) = try decode(reply, region)
    guard let file = reply.descriptors.first, !range.isEmpty,
      info.mappableAreas.contains(where: {
        $0.lowerBound <= range.lowerBound && range.upperBound <= $0.upperBound
      })
    else {
      throw .missingFeature(device: name, feature: "mappable region \(region.rawValue)")
    }
    step("mapping a part of a BAR", ["bar": "\(region.rawValue)", "bytes": "\(range.count)"])
    hasMapping.store(true, ordering: .relaxed)
    do throws(SystemCallError) {
      return try MemoryMapping(
        fd: file.rawValue, offset: offset + range.lowerBound, count: range.count,
        subject: "region \(region.rawValue) of \(name)")
    } catch {
      throw .system(device: name, error: error)
    }
  }
}

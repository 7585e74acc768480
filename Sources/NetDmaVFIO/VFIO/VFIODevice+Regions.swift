// SPDX-License-Identifier: Apache-2.0

import CNetDma
import Glibc
import Synchronization
import SystemPackage

extension VFIODevice {
  /// What a region is; size 0 when it does not exist.
  package borrowing func regionInfo(_ index: RegionIndex) throws(VFIOError) -> RegionInfo {
    try region(index).info
  }

  private borrowing func region(_ index: RegionIndex) throws(VFIOError) -> DeviceRegion {
    if let known = regions.withLock({ $0[index.rawValue] }) { return known }
    let region = try askRegion(index)
    regions.withLock { $0[index.rawValue] = region }
    return region
  }

  private borrowing func askRegion(_ index: RegionIndex) throws(VFIOError) -> DeviceRegion {
    guard index.rawValue < regionCount else { return .absent }
    let reply: [UInt8]
    do throws(VFIOError) {
      // argsz 0, flags 4, index 8, cap_offset 12, size 16, offset 24.
      reply = try growingReply(
        fixed: 32, device: name, prepare: { $0.store(index.rawValue, at: 8) }
      ) { (bytes: inout [UInt8]) throws(SystemCallError) in
        try file.call(.getRegionInfo, bytes: &bytes)
      }
    } catch .system(_, let error) {
      // The kernel knows no such region, as it does for VGA on most functions.
      if error.errno.rawValue == EINVAL { return .absent }
      throw failure(of: error)
    }
    let flags = reply.load(UInt32.self, at: 4) ?? 0
    let size = reply.load(UInt64.self, at: 16) ?? 0
    let fileOffset = reply.load(UInt64.self, at: 24) ?? 0
    // A region that goes beyond what a file offset can say cannot be reached.
    guard size > 0, size <= UInt64(Int64.max), fileOffset <= UInt64(Int64.max) - size else {
      return .absent
    }
    var region = DeviceRegion(
      info: RegionInfo(size: size, isReadable: flags & 1 != 0, isWritable: flags & 2 != 0),
      fileOffset: fileOffset)
    if flags & 4 != 0 {
      let chain = InfoCapability.chain(
        in: reply, first: flags & 8 != 0 ? reply.load(UInt32.self, at: 12) ?? 0 : 0, minimum: 32)
      region.info.mappableAreas = try mappableAreas(of: index, size: size, chain)
    }
    return region
  }

  /// The pages of a region that may be mapped.
  ///
  /// Without a sparse list that is all of them, except those of the MSI-X table where the kernel
  /// does not say that they may be.
  private borrowing func mappableAreas(
    of index: RegionIndex, size: UInt64, _ chain: [InfoCapability]
  ) throws(VFIOError) -> [Range<UInt64>] {
    // Ids of vfio.h: 1 SPARSE_MMAP {count, 0, pairs of offset and size}, 3 MSIX_MAPPABLE.
    var areas: [Range<UInt64>] = [0..<size]
    if let sparse = chain.first(where: { $0.id == 1 }) {
      areas = sparse.pairs(at: 8, count: sparse.load(UInt32.self, at: 0) ?? 0)
        .compactMap { offset, length in
          let (end, overflow) = offset.addingReportingOverflow(length)
          return overflow || end > size || length == 0 ? nil : offset..<end
        }
        .sorted { $0.lowerBound < $1.lowerBound }
    }
    if !chain.contains(where: { $0.id == 3 }), let table = try msixTable(inBAR: index) {
      areas = areas.flatMap { area in
        [area.clamped(to: 0..<table.lowerBound), area.clamped(to: table.upperBound..<UInt64.max)]
      }
    }
    let page = Self.pageSize
    return areas.compactMap { area in
      let (padded, overflow) = area.lowerBound.addingReportingOverflow(page - 1)
      let lower = padded / page * page
      let upper = area.upperBound / page * page
      return overflow || lower >= upper ? nil : lower..<upper
    }
  }

  /// The pages that the MSI-X table of the function touches, when it is in BAR `index`.
  private borrowing func msixTable(inBAR index: RegionIndex) throws(VFIOError) -> Range<UInt64>? {
    guard index.rawValue < 6 else { return nil }
    let list = try PCICapabilityList.standard { (offset) throws(VFIOError) in
      try read(.configuration, at: offset, width: .word)
    }
    guard let found = list.first(where: { $0.id == PCICapabilityID.msix }) else { return nil }
    func register(_ offset: UInt64, _ width: AccessWidth) throws(VFIOError) -> UInt32 {
      UInt32(
        truncatingIfNeeded: try read(.configuration, at: found.offset + offset, width: width))
    }
    let msix = MSIXCapability(
      offset: found.offset, control: UInt16(truncatingIfNeeded: try register(2, .word)),
      table: try register(4, .dword), pendingBits: try register(8, .dword))
    guard msix.table.bar == Int(index.rawValue) else { return nil }
    let page = Self.pageSize
    let range = msix.tableRange
    return range.lowerBound / page * page..<(range.upperBound + page - 1) / page * page
  }

  /// Bytes of a page of this machine.
  private static var pageSize: UInt64 { UInt64(max(4096, sysconf(CInt(_SC_PAGESIZE)))) }

  // MARK: - Access

  /// One naturally aligned read of exactly `width` bytes.
  ///
  /// - Throws: `VFIOError.invalidAccess`, `.deviceGone`, `.system`.
  package borrowing func read(
    _ index: RegionIndex, at offset: UInt64, width: AccessWidth
  ) throws(VFIOError) -> UInt64 {
    let place = try place(of: index, at: offset, width: width, isWrite: false)
    var value: UInt64 = 0
    let count: Int
    do throws(Errno) {
      // The first `width` bytes of the variable are its low ones on a little-endian machine.
      count = try unsafe withUnsafeMutableBytes(of: &value) { (bytes) throws(Errno) in
        unsafe try calls.read(
          file.rawValue, into: .init(rebasing: bytes.prefix(width.rawValue)), at: place)
      }
    } catch {
      throw accessFailure("pread", error, index, offset, width)
    }
    guard count == width.rawValue else { throw invalid(index, offset, width) }
    return value
  }

  /// One naturally aligned write of the low `width` bytes.
  ///
  /// - Throws: `VFIOError.invalidAccess`, `.deviceGone`, `.system`.
  package borrowing func write(
    _ index: RegionIndex, at offset: UInt64, width: AccessWidth, value: UInt64
  ) throws(VFIOError) {
    let place = try place(of: index, at: offset, width: width, isWrite: true)
    let count: Int
    do throws(Errno) {
      // As in `read`.
      count = try unsafe withUnsafeBytes(of: value) { (bytes) throws(Errno) in
        unsafe try calls.write(
          file.rawValue, from: .init(rebasing: bytes.prefix(width.rawValue)), at: place)
      }
    } catch {
      throw accessFailure("pwrite", error, index, offset, width)
    }
    guard count == width.rawValue else { throw invalid(index, offset, width) }
  }

  /// Maps pages of a region.
  ///
  /// - Throws: `VFIOError.invalidAccess` for a range outside the mappable areas, `.system`.
  package borrowing func map(
    _ index: RegionIndex, range: Range<UInt64>
  ) throws(VFIOError) -> MemoryMapping {
    let region = try region(index)
    let isMappable = region.info.mappableAreas.contains {
      $0.lowerBound <= range.lowerBound && range.upperBound <= $0.upperBound
    }
    guard isMappable, !range.isEmpty,
      (range.lowerBound | range.upperBound) & (Self.pageSize - 1) == 0
    else {
      throw .invalidAccess(
        device: name, region: index.rawValue, offset: range.lowerBound,
        width: Int(clamping: range.upperBound - range.lowerBound))
    }
    step("mapping \(hex(range.lowerBound))..<\(hex(range.upperBound)) of BAR \(index.rawValue)")
    do throws(Errno) {
      return try calls.map(
        file.rawValue, offset: region.fileOffset + range.lowerBound,
        count: Int(clamping: range.upperBound - range.lowerBound),
        isWritable: region.info.isWritable)
    } catch {
      throw failure(
        of: SystemCallError(
          call: "mmap", subject: "region \(index.rawValue) of \(name)", errno: error))
    }
  }

  private borrowing func place(
    of index: RegionIndex, at offset: UInt64, width: AccessWidth, isWrite: Bool
  ) throws(VFIOError) -> UInt64 {
    let region = try region(index)
    let bytes = UInt64(width.rawValue)
    let isAllowed = isWrite ? region.info.isWritable : region.info.isReadable
    // Configuration space has no registers of 64 bits, and IOAT functions misbehave on such cycles.
    let isTooWide = index == .configuration && width == .qword
    guard isAllowed, !isTooWide, offset % bytes == 0, region.info.size >= bytes,
      offset <= region.info.size - bytes
    else { throw invalid(index, offset, width) }
    return region.fileOffset + offset
  }

  private func invalid(
    _ index: RegionIndex, _ offset: UInt64, _ width: AccessWidth
  ) -> VFIOError {
    .invalidAccess(device: name, region: index.rawValue, offset: offset, width: width.rawValue)
  }

  private func accessFailure(
    _ call: String, _ errno: Errno, _ index: RegionIndex, _ offset: UInt64, _ width: AccessWidth
  ) -> VFIOError {
    errno.rawValue == EINVAL
      ? invalid(index, offset, width)
      : failure(
        of: SystemCallError(
          call: call, subject: "region \(index.rawValue) at \(hex(offset))", errno: errno))
  }
}

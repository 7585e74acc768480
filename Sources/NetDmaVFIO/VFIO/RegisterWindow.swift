// SPDX-License-Identifier: Apache-2.0

import CNetDma

/// The first page of BAR0: mapped where the transport can, else read and written by messages.
///
/// DMACOUNT can have a mapping of its own where the rest is reached by messages. Every access has exactly the width in its name. The choice between the two ways is one
/// predictable branch per access.
@safe public final class RegisterWindow: @unchecked Sendable {
  // @unchecked: the only stored state is constant; the pointed-to registers are device memory that is
  // accessed by single volatile loads and stores, which need no lock.
  private let transport: any DeviceTransport
  private let mapping: MemoryMapping?
  private let base: UnsafeMutableRawPointer?
  /// The page that mirrors the first one for DMACOUNT alone.
  private let doorbells: UnsafeMutableRawPointer?
  /// Bytes that can be addressed.
  public let size: UInt64

  /// A window over the registers of `transport`; only the first page is mapped, because the page
  /// with the MSI-X table may not be.
  public init(_ transport: any DeviceTransport) throws(VFIOError) {
    let info = try transport.regionInfo(.bar0)
    guard info.size >= Self.pageSize, info.isReadable, info.isWritable else {
      throw .missingFeature(device: transport.name, feature: "readable and writable BAR0 of 4 KiB")
    }
    self.transport = transport
    size = info.size
    let page: Range<UInt64> = 0..<Self.pageSize
    let isMappable = info.mappableAreas.contains {
      $0.lowerBound <= page.lowerBound && $0.upperBound >= page.upperBound
    }
    if isMappable {
      let window = try transport.map(.bar0, range: page)
      unsafe base = window.address
      unsafe doorbells = nil
      mapping = consume window
    } else if let range = info.doorbells {
      let window = try transport.map(.bar0, range: range)
      unsafe base = nil
      unsafe doorbells = window.address
      mapping = consume window
    } else {
      unsafe base = nil
      unsafe doorbells = nil
      mapping = nil
    }
  }

  private static let pageSize: UInt64 = 4096

  /// Whether registers are reached by plain loads and stores.
  public var isMapped: Bool { unsafe base != nil }

  /// The address of a register for the hot path, nil when registers are reached by messages.
  ///
  /// Valid while this window lives.
  @unsafe package func address(of offset: UInt64) -> UnsafeMutableRawPointer? {
    guard offset < Self.pageSize else { return nil }
    if let base = unsafe base { return unsafe base + Int(offset) }
    guard IOATChannelRegister.isCount(offset) else { return nil }
    return unsafe doorbells.map { unsafe $0 + Int(offset) }
  }

  // In each accessor the offset lies in the mapped page and is a multiple of the width, which
  // `pointer` checks; the mapping lives as long as self.

  private func pointer(_ offset: UInt64, width: Int) throws(VFIOError) -> UnsafeMutableRawPointer? {
    guard offset <= size - UInt64(width), offset % UInt64(width) == 0 else {
      throw .invalidAccess(device: transport.name, region: 0, offset: offset, width: width)
    }
    return offset < Self.pageSize ? unsafe base.map { unsafe $0 + Int(offset) } : nil
  }

  /// Reads 8 bits.
  public func read8(_ offset: UInt64) throws(VFIOError) -> UInt8 {
    if let p = unsafe try pointer(offset, width: 1) { return unsafe netdma_read8(p) }
    return UInt8(truncatingIfNeeded: try transport.read(.bar0, at: offset, width: .byte))
  }

  /// Reads 16 bits.
  public func read16(_ offset: UInt64) throws(VFIOError) -> UInt16 {
    if let p = unsafe try pointer(offset, width: 2) { return unsafe netdma_read16(p) }
    return UInt16(truncatingIfNeeded: try transport.read(.bar0, at: offset, width: .word))
  }

  /// Reads 32 bits.
  public func read32(_ offset: UInt64) throws(VFIOError) -> UInt32 {
    if let p = unsafe try pointer(offset, width: 4) { return unsafe netdma_read32(p) }
    return UInt32(truncatingIfNeeded: try transport.read(.bar0, at: offset, width: .dword))
  }

  /// Reads 64 bits in one access.
  public func read64(_ offset: UInt64) throws(VFIOError) -> UInt64 {
    if let p = unsafe try pointer(offset, width: 8) { return unsafe netdma_read64(p) }
    return try transport.read(.bar0, at: offset, width: .qword)
  }

  /// Writes 8 bits.
  public func write8(_ offset: UInt64, _ value: UInt8) throws(VFIOError) {
    if let p = unsafe try pointer(offset, width: 1) { return unsafe netdma_write8(p, value) }
    try transport.write(.bar0, at: offset, width: .byte, value: UInt64(value))
  }

  /// Writes 16 bits after everything that was stored to memory before.
  public func write16(_ offset: UInt64, _ value: UInt16) throws(VFIOError) {
    if let p = unsafe try pointer(offset, width: 2) ?? address(of: offset) {
      return unsafe netdma_doorbell16(p, value)
    }
    netdma_fence_release()
    try transport.write(.bar0, at: offset, width: .word, value: UInt64(value))
  }

  /// Writes 32 bits.
  public func write32(_ offset: UInt64, _ value: UInt32) throws(VFIOError) {
    if let p = unsafe try pointer(offset, width: 4) { return unsafe netdma_write32(p, value) }
    try transport.write(.bar0, at: offset, width: .dword, value: UInt64(value))
  }

  /// Writes 64 bits in one access.
  public func write64(_ offset: UInt64, _ value: UInt64) throws(VFIOError) {
    if let p = unsafe try pointer(offset, width: 8) { return unsafe netdma_write64(p, value) }
    try transport.write(.bar0, at: offset, width: .qword, value: value)
  }
}

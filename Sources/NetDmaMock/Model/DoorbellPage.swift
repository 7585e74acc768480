// SPDX-License-Identifier: Apache-2.0

import CNetDma
import Glibc
public import NetDmaVFIO

/// A page of shared memory in which software in another process stores DMACOUNT.
///
/// The page mirrors BAR0's first page: what DMACOUNT of a channel is there at offset x, it is here at
/// offset x too, and a 16-bit store has the meaning of a write of that register. Nothing else is
/// here.
///
/// Why not offer the page of the registers itself? Stores to memory can only be found by looking,
/// and looking finds nothing when what is stored is what was there. DMACOUNT bears that: the count
/// that is there already asks for nothing new. Its neighbours in the page do not. CHANERR is cleared
/// by writing back what was read; CHANCTRL re-arms the interrupt with the very bit that it shows;
/// CHAINADDR starts the same ring again after a reset; and reading CHANCTRL takes the channel.
/// Mapped, none of these could be told from nothing, for any driver. So the registers keep their
/// messages, exact as ever, and the one that is written for every batch gets memory of its own,
/// in a page of BAR0 that is empty on silicon. A driver that knows nothing of it loses nothing.
public final class DoorbellPage: Sendable {
  /// Offset of the page in BAR0, and in the file.
  public static let offset = 0x1000
  /// Bytes of the page.
  public static let size = 0x1000

  /// Whether the function has nothing of its own in the page.
  static func isFree(in profile: DeviceProfile) -> Bool {
    let vectors = profile.msixVectorCount
    let table = profile.model.msixTableOffset..<profile.model.msixTableOffset + 16 * vectors
    let pending =
      profile.model.msixPendingOffset..<profile.model.msixPendingOffset + (vectors + 63) / 64 * 8
    return !table.overlaps(offset..<offset + size) && !pending.overlaps(offset..<offset + size)
  }

  private let file: OwnedFileDescriptor
  private let mapping: MemoryMapping

  /// A page of zeros, which whoever gets the file can neither cut off nor let grow.
  public init() throws(SystemCallError) {
    let fd = try systemCall("memfd_create", on: "doorbells") {
      // The name is a literal that lives for the call.
      unsafe netdma_memfd_create("netdma-doorbells", netdma_mfd_flags(0))
    }
    file = OwnedFileDescriptor(owning: fd)
    _ = try systemCall("ftruncate", on: "doorbells") {
      ftruncate(fd, off_t(Self.offset + Self.size))
    }
    _ = try systemCall("fcntl(F_ADD_SEALS)", on: "doorbells") { netdma_seal_size(fd) }
    mapping = try MemoryMapping(
      fd: fd, offset: UInt64(Self.offset), count: Self.size, subject: "doorbells")
  }

  /// The file to share.
  public var fileDescriptor: CInt { file.rawValue }

  /// Where the page keeps a channel's count; inside the page for every channel that there can be.
  @unsafe private func slot(_ channel: Int) -> UnsafeMutableRawPointer {
    let offset =
      (channel + 1) * ModelRegister.channelWindowSize + ModelChannelRegister.count
    precondition(channel >= 0 && offset + 2 <= Self.size, "no such channel")
    return unsafe mapping.address + offset
  }

  /// The count that is there now; what software stored before it is visible afterwards.
  func load(channel: Int) -> UInt16 {
    // Inside the page and aligned, as `slot` promises.
    let value = unsafe netdma_read16(slot(channel))
    netdma_fence_acquire()
    return value
  }

  /// Replaces the count unless software stored another one meanwhile.
  func replace(channel: Int, _ old: UInt16, with new: UInt16) -> Bool {
    // As in `load`.
    unsafe netdma_exchange16(slot(channel), old, new) != 0
  }

  /// Reads `width` bytes at `offset` of the page; what lies outside reads 0.
  func read(_ offset: Int, width: Int) -> UInt64 {
    guard offset >= 0, offset + width <= Self.size else { return 0 }
    var value: UInt64 = 0
    for index in 0..<width {
      // Inside the page, as just checked.
      value |= unsafe UInt64(netdma_read8(mapping.address + offset + index)) << UInt64(8 * index)
    }
    return value
  }

  /// Writes a count by message; everything else in the page is ignored.
  func write(_ offset: Int, width: Int, value: UInt64) {
    let window = ModelRegister.channelWindowSize
    guard width == 2, offset >= window, offset % window == ModelChannelRegister.count,
      offset + width <= Self.size
    else { return }
    unsafe netdma_write16(mapping.address + offset, UInt16(truncatingIfNeeded: value))
  }
}

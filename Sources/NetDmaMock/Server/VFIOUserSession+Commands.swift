// SPDX-License-Identifier: Apache-2.0

import Glibc
import NetDmaVFIO
import SystemPackage

extension VFIOUserSession {
  private static let regionCount: UInt32 = 9
  private static let irqCount: UInt32 = 5

  // MARK: - Memory

  func map(
    _ reader: inout WireReader, _ descriptors: [SharedDescriptor]
  ) throws(Refusal) -> [UInt8] {
    guard let argsz = reader.u32(), let flags = reader.u32(), let offset = reader.u64(),
      let address = reader.u64(), let size = reader.u64(), argsz >= 32, reader.remaining == 0,
      descriptors.count <= 1, flags & ~3 == 0, flags & 3 != 0
    else { throw Refusal(EINVAL) }
    do throws(ClientMemory.Refusal) {
      try function.memory.map(
        first: address, size: size, permissions: DMAPermissions(rawValue: flags),
        file: descriptors.first, offset: offset)
    } catch {
      throw Refusal(error.errno)
    }
    return []
  }

  func unmap(_ reader: inout WireReader) throws(Refusal) -> [UInt8] {
    guard let argsz = reader.u32(), let flags = reader.u32(), let address = reader.u64(),
      let size = reader.u64(), argsz >= 24, reader.remaining == 0, flags & ~VFIOUser.unmapAll == 0
    else { throw Refusal(EINVAL) }
    if flags & VFIOUser.unmapAll != 0 {
      guard address == 0, size == 0 else { throw Refusal(EINVAL) }
      function.memory.removeAll()
    } else {
      guard size > 0 else { throw Refusal(EINVAL) }
      // The last byte, not the end: a range may reach up to 2^64. Where nothing is mapped there is
      // nothing to do, as in QEMU's sweeps.
      let (last, overflow) = address.addingReportingOverflow(size - 1)
      guard !overflow else { throw Refusal(EINVAL) }
      function.memory.remove(first: address, last: last)
    }
    var writer = WireWriter()
    writer.u32(24)
    writer.u32(flags)
    writer.u64(address)
    writer.u64(size)
    return writer.bytes
  }

  // MARK: - Information

  func deviceInfo(_ reader: inout WireReader) throws(Refusal) -> [UInt8] {
    guard let argsz = reader.u32(), argsz >= 16, reader.remaining >= 12 else {
      throw Refusal(EINVAL)
    }
    var writer = WireWriter()
    writer.u32(16)
    writer.u32(VFIOUser.deviceReset | VFIOUser.devicePCI)
    writer.u32(Self.regionCount)
    writer.u32(Self.irqCount)
    return writer.bytes
  }

  func regionInfo(_ reader: inout WireReader) throws(Refusal) -> Answer {
    guard reader.remaining >= 32, let argsz = reader.u32(), reader.u32() != nil,
      let index = reader.u32(), argsz >= 32, index < Self.regionCount
    else { throw Refusal(EINVAL) }
    let region = RegionIndex(rawValue: index)
    let size = function.pci.size(of: region)
    var flags = size > 0 ? VFIOUser.regionRead | VFIOUser.regionWrite : 0
    let offersPage = region == .bar0 && mapsDoorbells && peerDescriptors > 0
    var capabilities = offersPage ? Self.doorbellCapabilities : []
    var page: DoorbellPage?
    let needed = UInt32(32 + capabilities.count)
    // Where they do not fit, a client learns how long they are. It can map nothing: without them it
    // would take all of the region for memory.
    if argsz < needed { capabilities = [] }
    if !capabilities.isEmpty {
      do throws(SystemCallError) { page = try function.openDoorbells() } catch {
        throw Refusal(error.errno.rawValue)
      }
      flags |= VFIOUser.regionMap | VFIOUser.regionCapabilities
    }
    var writer = WireWriter()
    writer.u32(needed)
    writer.u32(flags)
    writer.u32(index)
    writer.u32(capabilities.isEmpty ? 0 : 32)
    writer.u64(size)
    writer.u64(0)
    writer.append(capabilities)
    return Answer(writer.bytes, page: page)
  }

  /// One area that can be mapped, and what it is.
  private static var doorbellCapabilities: [UInt8] {
    var writer = WireWriter()
    writer.u16(VFIOUser.sparseMapCapability)
    writer.u16(1)
    writer.u32(64)
    writer.u32(1)
    writer.u32(0)
    writer.u64(UInt64(DoorbellPage.offset))
    writer.u64(UInt64(DoorbellPage.size))
    writer.u16(VFIOUser.doorbellCapability)
    writer.u16(1)
    writer.u32(0)
    writer.u64(UInt64(DoorbellPage.offset))
    return writer.bytes
  }

  func regionIOFDs(_ reader: inout WireReader) throws(Refusal) -> [UInt8] {
    guard let argsz = reader.u32(), let flags = reader.u32(), let index = reader.u32(),
      reader.u32() == 0, argsz >= 16, flags == 0, index < Self.regionCount
    else { throw Refusal(EINVAL) }
    var writer = WireWriter()
    for value in [16, 0, index, 0] { writer.u32(value) }
    return writer.bytes
  }

  func irqInfo(_ reader: inout WireReader) throws(Refusal) -> [UInt8] {
    guard reader.remaining >= 16, let argsz = reader.u32(), reader.u32() != nil,
      let index = reader.u32(), argsz >= 16, index < Self.irqCount
    else { throw Refusal(EINVAL) }
    let irq = IRQIndex(rawValue: index)
    let count = irq.map { function.pci.interruptCount($0) } ?? 0
    // The pin is a level: it is masked with every interrupt, and the client unmasks it.
    let flags =
      VFIOUser.irqEventFD
      | (irq == .intx ? VFIOUser.irqMaskable | VFIOUser.irqAutomasked : 0)
    var writer = WireWriter()
    for value in [16, flags, index, UInt32(count)] { writer.u32(value) }
    return writer.bytes
  }

  // MARK: - Interrupts

  func setIRQs(
    _ reader: inout WireReader, _ descriptors: [SharedDescriptor]
  ) throws(Refusal) -> [UInt8] {
    guard let argsz = reader.u32(), let flags = reader.u32(), let rawIndex = reader.u32(),
      let rawStart = reader.u32(), let rawCount = reader.u32(), argsz >= 20,
      let index = IRQIndex(rawValue: rawIndex)
    else { throw Refusal(EINVAL) }
    let data = flags & 0x07
    let action = flags & 0x38
    guard flags & ~0x3f == 0, data.nonzeroBitCount == 1, action.nonzeroBitCount == 1 else {
      throw Refusal(EINVAL)
    }
    let start = Int(rawStart)
    let count = Int(rawCount)
    let available = function.pci.interruptCount(index)
    if count == 0 {
      // Only "disable the index", which is harmless for an index without vectors too.
      guard data == VFIOUser.irqDataNone, action == VFIOUser.irqActionTrigger, start == 0,
        descriptors.isEmpty, reader.remaining == 0
      else { throw Refusal(EINVAL) }
      function.pci.disconnect(index)
      return []
    }
    guard start < available, count <= available - start else { throw Refusal(EINVAL) }
    if index == .error || index == .request {
      guard action == VFIOUser.irqActionTrigger else { throw Refusal(EINVAL) }
    }
    switch data {
    case VFIOUser.irqDataEventFD:
      guard action == VFIOUser.irqActionTrigger, reader.remaining == 0,
        descriptors.isEmpty || descriptors.count == count,
        descriptors.allSatisfy(\.isEventFD)
      else { throw Refusal(EINVAL) }
      let targets = (0..<count).map {
        descriptors.indices.contains($0)
          ? InterruptTarget(descriptors[$0], function.signaller) : nil
      }
      function.pci.connect(index, start: start, targets)
    case VFIOUser.irqDataBool:
      guard descriptors.isEmpty, let selection = reader.take(count), reader.remaining == 0 else {
        throw Refusal(EINVAL)
      }
      try act(action, index, (0..<count).filter { selection[$0] != 0 }.map { start + $0 })
    default:
      guard descriptors.isEmpty, reader.remaining == 0 else { throw Refusal(EINVAL) }
      try act(action, index, Array(start..<start + count))
    }
    return []
  }

  private func act(_ action: UInt32, _ index: IRQIndex, _ vectors: [Int]) throws(Refusal) {
    if index == .intx, action != VFIOUser.irqActionTrigger {
      if !vectors.isEmpty { function.pci.setPinMask(action == VFIOUser.irqActionMask) }
      return
    }
    // Messages are masked in the function's own registers, or in the client's table.
    guard action == VFIOUser.irqActionTrigger else { throw Refusal(ENOTTY) }
    for vector in vectors {
      guard function.pci.trigger(index, vector: vector) else { throw Refusal(ENOENT) }
    }
  }

  // MARK: - Register access

  private func range(
    _ reader: inout WireReader
  ) throws(Refusal) -> (region: RegionIndex, offset: Int, count: Int) {
    guard let offset = reader.u64(), let region = reader.u32(), let count = reader.u32(),
      region < Self.regionCount, count <= UInt32(VFIOUser.maximumTransfer)
    else { throw Refusal(EINVAL) }
    let index = RegionIndex(rawValue: region)
    let size = function.pci.size(of: index)
    guard offset <= size, UInt64(count) <= size - offset else { throw Refusal(EINVAL) }
    return (index, Int(offset), Int(count))
  }

  private func prefix(_ region: RegionIndex, _ offset: Int, _ count: Int) -> WireWriter {
    var writer = WireWriter()
    writer.u64(UInt64(offset))
    writer.u32(region.rawValue)
    writer.u32(UInt32(count))
    return writer
  }

  func regionRead(_ reader: inout WireReader) throws(Refusal) -> [UInt8] {
    let (region, offset, count) = try range(&reader)
    guard reader.remaining == 0 else { throw Refusal(EINVAL) }
    var writer = prefix(region, offset, count)
    writer.append(function.read(region, at: offset, count: count))
    return writer.bytes
  }

  func regionWrite(_ reader: inout WireReader) throws(Refusal) -> [UInt8] {
    let (region, offset, count) = try range(&reader)
    guard reader.remaining == count, let bytes = reader.take(count) else { throw Refusal(EINVAL) }
    function.write(region, at: offset, bytes)
    return prefix(region, offset, count).bytes
  }

  func regionWriteMulti(_ reader: inout WireReader) throws(Refusal) -> [UInt8] {
    guard let count = reader.u64(), count <= 200, reader.remaining == Int(count) * 24 else {
      throw Refusal(EINVAL)
    }
    for _ in 0..<count {
      let (region, offset, width) = try range(&reader)
      guard width <= 8, let data = reader.take(8) else { throw Refusal(EINVAL) }
      function.write(region, at: offset, Array(data.prefix(width)))
    }
    var writer = WireWriter()
    writer.u64(count)
    return writer.bytes
  }
}

extension SharedDescriptor {
  /// Whether it is what an interrupt can be signalled through.
  var isEventFD: Bool {
    var buffer = [CChar](repeating: 0, count: 64)
    // The buffer lives for the call and one byte is left for the NUL.
    let count = unsafe readlink("/proc/self/fd/\(rawValue)", &buffer, 63)
    guard count > 0 else { return false }
    let link = String(decoding: buffer.prefix(count).map { UInt8(bitPattern: $0) }, as: UTF8.self)
    return link == "anon_inode:[eventfd]"
  }
}

// SPDX-License-Identifier: Apache-2.0

import Glibc
import NetDmaVFIO
import SystemPackage

private typealias Memory = UnsafeMutableRawPointer

// Structure fields by offset, as the kernel's headers lay them out.
extension UnsafeMutableRawPointer {
  fileprivate func u32(_ offset: Int) -> UInt32 {
    loadUnaligned(fromByteOffset: offset, as: UInt32.self)
  }
  fileprivate func u64(_ offset: Int) -> UInt64 {
    loadUnaligned(fromByteOffset: offset, as: UInt64.self)
  }
  fileprivate func i32(_ offset: Int) -> Int32 {
    loadUnaligned(fromByteOffset: offset, as: Int32.self)
  }
  fileprivate func put<T: FixedWidthInteger>(_ value: T, _ offset: Int) {
    for (index, byte) in FakeKernel.bytes(value).enumerated() {
      storeBytes(of: byte, toByteOffset: offset + index, as: UInt8.self)
    }
  }
  fileprivate func put(_ bytes: [UInt8], _ offset: Int) {
    for (index, byte) in bytes.enumerated() {
      storeBytes(of: byte, toByteOffset: offset + index, as: UInt8.self)
    }
  }
}

extension FakeKernel {
  typealias Answer = Result<CInt, Errno>

  static func container(
    _ request: UInt, _ value: UInt?, _ memory: UnsafeMutableRawPointer?, _ state: inout State
  ) -> Answer {
    switch request {
    case 0x3B64: return .success(state.apiVersion)
    case 0x3B65:
      guard let value else { return .failure(.badAddress) }
      return .success(state.extensions.contains(value) ? 1 : 0)
    case 0x3B66:
      guard value == 3, !state.hasIOMMU, state.trace.contains("VFIO_GROUP_SET_CONTAINER") else {
        return .failure(.invalidArgument)
      }
      state.hasIOMMU = true
      return .success(0)
    case 0x3B70, 0x3B71, 0x3B72:
      guard let memory, state.hasIOMMU else { return .failure(.invalidArgument) }
      switch request {
      case 0x3B70: return iommuInfo(memory, &state)
      case 0x3B71: return mapDMA(memory, &state)
      default: return unmapDMA(memory, &state)
      }
    default: return .failure(.inappropriateIOCTLForDevice)
    }
  }

  private static func iommuInfo(_ memory: Memory, _ state: inout State) -> Answer {
    let offered = memory.u32(0)
    guard offered >= 24 else { return .failure(.invalidArgument) }
    let needed = 24 + UInt32(state.infoCapabilities.count)
    memory.put(state.infoFlags, 4)
    memory.put(state.pageSizes, 8)
    memory.put(needed, 0)
    if offered >= needed, !state.infoCapabilities.isEmpty {
      memory.put(state.infoCapabilityOffset, 16)
      memory.put(state.infoCapabilities, 24)
    }
    return .success(0)
  }

  private static func mapDMA(_ memory: Memory, _ state: inout State) -> Answer {
    let (flags, address, iova, size) = (
      memory.u32(4), memory.u64(8), memory.u64(16), memory.u64(24)
    )
    guard memory.u32(0) == 32, flags & ~3 == 0, flags != 0, size > 0,
      (address | iova | size) & 0xfff == 0, !iova.addingReportingOverflow(size - 1).overflow
    else { return .failure(.invalidArgument) }
    return insert(iova, size, flags, &state)
  }

  private static func insert(
    _ iova: UInt64, _ size: UInt64, _ flags: UInt32, _ state: inout State
  ) -> Answer {
    let overlaps = state.mappings.contains {
      $0.key <= iova + (size - 1) && iova <= $0.key + ($0.value - 1)
    }
    if overlaps { return .failure(.fileExists) }
    state.mappings[iova] = size
    state.mapFlags[iova] = flags
    return .success(0)
  }

  private static func unmapDMA(_ memory: Memory, _ state: inout State) -> Answer {
    let (iova, size) = (memory.u64(8), memory.u64(16))
    guard memory.u32(0) == 24, memory.u32(4) == 0, size > 0, (iova | size) & 0xfff == 0 else {
      return .failure(.invalidArgument)
    }
    let removed = state.mappings.filter {
      $0.key >= iova && $0.key + ($0.value - 1) <= iova + (size - 1)
    }
    for key in removed.keys { state.mappings[key] = nil }
    memory.put(state.unmapReport ?? removed.values.reduce(0, +), 16)
    return .success(0)
  }

  static func group(
    _ request: UInt, _ memory: UnsafeMutableRawPointer?, _ state: inout State
  ) -> Answer {
    switch request {
    case 0x3B67:
      guard let memory, memory.u32(0) == 8 else { return .failure(.invalidArgument) }
      memory.put(state.groupFlags, 4)
      return .success(0)
    case 0x3B68:
      // A pointer to the descriptor, not the descriptor.
      guard let memory else { return .failure(.badAddress) }
      guard state.open[memory.i32(0)] == .container else { return .failure(.badFileDescriptor) }
      return .success(0)
    case 0x3B69: return .success(0)
    case 0x3B6A:
      guard let memory else { return .failure(.badAddress) }
      guard state.hasIOMMU else { return .failure(.invalidArgument) }
      let name = String(cString: memory.assumingMemoryBound(to: CChar.self))
      guard name == address else { return .failure(.operationNotSupportedByDevice) }
      return .success(add(.device, &state))
    default: return .failure(.inappropriateIOCTLForDevice)
    }
  }

  static func device(
    _ request: UInt, _ memory: UnsafeMutableRawPointer?, _ state: inout State
  ) -> Answer {
    if request == 0x3B6F {
      guard state.deviceFlags & 1 != 0 else { return .failure(.invalidArgument) }
      state.resets += 1
      return .success(0)
    }
    guard let memory else { return .failure(.badAddress) }
    switch request {
    case 0x3B6B:
      guard memory.u32(0) >= 16 else { return .failure(.invalidArgument) }
      memory.put(state.deviceFlags, 4)
      memory.put(state.regionCount, 8)
      memory.put(state.interruptCount, 12)
      return .success(0)
    case 0x3B6C: return regionInfo(memory, &state)
    case 0x3B6D:
      guard memory.u32(0) == 16, let found = state.interrupts[memory.u32(8)] else {
        return .failure(.invalidArgument)
      }
      memory.put(found.flags, 4)
      memory.put(found.count, 12)
      return .success(0)
    case 0x3B6E: return setInterrupts(memory, &state)
    case 0x3B76:
      guard memory.u32(0) == 16, memory.u32(4) == 0, state.open[memory.i32(8)] == .iommufd else {
        return .failure(.invalidArgument)
      }
      memory.put(UInt32(1), 12)
      return .success(0)
    case 0x3B77:
      guard memory.u32(0) == 12, memory.u32(4) == 0 else { return .failure(.invalidArgument) }
      guard memory.u32(8) == 42 else { return .failure(.noSuchFileOrDirectory) }
      memory.put(UInt32(43), 8)
      return .success(0)
    default: return .failure(.inappropriateIOCTLForDevice)
    }
  }

  private static func regionInfo(_ memory: Memory, _ state: inout State) -> Answer {
    let offered = memory.u32(0)
    let index = memory.u32(8)
    guard offered >= 32, index < state.regionCount, index != 8 else {
      return .failure(.invalidArgument)
    }
    let region = state.regions[index] ?? Region(size: 0, flags: 0)
    let needed = 32 + UInt32(region.capabilities.count)
    memory.put(needed, 0)
    memory.put(region.flags, 4)
    memory.put(region.size, 16)
    memory.put(UInt64(index) << 40, 24)
    if offered >= needed, !region.capabilities.isEmpty {
      memory.put(UInt32(32), 12)
      memory.put(region.capabilities, 32)
    }
    return .success(0)
  }

  private static func setInterrupts(_ memory: Memory, _ state: inout State) -> Answer {
    let (size, flags, index, start, count) = (
      memory.u32(0), memory.u32(4), memory.u32(8), memory.u32(12), memory.u32(16)
    )
    guard var entry = state.interrupts[index] else { return .failure(.invalidArgument) }
    state.trace.append(
      "  irq \(index) flags \(String(flags, radix: 16)) start \(start) count \(count)")
    switch flags {
    case 0x21 where count == 0:
      guard entry.connected != nil else { return .failure(.invalidArgument) }
      entry.connected = nil
    case 0x21:
      guard let connected = entry.connected, start + count <= connected.count else {
        return .failure(.invalidArgument)
      }
      for fd in connected[Int(start)..<Int(start + count)] where fd >= 0 { EventFD.signal(fd) }
    case 0x24:
      let others = state.interrupts.contains {
        $0.key < 3 && index < 3 && $0.key != index && $0.value.connected != nil
      }
      let wanted = Int(start + count)
      // NORESIZE: an enabled index takes no more vectors.
      let grows = entry.connected.map { wanted > $0.count } ?? false
      guard size == 20 + 4 * count, count > 0, wanted <= entry.count, !others,
        !(grows && entry.flags & 8 != 0)
      else { return .failure(.invalidArgument) }
      // vfio_msi_enable gives back what it got, and answers with how many that were.
      if index == 1 || index == 2, entry.connected == nil, let free = state.freeVectors,
        count > free
      {
        return free == 0 ? .failure(.noSpace) : .success(CInt(free))
      }
      var fds = entry.connected ?? [Int32](repeating: -1, count: wanted)
      for vector in 0..<Int(count) { fds[Int(start) + vector] = memory.i32(20 + 4 * vector) }
      entry.connected = fds
    default: return .failure(.invalidArgument)
    }
    state.interrupts[index] = entry
    return .success(0)
  }

  static func iommufd(
    _ request: UInt, _ memory: UnsafeMutableRawPointer?, _ state: inout State
  ) -> Answer {
    guard let memory else { return .failure(.badAddress) }
    switch request {
    case 0x3B81:
      guard memory.u32(0) == 12, memory.u32(4) == 0 else { return .failure(.invalidArgument) }
      memory.put(UInt32(42), 8)
      return .success(0)
    case 0x3B84:
      guard memory.u32(0) == 32, memory.u32(4) == 42, memory.u32(12) == 0 else {
        return .failure(.invalidArgument)
      }
      let offered = memory.u32(8)
      memory.put(UInt32(state.ioasRanges.count), 8)
      guard Int(offered) >= state.ioasRanges.count else { return .failure(.messageTooLong) }
      guard let array = Memory(bitPattern: UInt(memory.u64(16))) else {
        return .failure(.badAddress)
      }
      for (index, range) in state.ioasRanges.enumerated() {
        array.put(range.0, 16 * index)
        array.put(range.1, 16 * index + 8)
      }
      memory.put(UInt64(4096), 24)
      return .success(0)
    case 0x3B85:
      let (flags, iova, size) = (memory.u32(4), memory.u64(32), memory.u64(24))
      guard memory.u32(0) == 40, memory.u32(8) == 42, memory.u32(12) == 0, flags & 1 == 1,
        (iova | size | memory.u64(16)) & 0xfff == 0
      else { return .failure(.invalidArgument) }
      return insert(iova, size, flags, &state)
    case 0x3B86:
      let (iova, size) = (memory.u64(8), memory.u64(16))
      guard memory.u32(0) == 24, memory.u32(4) == 42 else { return .failure(.invalidArgument) }
      guard state.mappings[iova] == size else { return .failure(.noSuchFileOrDirectory) }
      state.mappings[iova] = nil
      memory.put(state.unmapReport ?? size, 16)
      return .success(0)
    default: return .failure(.inappropriateIOCTLForDevice)
    }
  }
}

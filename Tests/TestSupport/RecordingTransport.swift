// SPDX-License-Identifier: Apache-2.0

import NetDmaMock
import NetDmaVFIO
import Synchronization

/// A transport without a device: registers are bytes that keep what is written, DMA mappings are
/// recorded, and single calls can be made to fail.
///
/// `memory` is what a device would see of this process.
package final class RecordingTransport: DeviceTransport {
  package let name = "recording"
  package let kind = TransportKind.mock
  package let supportsReset = true
  package let numaNode: Int? = nil
  package let iovaRanges: [ClosedRange<UInt64>]
  package let iovaPageSize: UInt64 = 4096
  package let memory = LocalMemory()

  private struct State {
    var registers = [UInt8](repeating: 0, count: 16384)
    var configuration = [UInt8](repeating: 0, count: 4096)
    var mappings: [UInt64: UInt64] = [:]
    var unmapError: VFIOError?
    var mapError: VFIOError?
    var writes: [String] = []
  }
  private let state = Mutex(State())

  package init(
    iovaRanges: [ClosedRange<UInt64>] = [0...0xfedf_ffff, 0xfef0_0000...0xffff_ffff_ffff]
  ) {
    self.iovaRanges = iovaRanges
  }

  /// Start and size of everything that is mapped for the device.
  package var mappings: [UInt64: UInt64] { state.withLock { $0.mappings } }
  /// Makes the next calls of `unmapDMA` fail until set to nil.
  package func failUnmap(_ error: VFIOError?) { state.withLock { $0.unmapError = error } }
  /// Makes the next calls of `mapDMA` fail until set to nil.
  package func failMap(_ error: VFIOError?) { state.withLock { $0.mapError = error } }

  package func regionInfo(_ region: RegionIndex) -> RegionInfo {
    RegionInfo(size: region == .bar0 ? 16384 : 4096, isReadable: true, isWritable: true)
  }

  package func read(_ region: RegionIndex, at offset: UInt64, width: AccessWidth) -> UInt64 {
    state.withLock { state in
      let bytes = region == .bar0 ? state.registers : state.configuration
      return (0..<width.rawValue).reduce(0) { value, index in
        value | UInt64(bytes[Int(offset) + index]) << UInt64(8 * index)
      }
    }
  }

  package func write(_ region: RegionIndex, at offset: UInt64, width: AccessWidth, value: UInt64) {
    state.withLock { state in
      for index in 0..<width.rawValue {
        let byte = UInt8(truncatingIfNeeded: value >> UInt64(8 * index))
        if region == .bar0 {
          state.registers[Int(offset) + index] = byte
        } else {
          state.configuration[Int(offset) + index] = byte
        }
      }
      state.writes.append("\(region.rawValue) \(offset) \(width.rawValue) \(value)")
    }
  }

  package func map(_ region: RegionIndex, range: Range<UInt64>) throws(VFIOError) -> MemoryMapping {
    throw .missingFeature(device: name, feature: "mappable region")
  }

  package func mapDMA(
    _ memory: DMARegion, at iova: UInt64, permissions: DMAPermissions
  ) throws(VFIOError) {
    try state.withLock { state throws(VFIOError) in
      if let error = state.mapError { throw error }
      for (start, size) in state.mappings where iova < start + size && start < iova + memory.size {
        throw .mappingOverlaps(device: name, iova: iova, size: memory.size)
      }
      state.mappings[iova] = memory.size
      if let pointer = UnsafeMutableRawPointer(bitPattern: memory.address) {
        // Neither overlaps nor leaves the address space, as just checked.
        try? self.memory.map(iova: iova, size: memory.size, pointer: pointer)
      }
    }
  }

  package func unmapDMA(iova: UInt64, size: UInt64) throws(VFIOError) {
    try state.withLock { state throws(VFIOError) in
      if let error = state.unmapError { throw error }
      guard state.mappings[iova] == size else {
        throw .unmapMismatch(device: name, iova: iova, expected: size, unmapped: 0)
      }
      state.mappings[iova] = nil
      try? memory.unmap(iova: iova, size: size)
    }
  }

  package func interruptCount(_ index: IRQIndex) -> Int { 1 }
  package func enableInterrupts(_ index: IRQIndex, eventFDs: [CInt]) {}
  package func disableInterrupts(_ index: IRQIndex) {}
  package func triggerInterrupt(_ index: IRQIndex, vector: Int) {}
  package func reset() {}
}

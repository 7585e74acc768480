// SPDX-License-Identifier: Apache-2.0

import Glibc
import Synchronization
import SystemPackage

/// The mappings that this process made in one address space, and the rules for making and removing
/// them, whichever kernel interface does it.
///
/// One lock around every map and unmap: iommufd reports EBUSY when they race, and the table must
/// agree with the kernel.
package struct DMAMappings: ~Copyable, Sendable {
  private let device: String
  /// Inclusive, sorted and disjoint.
  package let ranges: [ClosedRange<UInt64>]
  /// A power of two.
  package let pageSize: UInt64
  private let calls: any KernelCalls
  private let table = Mutex(Table())

  // Not private: Swift 6.3.1 emits a broken module ("Global is external, but doesn't have external or
  // weak linkage") when another file destroys a Mutex of a private type.
  struct Table {
    /// Sorted by address, disjoint.
    var entries: [Entry] = []
  }

  struct Entry {
    let iova: UInt64
    let size: UInt64
    /// The kernel would not remove it as it should; it may still be there.
    var isLost = false
    var last: UInt64 { iova + (size - 1) }
  }

  package init(
    device: String, ranges: [ClosedRange<UInt64>], pageSize: UInt64, calls: any KernelCalls
  ) {
    self.device = device
    self.ranges = ranges
    self.pageSize = pageSize
    self.calls = calls
  }

  /// Bytes and number of the mappings that exist.
  package var summary: (count: Int, bytes: UInt64) {
    table.withLock { ($0.entries.count, $0.entries.reduce(0) { $0 + $1.size }) }
  }

  /// Checks a mapping, has `call` make it, and remembers it.
  ///
  /// - Throws: `VFIOError.invalidMapping`, `.mappingOverlaps`, `.mappingCountExhausted`,
  ///   `.lockedMemoryLimit`, `.system`.
  package borrowing func map(
    _ memory: DMARegion, at iova: UInt64, permissions: DMAPermissions,
    _ call: () throws(SystemCallError) -> Void
  ) throws(VFIOError) {
    if let reason = refusal(of: memory, at: iova, permissions: permissions) {
      throw .invalidMapping(device: device, iova: iova, size: memory.size, reason: reason)
    }
    let entry = Entry(iova: iova, size: memory.size)
    let failure = table.withLock { table -> VFIOError? in
      let place = table.entries.firstIndex { $0.iova > iova } ?? table.entries.endIndex
      let meetsPrevious = place > 0 && table.entries[place - 1].last >= iova
      let meetsNext = place < table.entries.endIndex && table.entries[place].iova <= entry.last
      guard !meetsPrevious, !meetsNext else {
        return .mappingOverlaps(device: device, iova: iova, size: memory.size)
      }
      do throws(SystemCallError) {
        try call()
      } catch {
        return explain(error, memory, at: iova)
      }
      table.entries.insert(entry, at: place)
      return nil
    }
    if let failure { throw failure }
  }

  private func refusal(
    of memory: DMARegion, at iova: UInt64, permissions: DMAPermissions
  ) -> String? {
    let (end, wraps) = iova.addingReportingOverflow(memory.size &- 1)
    let (_, memoryWraps) = UInt64(memory.address).addingReportingOverflow(memory.size &- 1)
    guard memory.size > 0, !wraps, !memoryWraps else {
      return "It is empty or goes round the end of the address space."
    }
    guard (iova | memory.size | UInt64(memory.address)) & (pageSize - 1) == 0 else {
      return "Address, IOVA and size are not all multiples of the IOMMU's page, \(pageSize) bytes."
    }
    guard !permissions.isDisjoint(with: .readWrite) else {
      return "The device may neither read nor write it."
    }
    guard ranges.contains(where: { $0.lowerBound <= iova && end <= $0.upperBound }) else {
      let list = ranges.map { "\(hex($0.lowerBound))...\(hex($0.upperBound))" }
      return "It lies outside what the IOMMU maps: \(list.joined(separator: ", "))."
    }
    return nil
  }

  private func explain(
    _ error: SystemCallError, _ memory: DMARegion, at iova: UInt64
  ) -> VFIOError {
    func invalid(_ reason: String) -> VFIOError {
      .invalidMapping(device: device, iova: iova, size: memory.size, reason: reason)
    }
    switch error.errno.rawValue {
    case EEXIST, EADDRINUSE:
      return .mappingOverlaps(device: device, iova: iova, size: memory.size)
    case ENOSPC: return .mappingCountExhausted(device: device)
    case ENOMEM:
      // Without a limit the kernel is out of memory, which raising the limit does not help.
      guard let limit = calls.lockedMemoryLimit else {
        return .system(device: device, error: error)
      }
      return .lockedMemoryLimit(device: device, needed: memory.size, limit: limit)
    case EINVAL, EOVERFLOW:
      return invalid("The kernel refused it (errno \(error.errno.rawValue)): alignment or range.")
    case EFAULT:
      return invalid(
        "The \(memory.size) bytes at \(hex(memory.address)) are not mapped in this process, not"
          + " writable, or of a file that may not be pinned.")
    default: return .system(device: device, error: error)
    }
  }

  /// Has `call` remove what one `map` made, and checks that exactly that was removed.
  ///
  /// - Throws: `VFIOError.invalidMapping` for a range that was not mapped so, `.unmapMismatch`,
  ///   `.system`.
  package borrowing func unmap(
    iova: UInt64, size: UInt64, _ call: () throws(SystemCallError) -> UInt64
  ) throws(VFIOError) {
    let failure = table.withLock { table -> VFIOError? in
      guard
        let place = table.entries.firstIndex(where: {
          $0.iova == iova && $0.size == size && !$0.isLost
        })
      else {
        return .invalidMapping(
          device: device, iova: iova, size: size, reason: "No mapping has this address and size.")
      }
      let failure = remove(size, from: iova, call)
      if failure == nil {
        table.entries.remove(at: place)
      } else {
        // What may still be mapped must not be mapped again.
        table.entries[place].isLost = true
      }
      return failure
    }
    if let failure { throw failure }
  }

  private func remove(
    _ size: UInt64, from iova: UInt64, _ call: () throws(SystemCallError) -> UInt64
  ) -> VFIOError? {
    let unmapped: UInt64
    do throws(SystemCallError) {
      unmapped = try call()
    } catch {
      switch error.errno.rawValue {
      // iommufd, and type1 calls that it emulates: nothing was mapped there.
      case ENOENT: unmapped = 0
      // type1: the range would cut a mapping.
      case EINVAL: unmapped = 0
      default: return .system(device: device, error: error)
      }
    }
    return unmapped == size
      ? nil
      : .unmapMismatch(device: device, iova: iova, expected: size, unmapped: unmapped)
  }

  /// Removes everything that is left, at the end; returns what went wrong.
  package borrowing func removeAll(
    _ call: (UInt64, UInt64) throws(SystemCallError) -> UInt64
  ) -> [VFIOError] {
    table.withLock { table in
      let failures = table.entries.compactMap { entry in
        remove(entry.size, from: entry.iova) { () throws(SystemCallError) in
          try call(entry.iova, entry.size)
        }
      }
      table.entries = []
      return failures
    }
  }
}

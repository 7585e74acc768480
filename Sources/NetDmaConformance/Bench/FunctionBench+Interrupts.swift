// SPDX-License-Identifier: Apache-2.0

import CNetDma
import NetDmaVFIO
import SystemPackage

/// One interrupt message of the function, counted.
final class BenchVector {
  private let eventFD: EventFD
  /// Signals so far; several between two looks of ours are told apart by the eventfd's count.
  private(set) var count: UInt64 = 0

  init() throws(SystemCallError) { eventFD = try EventFD() }

  var rawValue: CInt { eventFD.rawValue }

  /// Takes what has come.
  func update() { count += eventFD.drain() }

  /// Waits until something comes or the deadline passes.
  func wait(_ deadline: Deadline) {
    let (seconds, attoseconds) = deadline.remaining.components
    let nanoseconds = seconds * 1_000_000_000 + attoseconds / 1_000_000_000
    _ = netdma_wait_readable(rawValue, nanoseconds)
    update()
  }
}

extension FunctionBench {
  /// Connects every vector and sets INTRCTRL; with MSI-X each channel has a vector of its own.
  func connectInterrupts(
    control: UInt64 = InterruptBit.master | InterruptBit.vectorControl
  ) throws(Finding) {
    guard let index = facts.interruptIndex else {
      throw .notApplicable("the function has neither MSI-X nor MSI")
    }
    try disconnectInterrupts()
    let count = index == .msix ? min(facts.vectorCount, max(1, facts.channelCount)) : 1
    let name = transport.name
    vectors = try reaching { () throws(VFIOError) in
      do throws(SystemCallError) {
        var made: [BenchVector] = []
        for _ in 0..<count { made.append(try BenchVector()) }
        return made
      } catch {
        throw .system(device: name, error: error)
      }
    }
    let descriptors = vectors.map(\.rawValue)
    try reaching { () throws(VFIOError) in
      try transport.enableInterrupts(index, eventFDs: descriptors)
    }
    try write(.intrctrl, index == .msix ? control : control & ~InterruptBit.vectorControl)
  }

  /// Disconnects what is connected.
  func disconnectInterrupts() throws(Finding) {
    guard !vectors.isEmpty, let index = facts.interruptIndex else { return }
    vectors = []
    try reaching { () throws(VFIOError) in
      try transport.disableInterrupts(index)
    }
  }

  /// The vector that `channel` is to use with INTRCTRL's MSIX_VECTOR_CONTROL set.
  func vectorIndex(of channel: Int) -> Int { channel < vectors.count ? channel : 0 }
}

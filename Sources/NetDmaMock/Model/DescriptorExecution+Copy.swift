// SPDX-License-Identifier: Apache-2.0

import Glibc

extension DescriptorExecution {
  /// Bytes of one bus access; between two of them a reset is noticed.
  static var pieceSize: UInt64 { 1 << 20 }

  mutating func copy(
    _ descriptor: RawDescriptor, _ size: UInt64, _ job: EngineJob,
    _ outcome: inout EngineOutcome, isVoid: () -> Bool
  ) {
    let source = TransferSide(
      descriptor.source, next: descriptor.nextSource,
      breaksPage: descriptor.has(DescriptorBit.sourcePageBreak), size: size)
    let destination = TransferSide(
      descriptor.destination, next: descriptor.nextDestination,
      breaksPage: descriptor.has(DescriptorBit.destinationPageBreak), size: size)
    guard injectFaults(job, &outcome, source: source, destination: destination) else { return }
    guard source.isReachable(configuration) else {
      outcome.errors = ChannelErrorBit.sourceAddress
      return
    }
    guard destination.isReachable(configuration) else {
      outcome.errors = ChannelErrorBit.destinationAddress
      return
    }
    guard canAccessMemory else {
      outcome.errors = ChannelErrorBit.readData
      return
    }
    if configuration.poison.contains(.destinations) { poison(destination, unlessIn: source) }
    var offset: UInt64 = 0
    while offset < size {
      let from = source.run(at: offset)
      let to = destination.run(at: offset)
      let count = min(from.count, to.count, Self.pieceSize)
      do throws(BusFault) {
        try copy(from: from.address, to: to.address, count: Int(count))
      } catch {
        outcome.errors = Self.errorBit(error)
        return
      }
      offset += count
      if offset < size, isVoid() { return }
    }
    outcome.bytes = size
  }

  /// One piece.
  private mutating func copy(
    from: UInt64, to: UInt64, count: Int
  ) throws(BusFault) {
    if let origin = unsafe Self.pointer(&source, memory, from, count, .read),
      let target = unsafe Self.pointer(&destination, memory, to, count, .write)
    {
      // All of both lies in what is claimed; they may overlap.
      unsafe memmove(target, origin, count)
      return
    }
    letGo()
    try memory.copy(from: from, to: to, count: count)
  }

  mutating func fill(
    _ descriptor: RawDescriptor, _ size: UInt64, _ job: EngineJob,
    _ outcome: inout EngineOutcome, isVoid: () -> Bool
  ) {
    let destination = TransferSide(
      descriptor.destination, next: descriptor.nextDestination,
      breaksPage: descriptor.has(DescriptorBit.destinationPageBreak), size: size)
    guard injectFaults(job, &outcome, source: nil, destination: destination) else { return }
    guard destination.isReachable(configuration) else {
      outcome.errors = ChannelErrorBit.destinationAddress
      return
    }
    outcome.errors = write(pattern: descriptor.source, to: destination, isVoid: isVoid)
    if outcome.errors == 0 { outcome.bytes = size }
  }

  /// Repeats the pattern's eight bytes from the start of `destination`, whatever its alignment:
  /// byte k of the output is byte k mod 8 of the pattern.
  ///
  /// Returns a CHANERR bit, 0 when done.
  private mutating func write(
    pattern: UInt64, to destination: TransferSide, isVoid: () -> Bool
  ) -> UInt32 {
    guard canAccessMemory else { return ChannelErrorBit.writeData }
    // The work area belongs to this value and nothing else uses it meanwhile.
    let area = unsafe area(0)
    if filledPattern != pattern {
      for offset in stride(from: 0, to: Self.areaSize, by: 8) {
        unsafe area.storeBytes(of: pattern.littleEndian, toByteOffset: offset, as: UInt64.self)
      }
      filledPattern = pattern
    }
    var offset: UInt64 = 0
    while offset < destination.size {
      let to = destination.run(at: offset)
      let phase = Int(offset & 7)
      let count = min(Int(clamping: to.count), Self.areaSize - 8)
      do throws(BusFault) {
        try unsafe memory.write(
          to.address,
          from: UnsafeRawBufferPointer(rebasing: area[phase..<phase + count]))
      } catch {
        return Self.errorBit(error)
      }
      offset += UInt64(count)
      if offset < destination.size, isVoid() { return 0 }
    }
    return 0
  }

  /// Makes the destination look wrong until the data comes.
  private mutating func poison(_ destination: TransferSide, unlessIn source: TransferSide) {
    func overlaps(_ start: UInt64, _ count: UInt64) -> Bool {
      count != 0 && source.touches(start...(start &+ (count - 1)))
    }
    guard !overlaps(destination.first, destination.firstCount),
      !overlaps(destination.second, destination.size - destination.firstCount)
    else { return }
    letGo()
    _ = write(pattern: 0xdbdb_dbdb_dbdb_dbdb, to: destination, isVoid: { false })
  }

  /// Which of the two data errors a refused access is.
  static func errorBit(_ fault: BusFault) -> UInt32 {
    switch fault.direction {
    case .read: ChannelErrorBit.readData
    case .write: ChannelErrorBit.writeData
    }
  }
}

// SPDX-License-Identifier: Apache-2.0

extension DescriptorExecution {
  /// What a CRC operation does with the checksum.
  private enum Use {
    case accumulate
    case test
    case store
  }

  /// CRC32C of the source, with or without a copy of it.
  ///
  /// The channel's accumulator goes on from descriptor to descriptor unless one loads a seed. In
  /// memory the checksum is inverted and little-endian, as it travels in a frame.
  mutating func checksum(
    _ descriptor: RawDescriptor, _ size: UInt64, _ job: EngineJob,
    _ outcome: inout EngineOutcome, isVoid: () -> Bool
  ) {
    let moves = descriptor.operation < Opcode.crc
    let use: Use =
      switch descriptor.operation {
      case Opcode.crcTest, Opcode.moveCRCTest: .test
      case Opcode.crcStore, Opcode.moveCRCStore: .store
      default: .accumulate
      }
    let source = TransferSide(descriptor.source, next: 0, breaksPage: false, size: size)
    let destination =
      moves ? TransferSide(descriptor.destination, next: 0, breaksPage: false, size: size) : nil
    guard injectFaults(job, &outcome, source: source, destination: destination) else { return }
    // Behind the data: of a move's result for a store, of what was read otherwise.
    let behind = use == .store && moves ? descriptor.destination : descriptor.source
    let place = descriptor.has(DescriptorBit.crcBehindData) ? behind &+ size : descriptor.word7
    if !source.isReachable(configuration)
      || use == .test && !configuration.reaches(place, count: 4)
    {
      outcome.errors = ChannelErrorBit.sourceAddress
      return
    }
    if destination.map({ !$0.isReachable(configuration) }) ?? false
      || use == .store && !configuration.reaches(place, count: 4)
    {
      outcome.errors = ChannelErrorBit.destinationAddress
      return
    }
    guard canAccessMemory else {
      outcome.errors = ChannelErrorBit.readData
      return
    }
    var register =
      descriptor.has(DescriptorBit.useSeed)
      ? UInt32(truncatingIfNeeded: descriptor.word6) : checksum
    do throws(BusFault) {
      var offset: UInt64 = 0
      while offset < size {
        let count = Int(min(size - offset, UInt64(Self.areaSize)))
        // Area 1 belongs to this value; the piece is at most its size.
        let piece = unsafe UnsafeMutableRawBufferPointer(rebasing: area(1)[..<count])
        try unsafe memory.read(descriptor.source + offset, into: piece)
        register = unsafe ParityMath.crc32c(UnsafeRawBufferPointer(piece), register: register)
        if moves {
          try unsafe memory.write(
            descriptor.destination + offset, from: UnsafeRawBufferPointer(piece))
        }
        offset += UInt64(count)
        if offset < size, isVoid() { return }
      }
      switch use {
      case .accumulate: break
      case .store:
        guard store(~register, to: place) else {
          outcome.errors = ChannelErrorBit.writeData
          return
        }
      case .test:
        let stored = unsafe UnsafeMutableRawBufferPointer(rebasing: area(1)[..<4])
        try unsafe memory.read(place, into: stored)
        // Four bytes, as just read.
        let value = unsafe UInt32(littleEndian: stored.loadUnaligned(as: UInt32.self))
        if value != ~register { outcome.errors = ChannelErrorBit.xorPOrCRC }
      }
      checksum = register
      if outcome.errors == 0 { outcome.bytes = size }
    } catch {
      outcome.errors = Self.errorBit(error)
    }
  }
}

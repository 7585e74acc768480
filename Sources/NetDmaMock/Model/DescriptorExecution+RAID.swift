// SPDX-License-Identifier: Apache-2.0

import Glibc

/// The operands of an XOR or P+Q operation, gathered from one slot, two, or a slot and its
/// super-extended block.
struct ParityOperands: Sendable {
  var size: UInt64 = 0
  /// Bus addresses of the sources.
  var sources = InlineArray<16, UInt64>(repeating: 0)
  /// One factor per source, for Q.
  var coefficients = InlineArray<16, UInt8>(repeating: 0)
  var sourceCount = 0
  /// P, or the destination of an XOR; nil when disabled.
  var p: UInt64?
  /// Q; nil when disabled or an XOR.
  var q: UInt64?
  /// The addresses of P and Q, which must be valid even where a result is disabled.
  var resultAddresses: (p: UInt64, q: UInt64?) = (0, nil)
  /// Compare with P and Q instead of writing them.
  var validates = false

  mutating func append(_ source: UInt64) {
    sources[sourceCount] = source
    sourceCount += 1
  }

  mutating func setCoefficients(_ word: UInt64, from first: Int) {
    for index in 0..<8 {
      coefficients[first + index] = UInt8(truncatingIfNeeded: word >> UInt64(8 * index))
    }
  }
}

extension DescriptorExecution {
  /// XOR and P+Q with all their forms.
  mutating func parity(
    _ descriptor: RawDescriptor, _ size: UInt64, _ job: EngineJob,
    _ outcome: inout EngineOutcome, isVoid: () -> Bool
  ) {
    var operands = ParityOperands()
    operands.size = size
    switch descriptor.operation {
    case Opcode.xor, Opcode.xorValidate:
      operands.validates = descriptor.operation == Opcode.xorValidate
      gatherXOR(descriptor, job, &operands, &outcome)
    case Opcode.pq, Opcode.pqValidate:
      operands.validates = descriptor.operation == Opcode.pqValidate
      gatherPQ(descriptor, job, &operands, &outcome)
    case Opcode.pq16, Opcode.pq16Validate:
      operands.validates = descriptor.operation == Opcode.pq16Validate
      gatherPQ16(descriptor, &operands, &outcome)
    default:
      return update(descriptor, size, job, &outcome, isVoid: isVoid)
    }
    guard outcome.errors == 0, checkReach(operands, &outcome) else { return }
    guard injectFaults(job, &outcome, operands) else { return }
    let mismatches = compute(operands, &outcome, isVoid: isVoid)
    finishParity(descriptor, mismatches, &outcome)
  }

  /// The write-back of the result into the descriptor, where it was asked for, and the errors.
  private func finishParity(
    _ descriptor: RawDescriptor, _ mismatches: UInt32, _ outcome: inout EngineOutcome
  ) {
    guard outcome.errors == 0 else { return }
    if descriptor.operation != Opcode.xor, descriptor.operation != Opcode.xorValidate,
      descriptor.has(DescriptorBit.writeBack)
    {
      var status = WriteBackBit.written
      if mismatches & ChannelErrorBit.xorPOrCRC != 0 { status |= WriteBackBit.pMismatch }
      if mismatches & ChannelErrorBit.xorQ != 0 { status |= WriteBackBit.qMismatch }
      guard store(status, to: outcome.address) else {
        outcome.errors = ChannelErrorBit.writeData
        return
      }
    }
    outcome.errors = mismatches
    if mismatches & ~outcome.errorMask == 0 { outcome.bytes = UInt64(descriptor.size) }
  }

  /// Writes four bytes; false when the bus refuses.
  func store(_ value: UInt32, to address: UInt64) -> Bool {
    var value = value.littleEndian
    return unsafe withUnsafeBytes(of: &value) { bytes in
      do throws(BusFault) {
        // The bytes of the variable, for the time of the call.
        try unsafe memory.write(address, from: bytes)
        return true
      } catch {
        return false
      }
    }
  }

  // MARK: - Gathering

  /// The slot behind the base descriptor, for more sources than that holds.
  ///
  /// It takes a ring slot of its own, which DMACOUNT must cover.
  private mutating func fetchExtension(
    _ descriptor: RawDescriptor, _ job: EngineJob, _ outcome: inout EngineOutcome
  ) -> RawDescriptor? {
    guard job.remaining >= 2 else {
      outcome.errors = ChannelErrorBit.descriptorCount
      return nil
    }
    let fetched = fetch(descriptor.next, remaining: job.remaining - 1, isChainStart: false)
    letGo()
    guard let extended = fetched.descriptor else {
      outcome.errors = fetched.error
      return nil
    }
    outcome.slots = 2
    outcome.link = descriptor.next
    outcome.next = extended.next
    return extended
  }

  private mutating func gatherXOR(
    _ descriptor: RawDescriptor, _ job: EngineJob, _ operands: inout ParityOperands,
    _ outcome: inout EngineOutcome
  ) {
    let count = descriptor.sourceCountField + 2
    guard count <= 8 else {
      outcome.errors = ChannelErrorBit.control
      return
    }
    operands.p = descriptor.destination
    operands.resultAddresses = (descriptor.destination, nil)
    operands.append(descriptor.word1)
    operands.append(descriptor.word4)
    operands.append(descriptor.word5)
    operands.append(descriptor.word6)
    operands.append(descriptor.word7)
    if count > 5 {
      guard let extended = fetchExtension(descriptor, job, &outcome) else { return }
      operands.append(extended.word0)
      operands.append(extended.word1)
      operands.append(extended.word2)
    }
    operands.sourceCount = count
  }

  private mutating func gatherPQ(
    _ descriptor: RawDescriptor, _ job: EngineJob, _ operands: inout ParityOperands,
    _ outcome: inout EngineOutcome
  ) {
    let count = descriptor.sourceCountField + 2
    guard count <= 8 else {
      outcome.errors = ChannelErrorBit.control
      return
    }
    setResults(descriptor, &operands)
    operands.setCoefficients(descriptor.word6, from: 0)
    operands.append(descriptor.word1)
    operands.append(descriptor.word4)
    operands.append(descriptor.word5)
    if count > 3 {
      guard let extended = fetchExtension(descriptor, job, &outcome) else { return }
      operands.append(extended.word0)
      operands.append(extended.word1)
      operands.append(extended.word2)
      operands.append(extended.word4)
      operands.append(extended.word5)
    }
    operands.sourceCount = count
  }

  /// Nine to sixteen sources: the rest is in a block of two slots' size outside the ring.
  private mutating func gatherPQ16(
    _ descriptor: RawDescriptor, _ operands: inout ParityOperands, _ outcome: inout EngineOutcome
  ) {
    setResults(descriptor, &operands)
    let address = descriptor.word5
    // The second half of work area 3 is free: sources go into its first half only later.
    let block = unsafe UnsafeMutableRawBufferPointer(rebasing: area(3)[..<128])
    guard address & 63 == 0, configuration.reaches(address, count: 128), canAccessMemory else {
      outcome.errors = ChannelErrorBit.extensionAddress
      return
    }
    do throws(BusFault) {
      try unsafe memory.read(address, into: block)
    } catch {
      outcome.errors = ChannelErrorBit.extensionAddress
      return
    }
    func word(_ index: Int) -> UInt64 {
      // Below sixteen words of eight bytes.
      UInt64(littleEndian: unsafe block.loadUnaligned(fromByteOffset: 8 * index, as: UInt64.self))
    }
    operands.setCoefficients(descriptor.word6, from: 0)
    operands.setCoefficients(word(0), from: 8)
    operands.append(descriptor.word1)
    operands.append(descriptor.word4)
    for index in 1...14 { operands.append(word(index)) }
    operands.sourceCount = descriptor.sourceCountField + 9
  }

  private func setResults(_ descriptor: RawDescriptor, _ operands: inout ParityOperands) {
    operands.resultAddresses = (descriptor.word2, descriptor.word7)
    if !descriptor.has(DescriptorBit.pDisable) { operands.p = descriptor.word2 }
    if !descriptor.has(DescriptorBit.qDisable) { operands.q = descriptor.word7 }
  }

  private func checkReach(
    _ operands: borrowing ParityOperands, _ outcome: inout EngineOutcome
  ) -> Bool {
    for index in 0..<operands.sourceCount
    where !configuration.reaches(operands.sources[index], count: operands.size) {
      outcome.errors = ChannelErrorBit.sourceAddress
      return false
    }
    let (p, q) = operands.resultAddresses
    guard configuration.reaches(p, count: operands.size),
      configuration.reaches(q ?? p, count: operands.size)
    else {
      outcome.errors = ChannelErrorBit.destinationAddress
      return false
    }
    return true
  }

  private func injectFaults(
    _ job: EngineJob, _ outcome: inout EngineOutcome, _ operands: borrowing ParityOperands
  ) -> Bool {
    guard function.faults.hasRules else { return true }
    let size = operands.size
    func touches(_ address: UInt64?, _ range: ClosedRange<UInt64>) -> Bool {
      guard let address else { return false }
      return TransferSide(address, next: 0, breaksPage: false, size: size).touches(range)
    }
    let sources = operands.sources
    let count = operands.sourceCount
    let (p, q, validates) = (operands.p, operands.q, operands.validates)
    function.faults.apply(
      to: &outcome, channel: channel, index: job.index,
      reads: { range in
        (0..<count).contains { touches(sources[$0], range) }
          || validates && (touches(p, range) || touches(q, range))
      },
      writes: { range in !validates && (touches(p, range) || touches(q, range)) })
    return outcome.errors == 0 && !outcome.isHung
  }

  // MARK: - Computing

  /// Bits of the first dword that the engine writes back into a descriptor.
  enum WriteBackBit {
    static let written: UInt32 = 1 << 31
    static let pMismatch: UInt32 = 1 << 25
    static let qMismatch: UInt32 = 1 << 26
  }

  /// Computes P and Q piece by piece and writes or compares them.
  ///
  /// Returns CHANERR bits 16 and 17 for what does not match; bus errors go to `outcome`.
  private mutating func compute(
    _ operands: borrowing ParityOperands, _ outcome: inout EngineOutcome, isVoid: () -> Bool
  ) -> UInt32 {
    guard canAccessMemory else {
      outcome.errors = ChannelErrorBit.readData
      return 0
    }
    var mismatches: UInt32 = 0
    var offset: UInt64 = 0
    do throws(BusFault) {
      while offset < operands.size {
        let count = Int(min(operands.size - offset, UInt64(Self.areaSize)))
        // Areas 1 to 3 belong to this value; each piece is cut to `count`, at most an area's size.
        let p = unsafe UnsafeMutableRawBufferPointer(rebasing: area(1)[..<count])
        let q = unsafe UnsafeMutableRawBufferPointer(rebasing: area(2)[..<count])
        let source = unsafe UnsafeMutableRawBufferPointer(rebasing: area(3)[..<count])
        unsafe p.initializeMemory(as: UInt8.self, repeating: 0)
        unsafe q.initializeMemory(as: UInt8.self, repeating: 0)
        for index in 0..<operands.sourceCount {
          try unsafe memory.read(operands.sources[index] + offset, into: source)
          if operands.p != nil {
            unsafe ParityMath.xor(into: p, source: UnsafeRawBufferPointer(source))
          }
          if operands.q != nil {
            unsafe ParityMath.multiplyAccumulate(
              into: q, source: UnsafeRawBufferPointer(source),
              coefficient: operands.coefficients[index])
          }
        }
        if let address = operands.p {
          if operands.validates {
            if try unsafe !matches(p, at: address + offset, using: source) {
              mismatches |= ChannelErrorBit.xorPOrCRC
            }
          } else {
            try unsafe memory.write(address + offset, from: UnsafeRawBufferPointer(p))
          }
        }
        if let address = operands.q {
          if operands.validates {
            if try unsafe !matches(q, at: address + offset, using: source) {
              mismatches |= ChannelErrorBit.xorQ
            }
          } else {
            try unsafe memory.write(address + offset, from: UnsafeRawBufferPointer(q))
          }
        }
        offset += UInt64(count)
        if offset < operands.size, isVoid() { return mismatches }
      }
    } catch {
      outcome.errors = Self.errorBit(error)
    }
    return mismatches
  }

  /// Whether memory at `address` holds `expected`; `scratch` has its size.
  private func matches(
    _ expected: UnsafeMutableRawBufferPointer, at address: UInt64,
    using scratch: UnsafeMutableRawBufferPointer
  ) throws(BusFault) -> Bool {
    try unsafe memory.read(address, into: scratch)
    guard let left = expected.baseAddress, let right = scratch.baseAddress else { return true }
    return unsafe memcmp(left, right, expected.count) == 0
  }

  /// P and Q after one source changed: sources 1 and 2 are the old and the new data, P and Q take
  /// their difference on.
  private mutating func update(
    _ descriptor: RawDescriptor, _ size: UInt64, _ job: EngineJob,
    _ outcome: inout EngineOutcome, isVoid: () -> Bool
  ) {
    var sides = ParityOperands()
    sides.size = size
    sides.append(descriptor.word1)
    sides.append(descriptor.word4)
    sides.append(descriptor.word5)
    sides.append(descriptor.word6)
    setResults(descriptor, &sides)
    guard checkReach(sides, &outcome), injectFaults(job, &outcome, sides) else { return }
    guard canAccessMemory else {
      outcome.errors = ChannelErrorBit.readData
      return
    }
    let coefficient = UInt8(
      truncatingIfNeeded: descriptor.control >> DescriptorBit.coefficientShift)
    var offset: UInt64 = 0
    do throws(BusFault) {
      while offset < size {
        let count = Int(min(size - offset, UInt64(Self.areaSize)))
        // As in `compute`.
        let change = unsafe UnsafeMutableRawBufferPointer(rebasing: area(1)[..<count])
        let result = unsafe UnsafeMutableRawBufferPointer(rebasing: area(2)[..<count])
        try unsafe memory.read(descriptor.word1 + offset, into: change)
        try unsafe memory.read(descriptor.word4 + offset, into: result)
        unsafe ParityMath.xor(into: change, source: UnsafeRawBufferPointer(result))
        if let p = sides.p {
          try unsafe memory.read(descriptor.word5 + offset, into: result)
          unsafe ParityMath.xor(into: result, source: UnsafeRawBufferPointer(change))
          try unsafe memory.write(p + offset, from: UnsafeRawBufferPointer(result))
        }
        if let q = sides.q {
          try unsafe memory.read(descriptor.word6 + offset, into: result)
          unsafe ParityMath.multiplyAccumulate(
            into: result, source: UnsafeRawBufferPointer(change), coefficient: coefficient)
          try unsafe memory.write(q + offset, from: UnsafeRawBufferPointer(result))
        }
        offset += UInt64(count)
        if offset < size, isVoid() { return }
      }
      outcome.bytes = size
    } catch {
      outcome.errors = Self.errorBit(error)
    }
  }
}

// SPDX-License-Identifier: Apache-2.0

/// XOR and P+Q, for engines with RAID capability.
///
/// The completion write of the RAID engine may overtake those of the copy engine, so each operation
/// is followed by a null descriptor that reports it. Each returns false, and queues nothing, when
/// it does not fit into the ring now. None is cut: a block is at most `maximumDescriptorSize` long.
extension NetDmaChannel {
  /// Writes the XOR of 2 to 8 blocks to `destination`.
  ///
  /// - Throws: `NetDmaError.notSupported` on an engine without XOR (DMACAPABILITY bit 8);
  ///   `.invalidParameter` for another number of blocks or blocks of different lengths.
  public mutating func enqueueXOR(
    of sources: [DMASlice], into destination: DMASlice, token: UInt64,
    options: DmaControlFlags = []
  ) throws(NetDmaError) -> Bool {
    try enqueueXOR(.xor, sources, destination, token, options)
  }

  /// Checks that `destination` holds the XOR of 2 to 8 blocks; ends with
  /// `DMAOperationError.validationFailed` when it does not.
  ///
  /// - Throws: As `enqueueXOR`.
  public mutating func enqueueXORValidation(
    of sources: [DMASlice], against destination: DMASlice, token: UInt64,
    options: DmaControlFlags = []
  ) throws(NetDmaError) -> Bool {
    try enqueueXOR(.xorValidate, sources, destination, token, options)
  }

  /// Writes P, the XOR of 2 to 16 blocks, and Q, their sum with a factor each in GF(2^8) (polynomial
  /// 0x11d, as Linux's RAID-6).
  ///
  /// - Parameters:
  ///   - sources: 2 to 8 blocks, 9 to 16 where the engine has RAID16SS.
  ///   - coefficients: A factor for each block.
  ///   - p: Where P goes, nil when it is not wanted.
  ///   - q: Where Q goes, nil when it is not wanted.
  ///   - token: Names the operation in its completion.
  ///   - options: Fence (`.serializeTransfer`) and no-snoop flags.
  /// - Throws: `NetDmaError.notSupported` on an engine without PQ (DMACAPABILITY bit 9);
  ///   `.invalidParameter`.
  public mutating func enqueuePQ(
    of sources: [DMASlice], coefficients: [UInt8], p: DMASlice?, q: DMASlice?, token: UInt64,
    options: DmaControlFlags = []
  ) throws(NetDmaError) -> Bool {
    try enqueuePQ(validates: false, sources, coefficients, p, q, token, options)
  }

  /// Checks P, Q or both; ends with `DMAOperationError.validationFailed` when one does not match.
  ///
  /// - Throws: As `enqueuePQ`.
  public mutating func enqueuePQValidation(
    of sources: [DMASlice], coefficients: [UInt8], p: DMASlice?, q: DMASlice?, token: UInt64,
    options: DmaControlFlags = []
  ) throws(NetDmaError) -> Bool {
    try enqueuePQ(validates: true, sources, coefficients, p, q, token, options)
  }

  // MARK: - Descriptors

  private mutating func enqueueXOR(
    _ operation: DmaOperation, _ sources: [DMASlice], _ destination: DMASlice, _ token: UInt64,
    _ options: DmaControlFlags
  ) throws(NetDmaError) -> Bool {
    try require(.xor, for: "XOR")
    guard (2...8).contains(sources.count) else {
      throw .invalidParameter(call: "enqueueXOR", detail: "There are 2 to 8 sources.")
    }
    let size = try commonLength(sources + [destination])
    var base = DescriptorWords(
      size: size,
      control: DmaControlFlags(operation, options.permitted, sources: sources.count - 2),
      source: sources[0].iova, destination: destination.iova)
    func source(_ index: Int) -> UInt64 { index < sources.count ? sources[index].iova : 0 }
    base.word4 = source(1)
    base.word5 = source(2)
    base.word6 = source(3)
    base.word7 = source(4)
    guard sources.count > 5 else { return append([base, .null], .pieces, size, token) }
    let more = DescriptorWords(raw: [source(5), source(6), source(7)])
    return append([base, more, .null], .extended, size, token)
  }

  private mutating func enqueuePQ(
    validates: Bool, _ sources: [DMASlice], _ coefficients: [UInt8], _ p: DMASlice?,
    _ q: DMASlice?, _ token: UInt64, _ options: DmaControlFlags
  ) throws(NetDmaError) -> Bool {
    let call = "enqueuePQ"
    try require(.pq, for: "PQ")
    guard let result = p ?? q else {
      throw .invalidParameter(call: call, detail: "Neither P nor Q is wanted.")
    }
    guard coefficients.count == sources.count else {
      throw .invalidParameter(call: call, detail: "There is one coefficient for each source.")
    }
    guard (2...16).contains(sources.count) else {
      throw .invalidParameter(call: call, detail: "There are 2 to 16 sources.")
    }
    let size = try commonLength(sources + [p ?? result, q ?? result])
    var control = options.permitted
    // The address of a result that is not wanted must be valid all the same.
    if p == nil { control.insert(.pDisable) }
    if q == nil { control.insert(.qDisable) }
    let factors = coefficients + [UInt8](repeating: 0, count: 16 - coefficients.count)
    var base = DescriptorWords(
      size: size, control: control, source: sources[0].iova, destination: (p ?? result).iova)
    base.word4 = sources[1].iova
    base.word6 = Self.word(factors[0..<8])
    base.word7 = (q ?? result).iova
    func source(_ index: Int) -> UInt64 { index < sources.count ? sources[index].iova : 0 }
    if sources.count > 8 {
      try require(.raid16SS, for: "PQ of more than 8 sources")
      guard producer.freeSlots() >= 2 else { return false }
      let block = try core.memory.extensionBlock(at: producer.head)
      let words = [Self.word(factors[8..<16])] + (2..<16).map(source) + [0]
      base.setControl(
        DmaControlFlags(validates ? .pq16Validate : .pq16, control, sources: sources.count - 9))
      base.word5 = block.write(words)
      return append([base, .null], .pieces, size, token)
    }
    base.setControl(
      DmaControlFlags(validates ? .pqValidate : .pq, control, sources: sources.count - 2))
    base.word5 = source(2)
    guard sources.count > 3 else { return append([base, .null], .pieces, size, token) }
    let more = DescriptorWords(
      raw: [source(3), source(4), source(5), 0, source(6), source(7)])
    return append([base, more, .null], .extended, size, token)
  }

  private mutating func append(
    _ slots: [DescriptorWords], _ layout: OperationSpan.Layout, _ size: UInt32, _ token: UInt64
  ) -> Bool {
    producer.append(slots, layout: layout, bytes: UInt64(size), token: token)
  }

  private func commonLength(_ blocks: [DMASlice]) throws(NetDmaError) -> UInt32 {
    let call = "enqueue"
    guard let count = blocks.first?.count, blocks.allSatisfy({ $0.count == count }) else {
      throw .invalidParameter(call: call, detail: "All blocks have the same length.")
    }
    guard count > 0, count <= Int(maximumTransferSize) else {
      throw .invalidParameter(
        call: call, detail: "A block has 1 to \(maximumTransferSize) bytes, not \(count).")
    }
    return UInt32(count)
  }

  /// Eight bytes as a descriptor holds them.
  private static func word(_ bytes: ArraySlice<UInt8>) -> UInt64 {
    bytes.reversed().reduce(0) { $0 << 8 | UInt64($1) }
  }
}

extension DmaControlFlags {
  /// Bit 11 of a PQ descriptor: do not write or check P.
  static let pDisable = Self(rawValue: 1 << 11)
  /// Bit 12 of a PQ descriptor: do not write or check Q.
  static let qDisable = Self(rawValue: 1 << 12)

  /// A RAID operation; `sources` is its source-count field, bits 7:5.
  init(_ operation: DmaOperation, _ options: DmaControlFlags, sources: Int) {
    self.init(operation, DmaControlFlags(rawValue: options.rawValue | UInt32(sources & 7) << 5))
  }
}

extension DescriptorWords {
  /// A descriptor that only reports.
  static let null = null([])

  mutating func setControl(_ control: DmaControlFlags) {
    word0 = word0 & 0xffff_ffff | UInt64(control.rawValue) << 32
  }
}

// SPDX-License-Identifier: Apache-2.0

/// Operations besides the plain copy; one that the engine lacks is refused before it is queued.
///
/// Each returns false, and queues nothing, when it does not fit into the ring now. Options are fence,
/// no-snoop and DCA flags; others are ignored.
extension NetDmaChannel {
  /// Writes a descriptor that transfers nothing (NET_DMA_NULL_TRANSFER): it ends when everything
  /// before it has ended.
  public mutating func enqueueNull(token: UInt64, options: DmaControlFlags = []) -> Bool {
    producer.append([.null(options.permitted)], layout: .pieces, bytes: 1, token: token)
  }

  /// Fills `destination` with the eight bytes of `pattern`, least significant first, over and over
  /// from its start.
  ///
  /// - Throws: `NetDmaError.notSupported` on an engine without block fill (DMACAPABILITY bit 6).
  public mutating func enqueueFill(
    _ destination: DMASlice, pattern: UInt64, token: UInt64, options: DmaControlFlags = []
  ) throws(NetDmaError) -> Bool {
    try require(.fill, for: "a fill")
    if destination.count == 0 { return enqueueNull(token: token, options: options) }
    // A multiple of 8, so the pattern stays in phase from piece to piece.
    let limit = Int(maximumTransferSize)
    let count = (destination.count + limit - 1) / limit
    guard count < capacity else {
      throw .invalidParameter(
        call: "enqueueFill", detail: "It is longer than the whole ring takes.")
    }
    guard count <= producer.freeSlots() else { return false }
    let pieces = (0..<count).map { index in
      let offset = index * limit
      return DescriptorWords(
        size: UInt32(min(limit, destination.count - offset)),
        control: DmaControlFlags(.fill, options.permitted), source: pattern,
        destination: destination.iova &+ UInt64(offset))
    }
    return producer.append(
      pieces, layout: .pieces, bytes: UInt64(destination.count), token: token)
  }

  /// Copies between memory that is in one or two pieces on each side, with one descriptor
  /// (NET_DMA_SOURCE_PAGE_BREAK, NET_DMA_DESTINATION_PAGE_BREAK).
  ///
  /// - Throws: `NetDmaError.notSupported` on an engine without page break (DMACAPABILITY bit 0);
  ///   `.invalidParameter` when the sides differ in length or are longer than one descriptor takes.
  public mutating func enqueueCopy(
    from source: PageBrokenSlice, to destination: PageBrokenSlice, token: UInt64,
    options: DmaControlFlags = []
  ) throws(NetDmaError) -> Bool {
    let call = "enqueueCopy"
    try require(.pageBreak, for: "a page break")
    guard source.count == destination.count, source.count > 0 else {
      throw .invalidParameter(
        call: call,
        detail: "The source has \(source.count) bytes, the destination \(destination.count).")
    }
    guard source.count <= Int(maximumTransferSize) else {
      throw .invalidParameter(
        call: call, detail: "One descriptor takes at most \(maximumTransferSize) bytes.")
    }
    var control = options.permitted
    if source.second != nil { control.insert(.sourcePageBreak) }
    if destination.second != nil { control.insert(.destinationPageBreak) }
    var words = DescriptorWords(
      size: UInt32(source.count), control: control, source: source.first.iova,
      destination: destination.first.iova)
    words.word4 = source.second?.iova ?? 0
    words.word5 = destination.second?.iova ?? 0
    return producer.append([words], layout: .pieces, bytes: UInt64(source.count), token: token)
  }

  /// Sets the CPU whose cache the channel's DCA hints name (NET_DMA_OP_TYPE_CONTEXT_CHANGE).
  ///
  /// - Parameters:
  ///   - apicID: The target CPU's APIC id: 8 bits, or 32 where the engine has extended ids.
  ///   - token: Names the operation in its completion.
  /// - Throws: `NetDmaError.notSupported` on an engine without DCA (DMACAPABILITY bit 4).
  public mutating func enqueueContextChange(
    apicID: UInt32, token: UInt64
  ) throws(NetDmaError) -> Bool {
    try require(.dca, for: "a DCA context change")
    // Bit 0 selects the DCA context here; the null behind it can ask for the interrupt.
    let change = DescriptorWords(
      size: apicID, control: DmaControlFlags(.contextChange, DmaControlFlags(rawValue: 1)),
      source: 0, destination: 0)
    return producer.append([change, .null], layout: .pieces, bytes: 0, token: token)
  }

  /// Enqueues as many of `requests` as fit, in order.
  ///
  /// As `enqueueCopy`, it traps on a request whose sides differ in length, or that is longer than the
  /// whole ring takes.
  /// - Returns: How many were enqueued; the others were not touched.
  public mutating func enqueue(_ requests: Span<DMACopyRequest>) -> Int {
    for index in 0..<requests.count {
      let request = requests[index]
      guard
        enqueueCopy(
          from: request.source, to: request.destination, token: request.token,
          options: request.options)
      else { return index }
    }
    return requests.count
  }

  /// Throws unless the engine has `capability`.
  func require(_ capability: DMACapability, for operation: String) throws(NetDmaError) {
    guard core.attributes.capabilities.contains(capability) else {
      throw .notSupported(
        call: "enqueue",
        detail: "\(core.providerName) lacks \(operation) (DMACAPABILITY "
          + "\(hex(core.attributes.capabilities.rawValue))).")
    }
  }
}

/// A copy for `NetDmaChannel.enqueue`, which traps where the two sides differ in length.
public struct DMACopyRequest: Sendable {
  /// What to copy.
  public var source: DMASlice
  /// Where to; as long as the source, which is checked when it is enqueued.
  public var destination: DMASlice
  /// Names the operation in its completion.
  public var token: UInt64
  /// Fence, no-snoop and DCA flags; others are ignored.
  public var options: DmaControlFlags

  /// Describes a copy.
  public init(
    from source: DMASlice, to destination: DMASlice, token: UInt64, options: DmaControlFlags = []
  ) {
    self.source = source
    self.destination = destination
    self.token = token
    self.options = options
  }
}

/// One side of a copy with a page break: up to the end of a page, and on at the start of another.
public struct PageBrokenSlice: Hashable, Sendable {
  /// The engine's page.
  public static let pageSize = 4096
  /// The first piece.
  public let first: DMASlice
  /// The second piece, nil when the first is all.
  public let second: DMASlice?
  /// Bytes of both.
  public var count: Int { first.count + (second?.count ?? 0) }

  /// Memory in one piece.
  public init(_ slice: DMASlice) {
    first = slice
    second = nil
  }

  /// Memory in two pieces.
  ///
  /// - Throws: `NetDmaError.invalidParameter` unless `first` lies in one page and ends with it, and
  ///   `second` begins a page.
  public init(_ first: DMASlice, then second: DMASlice) throws(NetDmaError) {
    let page = UInt64(Self.pageSize)
    guard first.count >= 1, first.count <= Self.pageSize,
      (first.iova &+ UInt64(first.count)) % page == 0, second.iova % page == 0
    else {
      throw .invalidParameter(
        call: "PageBrokenSlice",
        detail: "The first piece ends a page of \(Self.pageSize) bytes, the second begins one.")
    }
    self.first = first
    self.second = second
  }
}

// SPDX-License-Identifier: Apache-2.0

import CNetDma
import Glibc

/// Reads descriptors and carries them out; lives on one engine's thread and allocates nothing per
/// descriptor.
///
/// A slot is read once into private storage and judged there, so memory that changes meanwhile cannot
/// slip past a check. Slots that lie side by side are read together, never beyond DMACOUNT: software may
/// not change a descriptor between the doorbell and its retirement. It may afterwards, so a slot
/// that was taken is read again when the chain comes back to it.
@safe struct DescriptorExecution: ~Copyable {
  let channel: Int
  let function: FunctionState
  let memory: any BusMemory
  let configuration: ModelConfiguration

  /// Slots read ahead.
  private static let readAhead = 16
  static let slotSize = 64
  /// Bytes of each work area: several operands stay in a CPU's first-level caches.
  static let areaSize = 16 * 1024

  // One allocation, owned: the slots read ahead, then four work areas. Freed by deinit.
  private let storage: UnsafeMutableRawBufferPointer
  private var aheadAddress: UInt64 = 0
  private var aheadCount = 0
  private var epoch: UInt32 = 0
  // Claims for the time of a turn.
  private var ring = DirectSpan()
  var source = DirectSpan()
  var destination = DirectSpan()

  /// The eight bytes that work area 0 repeats, nil when it holds something else.
  var filledPattern: UInt64?
  /// CRC32C of the channel, not inverted.
  var checksum: UInt32 = .max

  init(channel: Int, function: FunctionState, memory: any BusMemory) {
    self.channel = channel
    self.function = function
    self.memory = memory
    configuration = function.configuration
    unsafe storage = .allocate(
      byteCount: Self.readAhead * Self.slotSize + 4 * Self.areaSize, alignment: 64)
    unsafe storage.initializeMemory(as: UInt8.self, repeating: 0)
  }

  deinit { unsafe storage.deallocate() }

  /// Work area `index` (0 to 3), for the time of the current descriptor.
  @unsafe func area(_ index: Int) -> UnsafeMutableRawBufferPointer {
    let start = Self.readAhead * Self.slotSize + index * Self.areaSize
    return unsafe UnsafeMutableRawBufferPointer(rebasing: storage[start..<start + Self.areaSize])
  }

  // MARK: - A turn

  /// What an engine does without asking its channel: so many descriptors, about so many bytes.
  private static let turnDescriptors: UInt64 = 64
  private static let turnBytes: UInt64 = 2 << 20

  /// Fetches and carries out the descriptor of `job`, and those behind it up to one whose end somebody
  /// has to hear of.
  ///
  /// - Parameters:
  ///   - isVoid: Tells that nobody waits for it any more; between two pieces of a long descriptor it is
  ///     then left.
  ///   - goesOn: Gets the address of a descriptor that is done and that of the next one; false when
  ///     software did something since the turn began.
  mutating func run(
    _ job: EngineJob, isVoid: () -> Bool, goesOn: (_ done: UInt64, _ next: UInt64) -> Bool
  ) -> EngineOutcome {
    var job = job
    if job.epoch != epoch {
      epoch = job.epoch
      aheadCount = 0
      if job.isChainStart { checksum = .max }
    }
    var outcome = EngineOutcome(epoch: job.epoch)
    outcome.errorMask = job.errorMask
    while true {
      carryOut(job, &outcome, isVoid: isVoid)
      guard job.mayGoOn, outcome.isQuiet, job.remaining > Int(outcome.slots),
        outcome.before.descriptors < Self.turnDescriptors, outcome.before.bytes < Self.turnBytes,
        goesOn(outcome.address, outcome.next)
      else { break }
      job.advance(over: outcome)
      outcome.goOn()
      guard copyAhead(&job, &outcome, goesOn) else { break }
    }
    letGo()
    return outcome
  }

  /// Plain copies whose slots were read and whose memory is claimed: nearly every descriptor there is, so
  /// these pay for nothing that the one before them did not change.
  ///
  /// Leaves at the first that is more than that, or the last that the count covers. False when the turn is
  /// over; the outcome is then that of the last one done.
  private mutating func copyAhead(
    _ job: inout EngineJob, _ outcome: inout EngineOutcome,
    _ goesOn: (_ done: UInt64, _ next: UInt64) -> Bool
  ) -> Bool {
    // Whatever changes these ends the turn.
    guard !function.faults.hasRules, canAccessMemory, configuration.poison.isEmpty else {
      return true
    }
    while aheadCount > 0, job.address == aheadAddress, job.remaining > 1,
      outcome.before.descriptors < Self.turnDescriptors, outcome.before.bytes < Self.turnBytes
    {
      let descriptor = ahead
      let size = UInt64(descriptor.size)
      guard descriptor.control & ~DescriptorBit.plain == 0, size &- 1 < Self.pieceSize,
        size <= configuration.maximumTransfer,
        configuration.reaches(descriptor.source, count: size),
        configuration.reaches(descriptor.destination, count: size),
        let origin = unsafe source.pointer(descriptor.source, Int(size), .read),
        let target = unsafe destination.pointer(descriptor.destination, Int(size), .write)
      else { return true }
      if aheadCount == 1 { prefetchSlots(behind: job) }
      // All of both lies in what is claimed; they may overlap.
      unsafe memmove(target, origin, Int(size))
      aheadAddress &+= UInt64(Self.slotSize)
      aheadCount -= 1
      outcome.address = job.address
      outcome.link = job.address
      outcome.next = descriptor.next
      outcome.bytes = size
      guard goesOn(job.address, descriptor.next) else { return false }
      job.advance(over: outcome)
      outcome.before.add(outcome)
      outcome.bytes = 0
    }
    return true
  }

  /// The slots behind the last one that was read: they come from another CPU's cache, while the data
  /// is moved.
  private func prefetchSlots(behind job: borrowing EngineJob) {
    let count = min(job.remaining - 1, Self.readAhead)
    let start = job.address &+ UInt64(Self.slotSize)
    guard let slots = unsafe ring.pointer(start, count * Self.slotSize, .read) else { return }
    for index in 0..<count { unsafe netdma_prefetch(slots + index * Self.slotSize) }
  }

  /// The first of the slots that were read ahead; there is one.
  private var ahead: RawDescriptor {
    let start = (Self.readAhead - aheadCount) * Self.slotSize
    // See `read`.
    return unsafe RawDescriptor(
      UnsafeRawBufferPointer(rebasing: storage[start..<start + Self.slotSize]))
  }

  /// The chain ends here for now: what was read ahead, beyond a DMACOUNT that was lowered since, may
  /// change.
  mutating func rest() { aheadCount = 0 }

  /// Gives up what is claimed, before somebody is waited for.
  mutating func letGo() {
    if !ring.isEmpty { ring = DirectSpan() }
    if !source.isEmpty { source = DirectSpan() }
    if !destination.isEmpty { destination = DirectSpan() }
  }

  /// Where `count` bytes from `address` are, in what `span` claims or will claim; nil where they can only
  /// be reached by calls.
  @unsafe static func pointer(
    _ span: inout DirectSpan, _ memory: any BusMemory, _ address: UInt64, _ count: Int,
    _ direction: BusFault.Direction
  ) -> UnsafeMutableRawPointer? {
    if let pointer = unsafe span.pointer(address, count, direction) { return unsafe pointer }
    span = memory.direct(address, direction)
    return unsafe span.pointer(address, count, direction)
  }

  // MARK: - One descriptor

  private mutating func carryOut(
    _ job: EngineJob, _ outcome: inout EngineOutcome, isVoid: () -> Bool
  ) {
    var address = job.address
    if let link = job.link {
      guard let last = read(link, remaining: 1) else {
        outcome.errors = ChannelErrorBit.nextAddress
        return
      }
      address = last.next
    }
    let fetched = fetch(address, remaining: job.remaining, isChainStart: job.isChainStart)
    guard let descriptor = fetched.descriptor else {
      outcome.errors = fetched.error
      return
    }
    outcome.address = address
    outcome.link = address
    outcome.next = descriptor.next
    outcome.writesCompletion = descriptor.has(DescriptorBit.completion)
    outcome.interrupts = descriptor.has(DescriptorBit.interrupt)
    carryOut(descriptor, job, &outcome, isVoid: isVoid)
  }

  private mutating func carryOut(
    _ descriptor: RawDescriptor, _ job: EngineJob, _ outcome: inout EngineOutcome,
    isVoid: () -> Bool
  ) {
    guard let allowed = allowedControl(descriptor.operation),
      descriptor.control & 0x00ff_ffff & ~allowed == 0
    else {
      outcome.errors = ChannelErrorBit.control
      return
    }
    switch descriptor.operation {
    case Opcode.contextChange:
      contextChange(descriptor, job, &outcome)
      return
    default: break
    }
    let size = UInt64(descriptor.size)
    guard size != 0, size <= configuration.maximumTransfer else {
      outcome.errors = ChannelErrorBit.length
      return
    }
    // What follows may wait for the client's answer, and the client for what is claimed.
    if descriptor.operation != Opcode.copy { letGo() }
    switch descriptor.operation {
    case Opcode.copy where descriptor.has(DescriptorBit.null):
      _ = injectFaults(job, &outcome, source: nil, destination: nil)
    case Opcode.copy:
      copy(descriptor, size, job, &outcome, isVoid: isVoid)
    case Opcode.fill:
      fill(descriptor, size, job, &outcome, isVoid: isVoid)
    case Opcode.crc, Opcode.crcTest, Opcode.crcStore, Opcode.moveCRC, Opcode.moveCRCTest,
      Opcode.moveCRCStore:
      checksum(descriptor, size, job, &outcome, isVoid: isVoid)
    default:
      parity(descriptor, size, job, &outcome, isVoid: isVoid)
    }
  }

  /// The control bits that mean something with an operation; nil when the engine lacks it.
  ///
  /// Reserved bits must be zero.
  private func allowedControl(_ operation: UInt8) -> UInt32? {
    // int_en, completion, fence, bundle and destination snoop belong to every operation.
    let common: UInt32 =
      DescriptorBit.interrupt | DescriptorBit.destinationNoSnoop | DescriptorBit.completion
      | DescriptorBit.fence | DescriptorBit.bundle
    let sided = DescriptorBit.sourceNoSnoop | DescriptorBit.destinationDCA | DescriptorBit.hint
    let sourceCount = DescriptorBit.sourceCountMask << DescriptorBit.sourceCountShift
    let results = DescriptorBit.pDisable | DescriptorBit.qDisable
    switch operation {
    case Opcode.copy:
      let breaks = DescriptorBit.sourcePageBreak | DescriptorBit.destinationPageBreak
      return common | sided | DescriptorBit.null
        | (configuration.has(CapabilityBit.pageBreak) ? breaks : 0)
    case Opcode.fill where configuration.has(CapabilityBit.fill):
      return common
        | (configuration.has(CapabilityBit.pageBreak) ? DescriptorBit.destinationPageBreak : 0)
    case Opcode.contextChange where configuration.has(CapabilityBit.dca):
      return common
    case Opcode.crc where configuration.has(CapabilityBit.crc),
      Opcode.crcTest where configuration.has(CapabilityBit.crc),
      Opcode.crcStore where configuration.has(CapabilityBit.crc),
      Opcode.moveCRC where configuration.has(CapabilityBit.moveCRC),
      Opcode.moveCRCTest where configuration.has(CapabilityBit.moveCRC),
      Opcode.moveCRCStore where configuration.has(CapabilityBit.moveCRC):
      return common | sided | DescriptorBit.useSeed | DescriptorBit.crcBehindData
    case Opcode.xor where configuration.has(CapabilityBit.xor),
      Opcode.xorValidate where configuration.has(CapabilityBit.xor):
      return common | sided | sourceCount
    case Opcode.pq where configuration.has(CapabilityBit.pq),
      Opcode.pqValidate where configuration.has(CapabilityBit.pq),
      Opcode.pq16 where configuration.has(CapabilityBit.raid16Sources),
      Opcode.pq16Validate where configuration.has(CapabilityBit.raid16Sources):
      let writesBack = configuration.has(CapabilityBit.descriptorWriteBack)
      return common | sided | sourceCount | results
        | (writesBack ? DescriptorBit.writeBack | DescriptorBit.prl : 0)
    case Opcode.pqUpdate where configuration.has(CapabilityBit.pq):
      return common | sided | sourceCount | results
        | 0xff << DescriptorBit.coefficientShift
    default:
      return nil
    }
  }

  /// Sets the CPU that DCA writes are meant for; control bit 0 is part of the operation here, not
  /// an interrupt.
  private func contextChange(
    _ descriptor: RawDescriptor, _ job: EngineJob, _ outcome: inout EngineOutcome
  ) {
    outcome.interrupts = false
    guard injectFaults(job, &outcome, source: nil, destination: nil) else { return }
    if descriptor.has(DescriptorBit.interrupt) {
      outcome.dcaTarget = UInt16(truncatingIfNeeded: descriptor.size)
    }
  }

  /// Asks the fault plan.
  ///
  /// False when the descriptor is not to be carried out.
  func injectFaults(
    _ job: EngineJob, _ outcome: inout EngineOutcome, source: TransferSide?,
    destination: TransferSide?
  ) -> Bool {
    guard function.faults.hasRules else { return true }
    function.faults.apply(
      to: &outcome, channel: channel, index: job.index,
      reads: { source?.touches($0) ?? false }, writes: { destination?.touches($0) ?? false })
    return outcome.errors == 0 && !outcome.isHung
  }

  // MARK: - Reading slots

  /// The slot at `address`, or the CHANERR bit that says what is wrong with the address.
  mutating func fetch(
    _ address: UInt64, remaining: Int, isChainStart: Bool
  ) -> (descriptor: RawDescriptor?, error: UInt32) {
    guard address & 63 == 0 else {
      return (nil, isChainStart ? ChannelErrorBit.chainAddress : ChannelErrorBit.descriptor)
    }
    guard let descriptor = read(address, remaining: remaining) else {
      return (nil, isChainStart ? ChannelErrorBit.chainAddress : ChannelErrorBit.nextAddress)
    }
    return (descriptor, 0)
  }

  /// Reads a slot, with up to `remaining` slots in all that lie behind it in the same page.
  private mutating func read(_ address: UInt64, remaining: Int) -> RawDescriptor? {
    let position = address &- aheadAddress
    if position < UInt64(aheadCount * Self.slotSize), address & 63 == 0 {
      return take(Int(position), of: aheadCount)
    }
    aheadCount = 0
    guard configuration.reaches(address, count: UInt64(Self.slotSize)), canAccessMemory else {
      return nil
    }
    let leftInPage = Int((4096 - address & 4095) / UInt64(Self.slotSize))
    let count = max(1, min(remaining, Self.readAhead, leftInPage))
    // The last slots of the storage, which this value owns: so the slot that is `left` slots before the
    // end of what was read is as far from the end of the storage.
    let bytes = count * Self.slotSize
    let slots = unsafe UnsafeMutableRawBufferPointer(
      rebasing: storage[(Self.readAhead * Self.slotSize - bytes)..<Self.readAhead * Self.slotSize])
    if let origin = unsafe Self.pointer(&ring, memory, address, bytes, .read) {
      // All of it lies in what is claimed.
      unsafe slots.copyMemory(from: UnsafeRawBufferPointer(start: origin, count: bytes))
    } else {
      letGo()
      do throws(BusFault) {
        try unsafe memory.read(address, into: slots)
      } catch {
        return nil
      }
    }
    aheadAddress = address
    return take(0, of: count)
  }

  /// Takes the slot at `offset` of `count` slots that were read; it and those before it are forgotten.
  private mutating func take(_ offset: Int, of count: Int) -> RawDescriptor {
    aheadCount = count - offset / Self.slotSize
    let descriptor = ahead
    aheadAddress &+= UInt64(offset + Self.slotSize)
    aheadCount -= 1
    return descriptor
  }

  /// Without bus mastering, or once removed, the function reaches no memory.
  var canAccessMemory: Bool { function.isBusMaster && !function.isRemoved }
}

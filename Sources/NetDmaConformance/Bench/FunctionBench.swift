// SPDX-License-Identifier: Apache-2.0

import Glibc
import Logging
import NetDmaVFIO

/// The function under test: its registers, configuration space and memory, and nothing that a driver
/// would add.
///
/// One thread uses it.
final class FunctionBench {
  let transport: any DeviceTransport
  let options: ConformanceOptions
  let facts: DeviceFacts
  /// Ring, completion words and data of the rules.
  let memory: BenchMemory
  /// Every channel of the function; one stand-in where the function says that it has none.
  private(set) var channels: [ChannelBench] = []
  private let space: DMAAddressSpace
  /// Vectors that are connected now.
  var vectors: [BenchVector] = []

  /// Every engine of the field drives at least 40 bits of address (FreeBSD's least limit).
  private static let addressWidth = 40
  private static let memorySize = 1 << 20

  init(
    _ transport: any DeviceTransport, options: ConformanceOptions, logger: Logger
  ) throws(VFIOError) {
    self.transport = transport
    self.options = options
    // Without memory decoding BAR0 does not answer.
    let command = try transport.read(.configuration, at: 4, width: .word)
    if command & 2 == 0 {
      try transport.write(.configuration, at: 4, width: .word, value: command | 2)
    }
    facts = try DeviceFacts(transport)
    space = DMAAddressSpace(transport, addressWidth: Self.addressWidth, logger: logger)
    memory = try BenchMemory(space, count: Self.memorySize)
    channels = (0..<max(1, facts.channelCount)).map { ChannelBench(self, index: $0) }
  }

  /// More memory, for one rule.
  func allocate(
    _ count: Int, permissions: DMAPermissions = .readWrite
  ) throws(Finding) -> BenchMemory {
    try reaching { () throws(VFIOError) in
      try BenchMemory(space, count: count, permissions: permissions)
    }
  }

  // MARK: - Registers

  func read(_ register: GeneralRegister) throws(Finding) -> UInt64 {
    try read(at: register.offset, register.width)
  }

  func write(_ register: GeneralRegister, _ value: UInt64) throws(Finding) {
    try write(at: register.offset, register.width, value)
  }

  /// Reads BAR0 at any offset and width.
  func read(at offset: UInt64, _ width: AccessWidth) throws(Finding) -> UInt64 {
    try reaching { () throws(VFIOError) in
      try transport.read(.bar0, at: offset, width: width)
    }
  }

  /// Writes BAR0 at any offset and width.
  func write(at offset: UInt64, _ width: AccessWidth, _ value: UInt64) throws(Finding) {
    try reaching { () throws(VFIOError) in
      try transport.write(.bar0, at: offset, width: width, value: value)
    }
  }

  // MARK: - Configuration space

  func readConfiguration(_ offset: UInt64, _ width: AccessWidth) throws(Finding) -> UInt64 {
    try reaching { () throws(VFIOError) in
      try transport.read(.configuration, at: offset, width: width)
    }
  }

  func writeConfiguration(
    _ offset: UInt64, _ width: AccessWidth, _ value: UInt64
  ) throws(Finding) {
    try reaching { () throws(VFIOError) in
      try transport.write(.configuration, at: offset, width: width, value: value)
    }
  }

  static let commandRegister: UInt64 = 0x04
  static let memorySpace: UInt64 = 0x2
  static let busMaster: UInt64 = 0x4

  /// COMMAND: memory decoding on, bus mastering as said.
  func setBusMaster(_ isOn: Bool) throws(Finding) {
    let old = try readConfiguration(Self.commandRegister, .word)
    let new = (old | Self.memorySpace) & ~Self.busMaster | (isOn ? Self.busMaster : 0)
    if new != old { try writeConfiguration(Self.commandRegister, .word, new) }
  }

  static let channelErrorInt: UInt64 = 0x180

  /// CHANERR_INT, the mirror of the channels' errors; nil where extended space cannot be reached.
  func errorMirror() throws(Finding) -> UInt64? {
    try readExtended(Self.channelErrorInt)
  }

  /// Acknowledges what CHANERR_INT shows.
  func clearErrorMirror() throws(Finding) {
    if let bits = try errorMirror(), bits != 0 {
      try writeConfiguration(Self.channelErrorInt, .dword, bits)
    }
  }

  /// A register behind the first 256 bytes; nil where it cannot be reached.
  func readExtended(_ offset: UInt64) throws(Finding) -> UInt64? {
    do throws(VFIOError) {
      guard try transport.regionInfo(.configuration).size >= offset + 4 else { return nil }
      let value = try transport.read(.configuration, at: offset, width: .dword)
      return value == 0xffff_ffff ? nil : value
    } catch .invalidAccess, .refused {
      return nil
    } catch {
      throw .transport(error)
    }
  }

  // MARK: - Life

  /// Before a rule: bus mastering on, no interrupt connected or enabled.
  func prepare() throws(Finding) {
    try setBusMaster(true)
    try disconnectInterrupts()
    try write(.intrctrl, 0)
    if try read(.intrdelay) & 0x3fff != 0 { try write(.intrdelay, 0) }
    // Reading clears what a former rule left.
    _ = try read(.attnstatus)
  }

  /// A reset of the function; interrupts and bus mastering are off afterwards.
  func resetFunction() throws(Finding) {
    try reaching { () throws(VFIOError) in
      try transport.reset()
    }
    vectors = []
    try setBusMaster(false)
  }

  /// Leaves the device as it is to be found: channels halted, nothing enabled, no bus mastering.
  ///
  /// Each step is tried even where one before it failed; the first error is thrown.
  func leave() throws(VFIOError) {
    var first: VFIOError?
    func attempt(_ body: () throws(Finding) -> Void) {
      do throws(Finding) {
        try body()
      } catch {
        if case .transport(let error) = error, first == nil { first = error }
      }
    }
    if facts.hasVersion3Layout {
      for channel in channels where facts.channelCount > 0 {
        attempt { () throws(Finding) in
          try channel.halt()
          try channel.write(.chancmp, 0)
          try channel.write(.chanctrl, 0)
        }
      }
      attempt { () throws(Finding) in
        try write(.intrctrl, 0)
        if try read(.intrdelay) & 0x3fff != 0 { try write(.intrdelay, 0) }
      }
    }
    attempt { () throws(Finding) in try disconnectInterrupts() }
    if facts.supportsReset {
      attempt { () throws(Finding) in
        try reaching { () throws(VFIOError) in
          try transport.reset()
        }
      }
    }
    attempt { () throws(Finding) in try setBusMaster(false) }
    if let first { throw first }
  }

  /// Lets the device do what it should not do.
  func quiet() {
    let parts = options.quietTime.components
    let micros = parts.seconds * 1_000_000 + parts.attoseconds / 1_000_000_000_000
    _ = usleep(UInt32(clamping: micros))
  }
}

// SPDX-License-Identifier: Apache-2.0

import NetDmaMock
import NetDmaVFIO
import Testing

/// One mistake that a device could make, and the rule that is there to find it.
struct Mutation: Sendable, CustomTestStringConvertible {
  /// The mistake in one sentence.
  let mistake: String
  /// The rule that has to find it.
  let rule: String
  let configuration: ModelConfiguration
  let registers: RegisterMutation
  let memory: MemoryMutation?

  var testDescription: String { mistake }

  init(
    _ mistake: String, foundBy rule: String,
    on configuration: ModelConfiguration = ModelConfiguration(timing: .fast),
    registers: RegisterMutation = RegisterMutation(), memory: MemoryMutation? = nil
  ) {
    self.mistake = mistake
    self.rule = rule
    self.configuration = configuration
    self.registers = registers
    self.memory = memory
  }

  /// The device with the mistake.
  func makeTransport() throws -> MutantTransport {
    let memory = memory
    let real = try MockTransport(profile: DeviceProfile(model: configuration), name: "mutant") {
      inner in
      memory.map { MutantMemory(inner, $0) } ?? inner
    }
    return try MutantTransport(real, registers)
  }

  static let all: [Mutation] =
    registerMistakes + stateMistakes + countMistakes + errorMistakes + interruptMistakes
    + resetMistakes + engineMistakes

  /// Two channels, each with a vector.
  static let twoChannels = ModelConfiguration(channelCount: 2, timing: .fast)
  /// Before version 3.3, where CHANERR_INT matters.
  static let oldVersion = ModelConfiguration(
    deviceID: 0x3c20, cbVersion: 0x32, addressWidth: 46, timing: .fast)
  /// With XOR and P+Q.
  static let raid = ModelConfiguration(
    deviceID: 0x0b00, cbVersion: 0x34, capabilities: 0x341, timing: .fast)
}

/// Offsets in a channel's window.
enum Window {
  static let control: UInt64 = 0x00
  static let command: UInt64 = 0x04
  static let count: UInt64 = 0x06
  static let status: UInt64 = 0x08
  static let chain: UInt64 = 0x10
  static let completion: UInt64 = 0x18
  static let error: UInt64 = 0x28
  static let errorMask: UInt64 = 0x2c
}

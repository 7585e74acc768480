// SPDX-License-Identifier: Apache-2.0

import FuzzSupport
import Glibc
import NetDmaMock
import NetDmaVFIO

/// The register and descriptor engine with memory that the input fills.
///
/// An input is a row of operations: register accesses of any width and offset, descriptors written
/// to memory, memory that comes and goes, pauses. What is expected: no crash, no access outside what is
/// mapped, and a function that is as new after a reset.
@main
struct FuzzEngine {
  static func main() {
    exit(
      runFuzzer { data, size in
        FuzzEngine.rig.run(FuzzInput(data, size))
        return 0
      })
  }

  static let rig = Rig()
}

/// One model for all inputs, reset before each.
final class Rig: Sendable {
  private final class Line: InterruptLine {
    func signal(vector: Int) {}
  }

  /// Twice the memory that is mapped, so that what lies behind it is ours, and known.
  private struct Guarded: @unchecked Sendable {
    // @unchecked: the bytes are a device's memory, which anybody may touch at any time.
    let base: UnsafeMutableRawPointer
    init() {
      base = .allocate(byteCount: 2 * Rig.size, alignment: 4096)
      base.initializeMemory(as: UInt8.self, repeating: 0, count: 2 * Rig.size)
    }
  }

  static let size = 16384
  static let iova: UInt64 = 0x10000
  private let memory = LocalMemory()
  private let line = Line()
  private let guarded = Guarded()
  private let models: [IOATModel]

  init() {
    let memory = memory
    let line = line
    do {
      models = try [
        ModelConfiguration(channelCount: 2, timing: .fast),
        ModelConfiguration(
          deviceID: 0x3c20, cbVersion: 0x32, capabilities: 0x3ff, addressWidth: 46, timing: .fast),
        ModelConfiguration(
          deviceID: 0x0b00, cbVersion: 0x34, channelCount: 2, capabilities: .max, timing: .fast),
      ].map { try IOATModel(configuration: $0, memory: memory, interrupts: line) }
      try memory.map(iova: Self.iova, size: UInt64(Self.size), pointer: guarded.base)
    } catch { fatalError("\(error)") }
  }

  func run(_ input: FuzzInput) {
    var input = input
    let model = models[Int(input.u8()) % models.count]
    model.isBusMaster = true
    memset(guarded.base, 0, Self.size)
    var window = 0x80
    for _ in 0..<200 where !input.isAtEnd {
      switch input.u8() % 8 {
      case 0, 1:
        model.writeRegister(
          window + Int(input.u8() & 0x7f), width: Int(input.u8() & 7) + 1, value: input.u64())
      case 2:
        _ = model.readRegister(Int(input.u16() & 0x3fff), width: Int(input.u8() & 7) + 1)
      case 3: writeDescriptor(&input)
      case 4:
        // Completion word, chain and count in one, as drivers do it.
        model.writeRegister(window + 0x18, width: 8, value: address(&input) & ~7)
        model.writeRegister(window + 0x10, width: 8, value: slot(input.u8()))
        model.writeRegister(window + 6, width: 2, value: UInt64(input.u8() & 0x1f))
      case 5: waitForEngine(model, window)
      case 6: window = 0x80 + 0x80 * Int(input.u8() & 1)
      default:
        model.writeRegister(
          Int(input.u16() & 0x3fff), width: Int(input.u8() & 7) + 1, value: input.u64())
      }
    }
    waitForEngine(model, 0x80)
    model.reset()
    guard model.readRegister(0x88, width: 8) & 7 == 3, model.readRegister(0xa8, width: 4) == 0
    else {
      fatalError("the function is not as new after a reset")
    }
    for offset in stride(from: Self.size, to: 2 * Self.size, by: 8) {
      guard guarded.base.load(fromByteOffset: offset, as: UInt64.self) == 0 else {
        fatalError("memory was written that is not mapped")
      }
    }
  }

  private func slot(_ index: UInt8) -> UInt64 { Self.iova + UInt64(index & 63) * 64 }

  /// Mostly inside the memory, sometimes anywhere.
  private func address(_ input: inout FuzzInput) -> UInt64 {
    let kind = input.u8()
    if kind & 0xf0 == 0xf0 { return input.u64() }
    return Self.iova + UInt64(input.u16()) % UInt64(Self.size + 64)
  }

  /// A descriptor with plausible addresses, then whatever the input adds over it.
  private func writeDescriptor(_ input: inout FuzzInput) {
    let index = Int(input.u8() & 63)
    let target = guarded.base + index * 64
    var words = [UInt64](repeating: 0, count: 8)
    let control = UInt64(input.u8()) | UInt64(input.u8()) << 8 | UInt64(input.u8()) << 24
    words[0] = UInt64(input.u16()) & 0x3fff | control << 32
    for word in 1..<8 { words[word] = address(&input) }
    words[3] = slot(input.u8())
    for (word, value) in words.enumerated() {
      target.storeBytes(of: value, toByteOffset: word * 8, as: UInt64.self)
    }
    for byte in input.take(Int(input.u8() & 63)) {
      target.storeBytes(of: byte, toByteOffset: Int(input.u8() & 63), as: UInt8.self)
    }
  }

  /// Until the channel does not run any more, or has had its chance.
  private func waitForEngine(_ model: IOATModel, _ window: Int) {
    let limit = Deadline(after: .milliseconds(5))
    while model.readRegister(window + 8, width: 8) & 7 == 0, !limit.hasPassed { sched_yield() }
  }
}

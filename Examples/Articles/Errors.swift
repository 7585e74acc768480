// SPDX-License-Identifier: Apache-2.0

// Article "Errors and recovery".
import Logging
import NetDmaMock
import NetDmaVFIO

/// A copy from memory that is gone fails alone; the next one works.
func errors(logger: Logger) async throws {
  var quiet = logger
  quiet.logLevel = .error
  let engine = try DMAEngine(transport: MockTransport(), logger: quiet)
  let source = try engine.allocate(byteCount: 4096)
  let target = try engine.allocate(byteCount: 4096)
  let gone = try goneMemory(engine)

  do {
    try await engine.copy(from: gone, to: target.slice)
  } catch DMAOperationError.channelError(_, let errors, _, _, let length) {
    print("a copy of \(length) bytes failed: \(errors)")
  }
  try await engine.copy(from: source, to: target)
  print("the next one did not, after \(engine.statistics.channels.resets) reset")

  try engine.close()
  do {
    try await engine.copy(from: source, to: target)
  } catch let error as NetDmaError {
    print("what: \(error.what)\nwhy: \(error.why)\nremedy: \(error.remedy)")
  }
}

/// The device's address of a buffer that has ended.
private func goneMemory(_ engine: DMAEngine) throws -> DMASlice {
  let buffer = try engine.allocate(byteCount: 4096)
  return buffer.slice
}

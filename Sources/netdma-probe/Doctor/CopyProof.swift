// SPDX-License-Identifier: Apache-2.0

import Logging
import NetDmaVFIO

/// A few copies that show that everything works together.
struct CopyProof: Encodable, Equatable {
  let transport: String
  let cbVersion: String
  let copies: Int
  let bytes: UInt64
  let interrupts: UInt64

  /// Makes them, by interrupt, and compares every byte.
  ///
  /// - Throws: what opening the device or copying throws, `VerifyFailure`.
  static func run(on transport: any DeviceTransport, logger: Logger) throws -> CopyProof {
    var options = DMAEngine.Options()
    options.ringCapacity = 64
    let engine = try DMAEngine(transport: transport, options: options, logger: logger)
    // Small enough for the least limit of locked memory that doctor accepts.
    let plan = CopyVerifier.Plan(
      count: 16, maximumSize: 16384, seed: UInt64.random(in: 0...UInt64(UInt32.max)), depth: 4)
    let summary = try namingDeviceLoss(of: transport) {
      try CopyVerifier(engine: engine, plan: plan).run(isStopped: { false }, progress: { _ in })
    }
    let report = VerifyReport(
      engine: engine, plan: plan, summary: summary, interrupted: false)
    try engine.close()
    if let failure = report.failure { throw failure }
    return CopyProof(
      transport: report.transport, cbVersion: report.cbVersion, copies: report.copies,
      bytes: report.bytes, interrupts: report.interrupts)
  }
}

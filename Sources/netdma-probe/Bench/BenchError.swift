// SPDX-License-Identifier: Apache-2.0

import NetDmaVFIO

/// Why a benchmark cannot be made, or ended.
enum BenchError: DiagnosticError {
  /// The function cannot interrupt.
  case noInterrupt(device: String)
  /// The function cannot fill.
  case noFill(device: String)
  /// What would be in flight takes more descriptors than the largest ring has.
  case depthBeyondRing(point: BenchPoint, descriptors: Int, limit: Int)
  /// An operation ended with an error.
  case operationFailed(point: BenchPoint, error: DMAOperationError)
  /// Nothing was done, though nothing failed either.
  case nothingDone(point: BenchPoint)
  /// The measured channels gave bytes other than those that were to be copied.
  case mismatches(device: String, count: Int, first: String)

  var what: String {
    switch self {
    case .noInterrupt(let device): "\(device) cannot interrupt."
    case .noFill(let device): "\(device) cannot fill memory."
    case .depthBeyondRing(let point, let descriptors, _):
      "\(point.depth) operations of \(byteCount(UInt64(point.size))) in flight take "
        + "\(descriptors) descriptors."
    case .operationFailed(let point, _): "A \(point.words(without: [.batch])) failed."
    case .nothingDone(let point): "No \(point.words(without: [.batch])) was made."
    case .mismatches(let device, let count, _):
      "\(device) did not copy correctly: \(count) operation\(count == 1 ? "" : "s") left wrong "
        + "bytes."
    }
  }

  var why: String {
    switch self {
    case .noInterrupt: "It offers neither MSI-X, nor MSI, nor a pin."
    case .noFill: "Bit 6 of its DMACAPABILITY is clear."
    case .depthBeyondRing(_, _, let limit):
      "A ring has at most \(limit), and what one descriptor may transfer is limited (XFERCAP)."
    case .operationFailed(_, let error): "\(error)"
    case .nothingDone: "The channel took no operation."
    case .mismatches(_, _, let first): first
    }
  }

  var remedy: String {
    switch self {
    case .noInterrupt: "Poll for completions: --mode poll."
    case .noFill: "Leave it out: --ops copy."
    case .depthBeyondRing: "Say fewer with --depths, or smaller ones with --sizes."
    case .operationFailed, .nothingDone:
      "Run netdma-probe verify on the device, and look at dmesg for IOMMU faults."
    case .mismatches:
      "Run netdma-probe verify on the device; it tells each copy and each byte."
    }
  }
}

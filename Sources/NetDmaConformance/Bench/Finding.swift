// SPDX-License-Identifier: Apache-2.0

import NetDmaVFIO

/// Why a check ended before its end.
enum Finding: Error {
  /// The device broke the rule; a sentence says what was seen and what was expected.
  case violated(String)
  /// The rule means nothing for this device.
  case notApplicable(String)
  /// The device could not be reached.
  case transport(VFIOError)
}

/// Passes what `body` returns, and its error as a finding.
func reaching<R>(_ body: () throws(VFIOError) -> R) throws(Finding) -> R {
  do throws(VFIOError) {
    return try body()
  } catch {
    throw .transport(error)
  }
}

/// "0x1f".
func hex(_ value: some BinaryInteger) -> String { "0x" + String(value, radix: 16) }

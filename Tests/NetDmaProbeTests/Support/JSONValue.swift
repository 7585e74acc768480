// SPDX-License-Identifier: Apache-2.0

import Foundation

/// The one object that a command with --json prints.
func jsonObject(_ result: ProbeResult) throws -> [String: Any] {
  guard
    let object = try JSONSerialization.jsonObject(with: Data(result.output.utf8)) as? [String: Any]
  else { throw ProbeFailure(description: "no JSON object: \(result.output) \(result.errors)") }
  return object
}

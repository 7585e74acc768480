// SPDX-License-Identifier: Apache-2.0

/// A text that says nothing of how often what happened differs from run to run, be it once.
func withoutNumbers(_ text: String) -> String {
  text.replacing(/[0-9]+(\.[0-9]+)?/, with: "N")
    .replacing(/N (interrupt|ISR call|DPC call|doorbell)\b/) { "N \($0.output.1)s" }
}

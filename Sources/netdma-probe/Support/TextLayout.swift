// SPDX-License-Identifier: Apache-2.0

/// `text` with blanks up to `width` columns, and one at least.
func pad(_ text: String, _ width: Int) -> String {
  text + String(repeating: " ", count: max(1, width - text.count))
}

/// Words on as few lines of at most `width` columns as possible; a longer word has its own line.
func fold(_ words: [String], width: Int) -> [String] {
  var lines: [String] = []
  for word in words {
    if let last = lines.last, last.count + 1 + word.count <= width {
      lines[lines.count - 1] = last + " " + word
    } else {
      lines.append(word)
    }
  }
  return lines
}

/// "16 KiB" for a number of bytes.
func byteCount(_ bytes: UInt64) -> String {
  for (shift, unit) in [(30, "GiB"), (20, "MiB"), (10, "KiB")] as [(UInt64, String)]
  where bytes >= 1 << shift && bytes & ((1 << shift) - 1) == 0 {
    return "\(bytes >> shift) \(unit)"
  }
  return "\(bytes) bytes"
}

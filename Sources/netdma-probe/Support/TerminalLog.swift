// SPDX-License-Identifier: Apache-2.0

import Glibc
import Logging
import NetDmaVFIO

/// Log lines as a person at a terminal reads them: what happened first, its details behind it.
///
///     debug: mapping memory for the device (bytes=4096, device=0000:00:04.0, iova=0x1000)
struct TerminalLog: LogHandler {
  var logLevel = Logger.Level.warning
  var metadata: Logger.Metadata = [:]
  private let start: UInt64
  /// Whether each line begins with the seconds since the start: for logs of many lines.
  private let showsTime: Bool

  init(showsTime: Bool) {
    start = Deadline.now()
    self.showsTime = showsTime
  }

  subscript(metadataKey key: String) -> Logger.Metadata.Value? {
    get { metadata[key] }
    set { metadata[key] = newValue }
  }

  func log(event: LogEvent) {
    var text = showsTime ? "[\(seconds)] " : ""
    text += "\(event.level): \(event.message)"
    let details = metadata.merging(event.metadata ?? [:]) { $1 }
    if !details.isEmpty {
      let words = details.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }
      text += " (\(words.joined(separator: ", ")))"
    }
    text += "\n"
    // One write, so that lines of several threads do not mix. The bytes live for the call; nothing can
    // be done when standard error takes none.
    text.withUTF8 { bytes in _ = unsafe Glibc.write(STDERR_FILENO, bytes.baseAddress, bytes.count) }
  }

  /// "12.345" since the logger was made.
  private var seconds: String {
    let milliseconds = (Deadline.now() &- start) / 1_000_000
    let rest = String(milliseconds % 1000)
    return "\(milliseconds / 1000).\(String(repeating: "0", count: 3 - rest.count))\(rest)"
  }
}

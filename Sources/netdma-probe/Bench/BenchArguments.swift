// SPDX-License-Identifier: Apache-2.0

/// The one thing that an option parser cannot say: `bench --json`, and `bench --json FILE`.
enum BenchArguments {
  /// A command line whose `--json FILE` became `--json-to FILE`.
  ///
  /// `bench` takes no operands, so a word after `--json` that is no option can only be the file.
  static func withJSONFile(_ arguments: [String]) -> [String] {
    guard arguments.first == "bench" else { return arguments }
    var result: [String] = []
    for (index, word) in arguments.enumerated() {
      let next = index + 1 < arguments.count ? arguments[index + 1] : "-x"
      if word == "--json", next == "-" || !next.hasPrefix("-") {
        result.append("--json-to")
      } else if word.hasPrefix("--json=") {
        result += ["--json-to", String(word.dropFirst("--json=".count))]
      } else {
        result.append(word)
      }
    }
    return result
  }
}

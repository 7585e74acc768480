// SPDX-License-Identifier: Apache-2.0

import Foundation
import Testing

extension GuestTests {
  /// What one thread of Linux's dmatest wrote to the kernel's log when it ended.
  private struct ThreadSummary {
    let channel: String
    let operation: String
    let tests: Int
    let failures: Int

    /// Those in a guest's log.
    static func all(in log: String) -> [ThreadSummary] {
      let pattern =
        /dmatest: (?<channel>dma\d+chan\d+)-(?<operation>[a-z]+)\d+: summary (?<tests>\d+) tests, (?<failures>\d+) failures/
      return log.matches(of: pattern).map { match in
        ThreadSummary(
          channel: String(match.channel), operation: String(match.operation),
          tests: Int(match.tests) ?? 0, failures: Int(match.failures) ?? -1)
      }
    }
  }

  /// The virtual IOMMU costs each test many messages, so that most are run without it.
  @Test(
    "Linux's dmatest finds no failure in copies, XOR and P+Q, with threads and channels at once",
    arguments: [(iommu: "off", threads: 3, iterations: 1000), ("on", 2, 60)])
  func dmatest(iommu: String, threads: Int, iterations: Int) throws {
    let run = try Guest(
      scenario: "dmatest",
      models: [
        .named("skylake", functions: 2), .named("ice-lake", "--raid", functions: 2),
        Model(options: ["--model", "nehalem", "--raid", "--channels", "2"]),
      ],
      environment: ["THREADS": "\(threads)", "ITERATIONS": "\(iterations)"],
      options: ["--kernel", "test", "--iommu", iommu]
    ).run()
    let summaries = ThreadSummary.all(in: run.log)
    for (operation, channels) in ["copy": 6, "xor": 4, "pq": 4] {
      let threadsOfIt = summaries.filter { $0.operation == operation }
      #expect(Set(threadsOfIt.map(\.channel)).count == channels, "\(operation)")
      #expect(threadsOfIt.count == channels * threads, "\(operation)")
    }
    for summary in summaries {
      #expect(summary.tests == iterations && summary.failures == 0, "\(summary)")
    }
    print(
      "dmatest, IOMMU \(iommu):", summaries.map(\.tests).reduce(0, +), "tests by",
      summaries.count, "threads,", summaries.map(\.failures).reduce(0, +), "failures")
  }
}

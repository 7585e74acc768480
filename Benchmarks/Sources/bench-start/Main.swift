// SPDX-License-Identifier: Apache-2.0

import CFloor
import Logging
import NetDmaMock
import NetDmaVFIO

/// One copy on the mock, as a program's first: prints CLOCK_MONOTONIC in nanoseconds when it is done.
@main
struct BenchStart {
  static func main() async throws {
    let engine = try DMAEngine(transport: MockTransport(), logger: Logger(label: "bench"))
    let source = try engine.allocate(byteCount: 4096)
    let target = try engine.allocate(byteCount: 4096)
    try await engine.copy(from: source, to: target)
    print(bench_now())
    try engine.close()
  }
}

// SPDX-License-Identifier: Apache-2.0

import BenchSupport
import CFloor
import NetDmaVFIO
import Synchronization

/// Runs `body` on a thread of its own on `cpu`; what it starts begins there, too.
func onThread<Result: Sendable>(
  _ cpu: Int, _ body: @escaping @Sendable () throws -> Result
) throws -> Result {
  let answer = Answer<Result>()
  let thread = try PinnedThread(name: "bench", cpu: cpu) { _ in
    answer.value.withLock { $0 = Swift.Result { try body() } }
  }
  thread.join()
  guard let result = answer.value.withLock({ $0 }) else { throw BenchError("no result") }
  return try result.get()
}

private final class Answer<Value: Sendable>: Sendable {
  let value = Mutex<Result<Value, any Error>?>(nil)
}

/// Runs `body` on `cpu`, then goes back: the threads and programs that it starts stay there.
func onCPU<Result>(
  _ cpu: Int, from own: Int, _ body: () throws -> Result
) rethrows -> Result {
  bench_pin(CInt(cpu))
  defer { bench_pin(CInt(own)) }
  return try body()
}

/// Runs `body` ahead of everything else on its CPU, where that is permitted: neighbours on the machine then
/// take no part in what is measured.
///
/// Threads and programs that it starts inherit that.
func inRealTime<Result>(ahead: CInt = 0, _ body: () throws -> Result) rethrows -> Result {
  bench_fifo(10 + ahead)
  defer { bench_fifo(0) }
  return try body()
}

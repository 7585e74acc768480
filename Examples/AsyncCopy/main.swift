// SPDX-License-Identifier: Apache-2.0

// Copies on an engine that many tasks share; each waits for its own copy only.
import Logging
import NetDmaMock
import NetDmaVFIO

let engine = try DMAEngine(transport: MockTransport(), logger: Logger(label: "example"))
try await withThrowingTaskGroup(of: Void.self) { group in
  for task in 0..<8 {
    group.addTask {
      var source = try engine.allocate(byteCount: 1 << 20)
      let target = try engine.allocate(byteCount: 1 << 20)
      source.withMutableBytes { $0.storeBytes(of: task, toByteOffset: 4096, as: Int.self) }
      try await engine.copy(from: source, 4096..<8192, to: target, at: 512)
      let found = target.withBytes { $0.unsafeLoad(fromByteOffset: 512, as: Int.self) }
      print("task \(task) found \(found)")
    }
  }
  try await group.waitForAll()
}
try engine.close()

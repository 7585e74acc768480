// SPDX-License-Identifier: Apache-2.0

import NetDmaMock
import NetDmaVFIO
import Testing

@Suite("One copy at the level of registers")
struct ModelSmokeTests {
  @Test("a copy moves its bytes, writes the completion word and interrupts")
  func copy() throws {
    let bench = try ModelBench()
    let event = try EventFD()
    try bench.transport.enableInterrupts(.msix, eventFDs: [event.rawValue])
    bench.model.writeRegister(0x03, width: 1, value: 0x09)
    let pattern = (0..<3000).map { UInt8(truncatingIfNeeded: $0 &* 7 &+ 3) }
    bench.put(pattern, at: ModelBench.data + 1)
    #expect(bench.state() == 3)
    bench.descriptor(
      0, control: 0x9, size: 3000, source: ModelBench.data + 1,
      destination: ModelBench.data + 0x8003)
    bench.start()
    #expect(bench.status() == 4)
    bench.ring(1)
    bench.waitForState(1)
    #expect(bench.word == ModelBench.base | 1)
    #expect(bench.status() == ModelBench.base | 1)
    #expect(bench.bytes(ModelBench.data + 0x8003, 3000) == pattern)
    #expect(bench.bytes(ModelBench.data + 0x8002, 1) == [0])
    #expect(bench.bytes(ModelBench.data + 0x8003 + 3000, 1) == [0])
    var signals: UInt64 = 0
    bench.wait("the interrupt") {
      signals += event.drain()
      return signals > 0
    }
    #expect(signals == 1)
  }
}

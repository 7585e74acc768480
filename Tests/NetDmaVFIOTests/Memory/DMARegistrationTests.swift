// SPDX-License-Identifier: Apache-2.0

import NetDmaMock
import NetDmaVFIO
import TestSupport
import Testing

struct DMARegistrationTests {
  @Test("the caller's own memory can be copied from and to, whatever its alignment")
  func copies() throws {
    let bench = try EngineBench()
    var channel = try bench.open(.polled)
    let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: 10_001, alignment: 1)
    defer { memory.deallocate() }
    for index in memory.indices { memory[index] = UInt8(truncatingIfNeeded: index &* 13) }
    try bench.engine.addressSpace.withRegisteredMemory(memory) { slice in
      #expect(slice.count == 10_001)
      let sent = channel.enqueueCopy(
        from: slice.slice(0..<5000), to: bench.memory.target(0..<5000), token: 1)
      let back = channel.enqueueCopy(
        from: bench.memory.source(0..<5001), to: slice.slice(5000..<10_001), token: 2)
      #expect(sent && back)
      try channel.submit()
      _ = try pollAll(&channel, 2)
    }
    #expect(bench.memory.targetBytes(0..<5000) == memory[0..<5000].map { $0 })
    #expect(bench.memory.sourceBytes(0..<5001) == memory[5000..<10_001].map { $0 })
  }

  @Test("leaving the scope waits for what was submitted, though nobody polls")
  func waits() throws {
    let bench = try EngineBench()
    var channel = try bench.open(.polled)
    let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 19, alignment: 4096)
    defer { memory.deallocate() }
    try bench.engine.addressSpace.withRegisteredMemory(memory) { slice in
      let sent = channel.enqueueCopy(
        from: bench.memory.source(0..<1 << 19), to: slice, token: 1)
      #expect(sent)
      try channel.submit()
    }
    #expect(bench.memory.sourceBytes(0..<1 << 19) == memory.map { $0 })
    let ended = try pollAll(&channel, 1)
    #expect(ended.first?.error == nil)
  }

  @Test("after the scope the device reaches the memory no more")
  func unmapped() throws {
    let bench = try EngineBench()
    var channel = try bench.open(.polled)
    let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: 4096, alignment: 4096)
    defer { memory.deallocate() }
    let slice = try bench.engine.addressSpace.withRegisteredMemory(memory) { $0 }
    let sent = channel.enqueueCopy(from: slice, to: bench.memory.target(0..<4096), token: 1)
    #expect(sent)
    try channel.submit()
    let ended = try pollAll(&channel, 1)
    #expect(ended.first?.error != nil)
    #expect(bench.memory.isZero(0..<4096))
  }

  @Test("no memory is refused")
  func empty() throws {
    let bench = try EngineBench()
    #expect(throws: RegistrationError<Never>.self) {
      try bench.engine.addressSpace.withRegisteredMemory(.init(start: nil, count: 0)) { _ in }
    }
  }

  @Test(
    "an error says that memory stays within the device's reach, and its address is not used again")
  func staysMapped() throws {
    let lines = LogLines()
    let transport = RecordingTransport()
    let space = DMAAddressSpace(transport, addressWidth: 48, logger: lines.logger)
    let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: 4096, alignment: 4096)
    defer { memory.deallocate() }
    transport.failUnmap(.unmapMismatch(device: "recording", iova: 0, expected: 4096, unmapped: 0))
    let first = try space.withRegisteredMemory(memory) { $0 }
    transport.failUnmap(nil)
    let second = try space.withRegisteredMemory(memory) { $0 }
    #expect(first.iova != second.iova)
    #expect(transport.mappings == [first.iova: 4096])
    #expect(lines.all.count == 1)
    #expect(lines.all.first?.contains("stays mapped for the device") == true)
  }
}

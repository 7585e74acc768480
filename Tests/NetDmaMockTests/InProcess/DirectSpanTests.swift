// SPDX-License-Identifier: Apache-2.0

import Glibc
import NetDmaMock
import NetDmaVFIO
import Synchronization
import Testing

/// What an engine claims of its client's memory.
struct DirectSpanTests {
  private final class Flag: Sendable { let isSet = Atomic<Bool>(false) }

  @Test("an unmap waits until nobody claims the memory, and nobody can claim it afterwards")
  func unmapWaits() throws {
    let memory = LocalMemory()
    let page = UnsafeMutableRawPointer.allocate(byteCount: 4096, alignment: 4096)
    defer { page.deallocate() }
    try memory.map(iova: 0x10000, size: 4096, pointer: page)
    let unmapped = Flag()
    let begun = Flag()
    let thread: PinnedThread
    do {
      let span = memory.direct(0x10800, .write)
      thread = try PinnedThread(name: "unmap") { _ in
        begun.isSet.store(true, ordering: .releasing)
        try? memory.unmap(iova: 0x10000, size: 4096)
        unmapped.isSet.store(true, ordering: .releasing)
      }
      while !begun.isSet.load(ordering: .acquiring) { usleep(100) }
      usleep(20_000)
      let early = unmapped.isSet.load(ordering: .acquiring)
      #expect(!early)
      _ = consume span
    }
    thread.join()
    let late = unmapped.isSet.load(ordering: .acquiring)
    #expect(late)
    #expect(memory.mappingCount == 0)
    // Nothing is claimed: the next unmap of the same range does not wait.
    let nothing = memory.direct(0x10800, .write)
    try memory.map(iova: 0x10000, size: 4096, pointer: page)
    try memory.unmap(iova: 0x10000, size: 4096)
    _ = consume nothing
  }
}

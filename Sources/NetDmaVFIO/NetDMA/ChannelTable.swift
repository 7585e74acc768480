// SPDX-License-Identifier: Apache-2.0

import Synchronization

/// Where an ISR finds a channel: a fixed table, each slot with the generation of its owner.
final class ChannelTable: Sendable {
  /// One place for a channel.
  final class Slot: Sendable {
    /// Generation of the channel that lives here, 0 when none does.
    ///
    /// Written with `core`'s lock.
    let generation = Atomic<UInt64>(0)
    /// The CPU whose DPC completes the channel; read by the ISR.
    let cpu = Atomic<Int>(0)
    /// The channel; the lock is held for a copy of the reference and never longer.
    let core = Mutex<NetDmaChannelCore?>(nil)
  }

  private let slots: [Slot]
  private let free: Mutex<[Int]>
  private let nextGeneration = Atomic<UInt64>(1)
  /// Interrupts and DPCs for channels that were gone.
  let staleCalls = Atomic<UInt64>(0)

  init(capacity: Int) {
    slots = (0..<capacity).map { _ in Slot() }
    free = Mutex(Array((0..<capacity).reversed()))
  }

  /// Takes a slot; nil when all are taken.
  func reserve() -> NetDmaChannelHandle? {
    guard let index = free.withLock({ $0.popLast() }) else { return nil }
    // 48 bits of generation: no handle comes back in the life of a machine.
    let generation = nextGeneration.add(1, ordering: .relaxed).oldValue & 0xffff_ffff_ffff
    slots[index].generation.store(generation, ordering: .releasing)
    return NetDmaChannelHandle(slot: index, generation: generation)
  }

  /// Makes the channel reachable for its ISR and DPC.
  func install(_ core: NetDmaChannelCore) {
    let slot = slots[core.handle.slot]
    slot.cpu.store(core.grant.cpuNumber, ordering: .relaxed)
    slot.core.withLock { $0 = core }
  }

  /// From now on the handle is stale.
  func release(_ handle: NetDmaChannelHandle) {
    guard let slot = live(handle) else { return }
    slot.generation.store(0, ordering: .releasing)
    slot.core.withLock { $0 = nil }
    free.withLock { $0.append(handle.slot) }
  }

  /// The slot if the handle is live.
  @inline(__always)
  func live(_ handle: NetDmaChannelHandle) -> Slot? {
    let index = handle.slot
    guard index < slots.count else { return nil }
    let slot = slots[index]
    return slot.generation.load(ordering: .acquiring) == handle.generation ? slot : nil
  }

  /// The channel if the handle is live and installed.
  func core(_ handle: NetDmaChannelHandle) -> NetDmaChannelCore? {
    guard let slot = live(handle) else { return nil }
    guard let core = slot.core.withLock({ $0 }), core.handle == handle else { return nil }
    return core
  }

  /// Every channel now.
  func all() -> [NetDmaChannelCore] { slots.compactMap { $0.core.withLock { $0 } } }
}

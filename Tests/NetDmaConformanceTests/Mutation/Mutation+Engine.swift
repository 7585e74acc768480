// SPDX-License-Identifier: Apache-2.0

import NetDmaMock
import NetDmaVFIO

extension Mutation {
  /// RESET and the function's reset.
  static let resetMistakes: [Mutation] = [
    Mutation(
      "RESET is ignored unless the channel was suspended.", foundBy: "reset.idle",
      registers: RegisterMutation(
        write: { access, value, device throws(VFIOError) in
          guard let channel = access.channel, access.channelOffset == Window.command, value == 0x20
          else { return value }
          return try device.state(channel) <= 1 ? nil : value
        })),
    Mutation(
      "RESET resets the other channel too.", foundBy: "reset.neighbours", on: twoChannels,
      registers: RegisterMutation(
        afterWrite: { access, value, device throws(VFIOError) in
          guard let channel = access.channel, access.channelOffset == Window.command, value == 0x20
          else { return }
          try device.write(1 - channel, Window.command, .byte, 0x20)
        })),
    Mutation(
      "RESET leaves CHANERR as it is.", foundBy: "reset.error",
      registers: RegisterMutation(
        read: { access, value, device in
          access.channelOffset == Window.error ? value | device["error"] : value
        },
        write: { access, value, device throws(VFIOError) in
          guard let channel = access.channel else { return value }
          if access.channelOffset == Window.command, value == 0x20 {
            device["error"] = try device.read(channel, Window.error, .dword)
          } else if access.channelOffset == Window.error {
            device["error"] &= ~value
          }
          return value
        })),
    Mutation(
      "RESET leaves the address in CHANSTS.", foundBy: "reset.status",
      registers: RegisterMutation(
        read: { access, value, device in
          guard access.channelOffset == Window.status, access.width == .qword else { return value }
          if value & ~0x3f != 0 { device["last"] = value & ~0x3f }
          return value == 3 ? value | device["last"] : value
        })),
    Mutation(
      "The function's reset leaves CHANCMP.", foundBy: "reset.function",
      registers: RegisterMutation(
        read: { access, value, device in
          access.channelOffset == Window.completion && value == 0 ? device["completion"] : value
        },
        beforeReset: { device throws(VFIOError) in
          device["completion"] = try device.read(0, Window.completion, .qword)
        })),
    Mutation(
      "The function's reset leaves INTRCTRL.", foundBy: "reset.function-general",
      registers: RegisterMutation(
        read: { access, value, device in
          access.generalOffset == 3 ? value | device["control"] : value
        },
        beforeReset: { device throws(VFIOError) in
          device["control"] = try device.real.read(.bar0, at: 3, width: .byte) & 9
        })),
  ]

  /// Interrupts.
  static let interruptMistakes: [Mutation] = [
    Mutation(
      "Every descriptor interrupts, asked or not.", foundBy: "interrupt.not-requested",
      memory: MemoryMutation(descriptor: { $0[0] |= 1 << 32 })),
    Mutation(
      "No descriptor interrupts.", foundBy: "interrupt.requested",
      memory: MemoryMutation(descriptor: { $0[0] &= ~(1 << 32) })),
    Mutation(
      "Interrupts come without MASTER_INT_EN.", foundBy: "interrupt.master-off",
      registers: RegisterMutation(
        write: { access, value, _ in access.generalOffset == 3 ? value | 1 : value })),
    Mutation(
      "An error interrupts without ERR_INT_EN.", foundBy: "interrupt.error-off",
      registers: RegisterMutation(
        write: { access, value, _ in
          access.channelOffset == Window.control ? value | 0x10 : value
        })),
    Mutation(
      "An error never interrupts.", foundBy: "interrupt.error",
      registers: RegisterMutation(
        read: { access, value, device in
          access.channelOffset == Window.control ? value | device["asked"] : value
        },
        write: { access, value, device in
          guard access.channelOffset == Window.control else { return value }
          device["asked"] = value & 0x10
          return value & ~0x10
        })),
    Mutation(
      "Interrupts do not wait for the re-arm.", foundBy: "interrupt.held",
      registers: RegisterMutation(
        read: { access, value, device throws(VFIOError) in
          if let channel = access.channel, access.channelOffset == Window.status {
            // The low byte alone, which leaves CHANNEL_IN_USE.
            let control = try device.read(channel, Window.control, .byte)
            if control & 1 != 0 { try device.write(channel, Window.control, .byte, control) }
          }
          return value
        })),
    Mutation(
      "What comes while interrupts are held back is lost.", foundBy: "interrupt.held-delivered",
      registers: RegisterMutation(
        write: { access, value, device throws(VFIOError) in
          guard let channel = access.channel, access.channelOffset == Window.control,
            value & 1 != 0
          else { return value }
          // The interrupt of this re-arm goes to nobody.
          let connected = device.connected
          guard !connected.isEmpty else { return value }
          try device.real.enableInterrupts(
            .msix, eventFDs: connected.map { _ in device.nowhere.rawValue })
          try device.write(channel, Window.control, access.width, value)
          try device.real.enableInterrupts(.msix, eventFDs: connected)
          return value & ~1
        })),
    Mutation(
      "Each re-arm interrupts.", foundBy: "interrupt.rearm-empty",
      registers: RegisterMutation(
        afterWrite: { access, value, device in
          guard let channel = access.channel, access.channelOffset == Window.control,
            value & 1 != 0, device.connected.indices.contains(channel)
          else { return }
          EventFD.signal(device.connected[channel])
        })),
    Mutation(
      "ATTNSTATUS is not cleared by reading.", foundBy: "interrupt.attention",
      registers: RegisterMutation(
        read: { access, value, device in
          guard access.generalOffset == 4 else { return value }
          device["attention"] |= value
          return device["attention"]
        })),
    Mutation(
      "All channels interrupt by vector 0.", foundBy: "interrupt.vector", on: twoChannels,
      registers: RegisterMutation(
        eventFDs: { fds in fds.map { _ in fds.first ?? -1 } })),
  ]

  /// What the engine does with descriptors, data and completion words.
  static let engineMistakes: [Mutation] = [
    Mutation(
      "Every descriptor writes a word, asked or not.", foundBy: "completion.on-request",
      memory: MemoryMutation(descriptor: { $0[0] |= 8 << 32 })),
    Mutation(
      "The completion word overtakes the data.", foundBy: "completion.data-first",
      memory: MemoryMutation(wordOvertakesData: true)),
    Mutation(
      "The completion word has no state.", foundBy: "error.positions",
      memory: MemoryMutation(word: { $0 & ~7 })),
    Mutation(
      "Fences are ignored: sources are read ahead.", foundBy: "descriptor.fence",
      memory: MemoryMutation(prefetches: true)),
    Mutation(
      "Slots are taken to lie side by side: `next` is ignored.", foundBy: "descriptor.next",
      memory: MemoryMutation(descriptor: { $0[3] = $0[8] + 64 })),
    Mutation(
      "Copies move multiples of 8 bytes.", foundBy: "descriptor.copy-lengths",
      memory: MemoryMutation(copyCount: { ($0 + 7) & ~7 })),
    Mutation(
      "A copy of more than a page loses its last byte.", foundBy: "descriptor.copy-limit",
      memory: MemoryMutation(copyCount: { $0 > 4096 ? $0 - 1 : $0 })),
    Mutation(
      "Fills write multiples of 8 bytes.", foundBy: "descriptor.fill",
      memory: MemoryMutation(fillCount: { ($0 + 7) & ~7 })),
    Mutation(
      "Null descriptors copy.", foundBy: "descriptor.null",
      memory: MemoryMutation(descriptor: { $0[0] &= ~(0x20 << 32) })),
    Mutation(
      "Page breaks are ignored.", foundBy: "descriptor.page-break-source",
      memory: MemoryMutation(descriptor: { $0[0] &= ~(0xc0 << 32) })),
    Mutation(
      "Q is computed with the factors of other sources.", foundBy: "raid.pq", on: raid,
      memory: MemoryMutation(descriptor: { words in
        if words[0] >> 56 == 0x89 { words[6] = words[6] << 8 | words[6] >> 56 }
      })),
    Mutation(
      "A wrong XOR does not halt.", foundBy: "raid.xor-mismatch", on: raid,
      registers: RegisterMutation(
        write: { access, value, _ in
          access.channelOffset == Window.errorMask ? value | 0x3_0000 : value
        })),
    Mutation(
      "An XOR of two sources more than asked.", foundBy: "raid.xor", on: raid,
      memory: MemoryMutation(descriptor: { words in
        if words[0] >> 56 == 0x87, words[0] >> 37 & 7 < 2 { words[0] += 2 << 37 }
      })),
  ]
}

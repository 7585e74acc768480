// SPDX-License-Identifier: Apache-2.0

import NetDmaMock
import NetDmaVFIO

extension Mutation {
  /// The state machine.
  static let stateMistakes: [Mutation] = [
    Mutation(
      "IDLE is not reported: CHANSTS stays ACTIVE.", foundBy: "state.idle",
      registers: RegisterMutation(
        read: { access, value, _ in
          access.channelOffset == Window.status && value & 7 == 1 ? value & ~7 : value
        })),
    Mutation(
      "ARMED is not reported: CHANSTS stays HALTED.", foundBy: "state.armed",
      registers: RegisterMutation(
        read: { access, value, _ in
          access.channelOffset == Window.status && value & 7 == 4 ? value & ~7 | 3 : value
        })),
    Mutation(
      "CHANSTS names the descriptor behind the last one.", foundBy: "state.idle",
      registers: RegisterMutation(
        read: { access, value, _ in
          access.channelOffset == Window.status && value & ~0x3f != 0 ? value + 64 : value
        })),
    Mutation(
      "CHANSTS keeps its address when CHAINADDR is written.", foundBy: "completion.address-zero",
      registers: RegisterMutation(
        read: { access, value, device in
          guard access.channelOffset == Window.status, access.width == .qword else { return value }
          if value & ~0x3f != 0 { device["last"] = value & ~0x3f }
          return value & 7 == 4 ? value | device["last"] : value
        })),
    Mutation(
      "The high half of CHAINADDR is lost when it is written alone.",
      foundBy: "state.armed-by-halves",
      registers: RegisterMutation(
        write: { access, value, _ in
          access.channelOffset == Window.chain + 4 && access.width == .dword ? nil : value
        })),
    Mutation(
      "A 64-bit write to CHAINADDR loses its high half.", foundBy: "state.armed-by-qword",
      registers: RegisterMutation(
        write: { access, value, _ in
          access.channelOffset == Window.chain && access.width == .qword
            ? value & 0xffff_ffff : value
        })),
    Mutation(
      "CHAINADDR starts the chain without a doorbell.", foundBy: "state.armed-waits",
      registers: RegisterMutation(
        afterWrite: { access, _, device throws(VFIOError) in
          guard let channel = access.channel, access.channelOffset == Window.chain else { return }
          try device.write(channel, Window.count, .word, 1)
        })),
    Mutation(
      "CHAINADDR arms although CHANERR is set.", foundBy: "state.error-blocks",
      registers: RegisterMutation(
        write: { access, value, device throws(VFIOError) in
          guard let channel = access.channel, access.channelOffset == Window.chain else {
            return value
          }
          try device.write(channel, Window.error, .dword, 0xffff_ffff)
          return value
        })),
    Mutation(
      "CHAINADDR arms although CHANERR_INT is set, before 3.3.", foundBy: "state.mirror-blocks",
      on: oldVersion,
      registers: RegisterMutation(
        write: { access, value, device throws(VFIOError) in
          if access.channelOffset == Window.chain {
            try device.real.write(.configuration, at: 0x180, width: .dword, value: 0xffff_ffff)
          }
          return value
        })),
    Mutation(
      "After a doorbell CHANSTS stays ARMED for a while.", foundBy: "state.doorbell",
      registers: RegisterMutation(
        read: { access, value, device in
          guard access.channelOffset == Window.status, device["late"] > 0 else { return value }
          device["late"] -= 1
          return value & ~7 | 4
        },
        afterWrite: { access, _, device in
          if access.channelOffset == Window.count { device["late"] = 2 }
        })),
    Mutation(
      "A doorbell in HALTED counts for the next chain.", foundBy: "state.halted-doorbell",
      registers: RegisterMutation(
        afterWrite: { access, value, device throws(VFIOError) in
          guard let channel = access.channel else { return }
          if access.channelOffset == Window.count, try device.state(channel) == 3 {
            device["kept"] = value
          } else if access.channelOffset == Window.chain, device["kept"] != 0 {
            try device.write(channel, Window.count, .word, device["kept"])
            device["kept"] = 0
          }
        })),
    Mutation(
      "SUSPEND does nothing in IDLE.", foundBy: "state.suspend-idle",
      registers: RegisterMutation(
        write: { access, value, device throws(VFIOError) in
          guard let channel = access.channel, access.channelOffset == Window.command, value == 4
          else { return value }
          return try device.state(channel) == 1 ? nil : value
        })),
    Mutation(
      "A suspended channel goes on by itself.", foundBy: "state.suspend-active",
      registers: RegisterMutation(
        read: { access, value, device throws(VFIOError) in
          if let channel = access.channel, access.channelOffset == Window.status, value & 7 == 2 {
            try device.write(channel, Window.command, .byte, 0x10)
          }
          return value
        })),
  ]

  /// DMACOUNT.
  static let countMistakes: [Mutation] = [
    Mutation(
      "DMACOUNT is an increment.", foundBy: "state.count-absolute",
      registers: RegisterMutation(
        write: { access, value, device in
          if access.channelOffset == Window.chain { device["total"] = 0 }
          guard access.channelOffset == Window.count else { return value }
          device["total"] += value
          return device["total"]
        })),
    Mutation(
      "DMACOUNT has 15 bits.", foundBy: "state.count-wraps",
      registers: RegisterMutation(
        write: { access, value, _ in
          access.channelOffset == Window.count ? value & 0x7fff : value
        })),
    Mutation(
      "The counter has 17 bits: a count that wrapped is behind it.", foundBy: "state.count-wraps",
      registers: RegisterMutation(
        write: { access, value, device in
          if access.channelOffset == Window.chain { device["highest"] = 0 }
          guard access.channelOffset == Window.count else { return value }
          if value < device["highest"] { return nil }
          device["highest"] = value
          return value
        })),
    Mutation(
      "The engine takes one descriptor beyond DMACOUNT.", foundBy: "state.count-limit",
      registers: RegisterMutation(
        write: { access, value, _ in
          access.channelOffset == Window.count && value != 0 ? value + 1 : value
        })),
    Mutation(
      "The same DMACOUNT again runs the chain again.", foundBy: "state.count-unchanged",
      registers: RegisterMutation(
        write: { access, value, device in
          guard access.channelOffset == Window.count else { return value }
          defer { device["before"] = value }
          return value == device["before"] && value != 0 ? value + 1 : value
        })),
    Mutation(
      "CHAINADDR does not start the count from zero.", foundBy: "state.count-zeroed",
      registers: staleCount { access, _ in access.channelOffset == Window.chain }),
    Mutation(
      "RESET does not start the count from zero.", foundBy: "reset.count",
      registers: staleCount { access, value in
        access.channelOffset == Window.command && value & 0x20 != 0
      }),
  ]

  /// The engine's counter stays where it was at the writes that `isStart` names.
  private static func staleCount(
    _ isStart: @escaping @Sendable (RegisterAccess, UInt64) -> Bool
  ) -> RegisterMutation {
    RegisterMutation(
      write: { access, value, device in
        if isStart(access, value) { device["stale"] = device["count"] }
        guard access.channelOffset == Window.count else { return value }
        device["count"] = value
        return value &- device["stale"]
      })
  }
}

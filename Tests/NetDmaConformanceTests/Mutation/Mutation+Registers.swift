// SPDX-License-Identifier: Apache-2.0

import NetDmaMock
import NetDmaVFIO

extension Mutation {
  /// Registers that do not keep, clear or show what they should.
  static let registerMistakes: [Mutation] = [
    Mutation(
      "XFERCAP can be written.", foundBy: "general.identity-fixed",
      registers: RegisterMutation(
        read: { access, value, device in
          access.generalOffset == 1 && device["written"] != 0 ? device["xfercap"] : value
        },
        afterWrite: { access, value, device in
          guard access.generalOffset == 1 else { return }
          (device["written"], device["xfercap"]) = (1, value)
        })),
    Mutation(
      "INTRCTRL keeps MASTER_INT_EN when it is read.", foundBy: "general.intrctrl-read",
      registers: RegisterMutation(
        read: { access, value, device throws(VFIOError) in
          guard access.generalOffset == 3 else { return value }
          try device.real.write(.bar0, at: 3, width: .byte, value: value)
          return value
        })),
    Mutation(
      "INTRDELAY has only 8 bits.", foundBy: "general.delay-keeps",
      registers: RegisterMutation(
        write: { access, value, _ in access.generalOffset == 0x0c ? value & 0xff : value })),
    Mutation(
      "Offsets without a register read all ones.", foundBy: "general.reserved-zero",
      registers: RegisterMutation(
        read: { access, value, _ in
          (access.generalOffset ?? 0) >= 0x18 && access.generalOffset != 0x40 ? .max : value
        })),
    Mutation(
      "CHANNEL_IN_USE never sets.", foundBy: "channel.in-use",
      registers: RegisterMutation(
        read: { access, value, _ in
          access.channelOffset == Window.control ? value & ~0x100 : value
        })),
    Mutation(
      "CHANCTRL ignores ERR_COMPLETION_EN.", foundBy: "channel.control-keeps",
      registers: RegisterMutation(
        write: { access, value, _ in
          access.channelOffset == Window.control ? value & ~0x04 : value
        })),
    Mutation(
      "CHANCMP is one register for all channels.", foundBy: "channel.windows-apart",
      on: twoChannels,
      registers: RegisterMutation(
        redirect: { access in
          guard let offset = access.channelOffset, offset & ~7 == Window.completion else {
            return access
          }
          return RegisterAccess(region: .bar0, offset: 0x80 + offset, width: access.width)
        })),
    Mutation(
      "The high half of CHANSTS reads 0.", foundBy: "channel.status-halves",
      registers: RegisterMutation(
        read: { access, value, _ in access.channelOffset == Window.status + 4 ? 0 : value })),
    Mutation(
      "The engine reaches memory without bus mastering.", foundBy: "config.bus-master",
      registers: RegisterMutation(
        read: { access, value, device in
          access.configurationOffset == 4 && device["command"] & 4 == 0 ? value & ~4 : value
        },
        write: { access, value, device in
          guard access.configurationOffset == 4 else { return value }
          device["command"] = value
          return value | 4
        })),
    Mutation(
      "CHANERR_INT stays when ones are written.", foundBy: "config.error-mirror",
      registers: RegisterMutation(
        write: { access, value, _ in access.configurationOffset == 0x180 ? nil : value })),
    Mutation(
      "The capability list ends in a loop.", foundBy: "config.capability-list",
      registers: RegisterMutation(
        read: { access, value, _ in
          access.configurationOffset == 0x91 && access.width == .byte ? 0x90 : value
        })),
  ]

  /// CHANERR and what goes with it.
  static let errorMistakes: [Mutation] = [
    Mutation(
      "CHANERR ignores what is written.", foundBy: "error.clear-by-ones",
      registers: RegisterMutation(
        write: { access, value, _ in access.channelOffset == Window.error ? nil : value })),
    Mutation(
      "CHANERR is an ordinary register: zeros clear it.", foundBy: "error.kept-by-zeros",
      registers: RegisterMutation(
        write: { access, value, _ in access.channelOffset == Window.error ? ~value : value })),
    Mutation(
      "A fault sets the bit for no descriptor beside its own.", foundBy: "error.source-unmapped",
      registers: RegisterMutation(
        read: { access, value, _ in
          access.channelOffset == Window.error && value != 0 ? value | 0x8000 : value
        })),
    Mutation(
      "A failed read is called a failed write.", foundBy: "error.source-unmapped",
      memory: MemoryMutation(fault: { BusFault(address: $0.address, direction: .write) })),
    Mutation(
      "A refused access is not noticed.", foundBy: "error.target-unmapped",
      memory: MemoryMutation(fault: { _ in nil })),
    Mutation(
      "The completion word of an error names the failing descriptor.", foundBy: "error.word",
      memory: MemoryMutation(word: { $0 & 7 == 3 && $0 & ~0x3f != 0 ? $0 + 64 : $0 })),
    Mutation(
      "An error of a chain's first descriptor names that one.", foundBy: "error.first",
      memory: MemoryMutation(word: { $0 == 3 ? 0x1_0000_0003 : $0 })),
    Mutation(
      "An error writes its word without ERR_COMPLETION_EN.", foundBy: "error.no-word",
      registers: RegisterMutation(
        read: { access, value, device in
          access.channelOffset == Window.control
            ? value & ~4 | device["control \(access.channel ?? 0)"] & 4 : value
        },
        write: { access, value, device in
          guard access.channelOffset == Window.control else { return value }
          device["control \(access.channel ?? 0)"] = value
          return value | 4
        })),
    Mutation(
      "CHANERR tells of an error later than the word does.", foundBy: "error.registers-first",
      registers: RegisterMutation(
        read: { access, value, device in
          guard access.channelOffset == Window.error else { return value }
          if value == 0 { device["seen"] = 0 }
          defer { if value != 0 { device["seen"] = 1 } }
          return device["seen"] == 0 ? 0 : value
        })),
    Mutation(
      "A doorbell restarts a failed channel.", foundBy: "error.doorbell-ignored",
      registers: RegisterMutation(
        write: { access, value, device throws(VFIOError) in
          guard access.channelOffset == Window.count, let channel = access.channel,
            try device.state(channel) == 3
          else { return value }
          let bits = try device.read(channel, Window.error, .dword)
          guard bits != 0 else { return value }
          let last = try device.read(channel, Window.status, .qword) & ~0x3f
          try device.write(channel, Window.error, .dword, bits)
          try device.real.write(.configuration, at: 0x180, width: .dword, value: bits)
          try device.write(channel, Window.chain, .qword, last + 128)
          return 2
        })),
  ]
}

// SPDX-License-Identifier: Apache-2.0

/// A provider that is registered; NetDmaRegisterProvider's `ProviderHandle`.
///
/// It carries a generation: after deregistration it is recognised as stale.
public struct NetDmaProviderHandle: Hashable, Sendable {
  let rawValue: UInt64
}

/// A channel that is allocated; the `NetDmaChannelHandle` that NetDmaIsr takes.
///
/// It carries a generation: after the channel was freed or its provider stopped it is recognised as
/// stale, in the ISR too.
public struct NetDmaChannelHandle: Hashable, Sendable {
  let rawValue: UInt64
  /// The interface's slot, for tables beside it.
  var slot: Int { Int(truncatingIfNeeded: rawValue & 0xffff) }
  var generation: UInt64 { rawValue >> 16 }

  init(slot: Int, generation: UInt64) {
    rawValue = generation << 16 | UInt64(slot)
  }
}

/// NET_DMA_PROVIDER_CHARACTERISTICS: what a provider says of itself when it registers.
public struct NetDmaProviderCharacteristics: Sendable {
  /// `MajorVersion` and `MinorVersion` of NetDMA that the provider was written for.
  public var version: NetDmaVersion
  /// `Flags`.
  public var flags: NetDmaProviderFlags
  /// `MaxDmaChannelCount`: the most channels that it will ever have, at least 1.
  public var maximumChannelCount: Int
  /// Which optional handlers work.
  public var optionalHandlers: NetDmaOptionalHandlers
  /// `FriendlyName`.
  public var friendlyName: String

  /// Describes a provider.
  public init(
    version: NetDmaVersion = .current, flags: NetDmaProviderFlags = [], maximumChannelCount: Int,
    optionalHandlers: NetDmaOptionalHandlers = [], friendlyName: String
  ) {
    self.version = version
    self.flags = flags
    self.maximumChannelCount = maximumChannelCount
    self.optionalHandlers = optionalHandlers
    self.friendlyName = friendlyName
  }
}

/// `Flags` of NET_DMA_PROVIDER_CHARACTERISTICS.
public struct NetDmaProviderFlags: OptionSet, Hashable, Sendable {
  /// The flags as netdma.h numbers them.
  public let rawValue: UInt32
  /// A set from its bits.
  public init(rawValue: UInt32) { self.rawValue = rawValue }
  /// Direct cache access is supported.
  public static let dcaSupported = Self(rawValue: 1)
  /// Processor groups are supported (Windows 7).
  public static let processorGroups = Self(rawValue: 2)
}

/// Provider handlers that netdma.h lets a provider leave out.
public struct NetDmaOptionalHandlers: OptionSet, Hashable, Sendable {
  /// The set's bits.
  public let rawValue: UInt8
  /// A set from its bits.
  public init(rawValue: UInt8) { self.rawValue = rawValue }
  /// `SuspendDma` and `ResumeDma`.
  public static let suspendResume = Self(rawValue: 1)
  /// `AbortDma`.
  public static let abort = Self(rawValue: 2)
  /// `ResetChannel`.
  public static let reset = Self(rawValue: 4)
}

/// A NetDMA version; NetDmaGetVersion gives the interface's.
public struct NetDmaVersion: RawRepresentable, Hashable, Comparable, Sendable,
  CustomStringConvertible
{
  /// Major in the high, minor in the low 16 bits.
  public let rawValue: UInt32
  /// A version from NetDmaGetVersion's form.
  public init(rawValue: UInt32) { self.rawValue = rawValue }
  /// A version from its parts.
  public init(major: UInt16, minor: UInt16) { rawValue = UInt32(major) << 16 | UInt32(minor) }
  /// 2.1, what this interface implements.
  public static let current = Self(major: 2, minor: 1)
  /// Older first.
  public static func < (a: Self, b: Self) -> Bool { a.rawValue < b.rawValue }
  /// "2.1".
  public var description: String { "\(rawValue >> 16).\(rawValue & 0xffff)" }
}

/// NET_DMA_PROVIDER_ATTRIBUTES: what a provider has at this start; may differ at each.
public struct NetDmaProviderAttributes: Sendable {
  /// `MajorHwVersion`.
  public var majorHardwareVersion: UInt8
  /// `MinorHwVersion`.
  public var minorHardwareVersion: UInt8
  /// `VendorId`.
  public var vendorID: UInt16
  /// `DmaChannelCount`: channels now, 1 to the registered maximum.
  public var channelCount: Int
  /// `MaximumTransferSize` of one descriptor in bytes, at least 4096.
  public var maximumTransferSize: Int
  /// `MaximumAddressSpace`: the highest address that the engine reaches.
  public var maximumAddress: UInt64
  /// What the engine can do beyond copies.
  public var capabilities: DMACapability
  /// Where the channels' rings and buffers live; one per provider.
  public var addressSpace: DMAAddressSpace

  /// Describes a started provider.
  public init(
    majorHardwareVersion: UInt8, minorHardwareVersion: UInt8, vendorID: UInt16, channelCount: Int,
    maximumTransferSize: Int, maximumAddress: UInt64, capabilities: DMACapability,
    addressSpace: DMAAddressSpace
  ) {
    self.majorHardwareVersion = majorHardwareVersion
    self.minorHardwareVersion = minorHardwareVersion
    self.vendorID = vendorID
    self.channelCount = channelCount
    self.maximumTransferSize = maximumTransferSize
    self.maximumAddress = maximumAddress
    self.capabilities = capabilities
    self.addressSpace = addressSpace
  }
}

/// NET_DMA_CHANNEL_CPU_AFFINITY: the CPU that a channel's interrupt should target.
public struct NetDmaChannelCpuAffinity: Hashable, Sendable {
  /// `DmaChannel`: the channel's number, which is its MSI-X vector too.
  public let channel: Int
  /// `CpuNumber`.
  public let cpu: Int
  /// Pairs a channel with a CPU.
  public init(channel: Int, cpu: Int) {
    self.channel = channel
    self.cpu = cpu
  }
}

/// How a channel tells that descriptors are done.
public enum NetDmaCompletionMode: String, Sendable {
  /// The engine interrupts, the DPC completes.
  case interrupt
  /// The client polls on its own thread; no interrupt is raised.
  case polled
}

/// NET_DMA_CHANNEL_PARAMETERS: what a provider is told when a channel is allocated.
public struct NetDmaChannelParameters: Sendable {
  /// `CompletionPhysicalAddress`: where the 64-bit status is to be written.
  public let completionAddress: UInt64
  /// `CompletionVirtualAddress`, as a way to read what was written there (with acquire).
  public let completionWord: @Sendable () -> CompletionWord
  /// `ProcessorAffinityMask`: CPUs that the client likes its completions on; empty, any.
  public let processorAffinity: Set<Int>
  /// `ChannelPriority`, capped at what the hardware has.
  public let priority: Int
  /// Whether the channel interrupts.
  public let mode: NetDmaCompletionMode
}

/// What a provider answers to an allocation.
public struct NetDmaChannelGrant: Sendable {
  /// The provider's `ChannelContext`, given back with every later call on the channel.
  public let context: any NetDmaChannelContext
  /// `CpuNumber`: the CPU whose DPC completes this channel; always written.
  public let cpuNumber: Int
  /// A way around `AppendDma` for engines whose append is one 16-bit store of the absolute
  /// descriptor count; nil when it takes more.
  public let doorbell: NetDmaDoorbell?

  /// Describes an allocated channel.
  public init(context: any NetDmaChannelContext, cpuNumber: Int, doorbell: NetDmaDoorbell? = nil) {
    self.context = context
    self.cpuNumber = cpuNumber
    self.doorbell = doorbell
  }
}

/// The provider's own object for a channel.
public protocol NetDmaChannelContext: AnyObject, Sendable {}

/// A mapped 16-bit register that takes the absolute count of valid descriptors (IOAT DMACOUNT).
@safe public struct NetDmaDoorbell: @unchecked Sendable {
  // @unchecked: an address of device memory, stored to by single volatile writes.
  let address: UnsafeMutableRawPointer
  /// The register must stay mapped as long as the channel is allocated.
  @unsafe public init(address: UnsafeMutableRawPointer) { unsafe self.address = address }
}

/// What an engine says of itself when a channel stopped.
public struct NetDmaChannelFault: Hashable, Sendable {
  /// The channel's state.
  public var state: ChannelState
  /// Why it halted.
  public var errors: ChannelError
  /// Where the engine says it got to; address 0 when it says nothing usable.
  public var lastDescriptor: UInt64
  /// The registers in words, for the log.
  public var summary: String

  /// Describes a fault.
  public init(state: ChannelState, errors: ChannelError, lastDescriptor: UInt64, summary: String) {
    self.state = state
    self.errors = errors
    self.lastDescriptor = lastDescriptor
    self.summary = summary
  }
}

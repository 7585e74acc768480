// SPDX-License-Identifier: Apache-2.0

/// A driver of a DMA engine: the handlers of NET_DMA_PROVIDER_CHARACTERISTICS.
///
/// The interface calls them; a provider never calls back into the interface from inside one, except
/// `NetDmaInterface.isr` and `interruptDpc` from its own ISR and DPC. All but
/// `setDmaChannelCpuAffinity` may be called from any thread, never two at once for one channel
/// (except `appendDma`, which may run beside a DPC), and return in bounded time.
public protocol NetDmaProvider: AnyObject, Sendable {
  /// SetDmaChannelCpuAffinity: called inside the registration for the maximum channel count.
  ///
  /// MSI-X vector n should target the CPU that is paired with channel n.
  func setDmaChannelCpuAffinity(_ affinity: [NetDmaChannelCpuAffinity]) throws(NetDmaError)

  /// AllocateDmaChannel: picks a channel whose interrupt affinity matches a CPU of the mask, else
  /// any free one, and always writes the CPU number back.
  func allocateDmaChannel(
    _ parameters: NetDmaChannelParameters, handle: NetDmaChannelHandle
  ) throws(NetDmaError) -> NetDmaChannelGrant

  /// FreeDmaChannel: nothing is outstanding, and nothing is called on the channel afterwards.
  func freeDmaChannel(_ channel: any NetDmaChannelContext)

  /// StartDma: the first call after allocate, abort or reset; forgets any older chain.
  ///
  /// `descriptor` is the device's address of the first of `count` descriptors.
  func startDma(
    _ channel: any NetDmaChannelContext, descriptor: UInt64, count: Int
  ) throws(NetDmaError)

  /// AppendDma: `count` descriptors more are valid behind those of the last call.
  func appendDma(_ channel: any NetDmaChannelContext, count: Int) throws(NetDmaError)

  /// SuspendDma (optional): finishes the descriptor in progress and tells the last one done, 0 when
  /// none was since the start.
  func suspendDma(_ channel: any NetDmaChannelContext) throws(NetDmaError) -> UInt64

  /// ResumeDma (optional): goes on behind the descriptor that was finished last.
  ///
  /// netdma.h has the engine re-read that descriptor's `next`; for engines that need to be told,
  /// `descriptor` is where to go on and `count` how many descriptors are valid from there (0: none,
  /// the next call is `startDma`).
  func resumeDma(
    _ channel: any NetDmaChannelContext, descriptor: UInt64, count: Int
  ) throws(NetDmaError)

  /// AbortDma (optional): stops at once; ready for `startDma`.
  func abortDma(_ channel: any NetDmaChannelContext) throws(NetDmaError)

  /// ResetChannel (optional): as abort, back to the state just after the allocation.
  func resetChannel(_ channel: any NetDmaChannelContext) throws(NetDmaError)

  /// Not part of netdma.h: resets the whole engine, for when the reset of a channel does not help.
  ///
  /// The interface calls `resetChannel` on every allocated channel afterwards. In between it calls
  /// nothing else.
  func resetDevice() throws(NetDmaError)

  /// Not part of netdma.h: why a channel stopped. Acknowledges nothing.
  func channelFault(_ channel: any NetDmaChannelContext) throws(NetDmaError) -> NetDmaChannelFault
}

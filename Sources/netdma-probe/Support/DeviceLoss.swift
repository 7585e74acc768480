// SPDX-License-Identifier: Apache-2.0

import NetDmaVFIO

/// Runs `body`; when it ends because the device was lost, throws how the device was lost.
///
/// A channel only knows that it is gone, while the person at the terminal can do something about
/// the server that was killed or the device that was unplugged.
func namingDeviceLoss<Result>(
  of transport: any DeviceTransport, _ body: () throws -> Result
) throws -> Result {
  do {
    return try body()
  } catch let error as NetDmaError {
    guard case .channelGone = error else { throw error }
    _ = try PCIConfiguration(transport).command()
    throw error
  }
}

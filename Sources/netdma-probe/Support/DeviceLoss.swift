// SPDX-License-Identifier: Apache-2.0

import NetDmaVFIO

/// Runs `body`; when it fails and the device is not there any more, throws that instead.
///
/// A channel only knows that it is gone, and a wait that nothing came, while the person at the
/// terminal can do something about the server that was killed or the device that was unplugged.
func namingDeviceLoss<Result>(
  of transport: any DeviceTransport, _ body: () throws -> Result
) throws -> Result {
  do {
    return try body()
  } catch {
    do throws(VFIOError) {
      _ = try PCIConfiguration(transport).command()
    } catch let loss {
      switch loss {
      case .disconnected, .deviceGone: throw loss
      default: break
      }
    }
    throw error
  }
}

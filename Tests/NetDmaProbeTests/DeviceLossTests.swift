// SPDX-License-Identifier: Apache-2.0

import NetDmaVFIO
import TestSupport
import Testing

@testable import netdma_probe

/// What is said when a command fails on a device that is no longer there.
@Suite("Loss of the device")
struct DeviceLossTests {
  private struct Failure: Error {}

  private func gone() -> RecordingTransport {
    let transport = RecordingTransport()
    // COMMAND of a function that does not answer.
    transport.write(.configuration, at: 4, width: .word, value: 0xffff)
    return transport
  }

  @Test("whatever failed, the reason is the device that is not there")
  func lost() {
    let transport = gone()
    for error in [NetDmaError.channelGone(reason: "It was stopped.") as any Error, Failure()] {
      #expect {
        try namingDeviceLoss(of: transport) { throw error }
      } throws: { found in
        if case VFIOError.deviceGone? = found as? VFIOError { true } else { false }
      }
    }
  }

  @Test("a failure on a device that answers stays what it was, and a success too")
  func present() throws {
    let transport = RecordingTransport()
    #expect(throws: Failure.self) { try namingDeviceLoss(of: transport) { throw Failure() } }
    let value = try namingDeviceLoss(of: gone()) { 7 }
    #expect(value == 7)
  }
}

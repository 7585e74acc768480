// SPDX-License-Identifier: Apache-2.0

import CNetDma
import Glibc

/// PowerState of PMCSR (PCI power management capability + 4, bits 1:0).
public enum PCIPowerState: UInt16, Sendable {
  /// Fully on.
  case d0 = 0
  /// Off but for configuration space; registers are lost on the way back.
  case d3hot = 3
}

extension IOATDevice {
  /// Throws `VFIOError.missingFeature` where the function has no power management capability.
  func requirePowerManagement() throws(IOATError) { _ = try powerRegister() }

  /// Changes the power state; after D0 the function masters the bus and has its interrupts again.
  ///
  /// No engine may run, and after D3hot no register may be touched. Takes at least 10 ms.
  public func setPower(_ state: PCIPowerState) throws(IOATError) {
    let register = try powerRegister()
    do throws(VFIOError) {
      let configuration = PCIConfiguration(transport)
      let before = try configuration.read16(at: register)
      try configuration.write16(before & ~3 | state.rawValue, at: register)
      // The function may take this long to change (PCI power management 1.2, 5.6.1).
      let end = Deadline.now() &+ 10_000_000
      // A signal cuts a sleep short.
      while Deadline.now() < end { usleep(1_000) }
      let found = try configuration.read16(at: register)
      guard found & 3 == state.rawValue else {
        throw VFIOError.configurationRefused(
          device: name, register: register, wanted: UInt32(before & ~3 | state.rawValue),
          found: UInt32(found))
      }
      if state == .d0 { try configuration.enableMemory() }
    } catch { throw .transport(error) }
    if state == .d0 {
      try startMastering()
      try reconnectInterrupts()
    }
  }

  private func powerRegister() throws(IOATError) -> UInt64 {
    do throws(VFIOError) {
      let configuration = PCIConfiguration(transport)
      guard
        let capability = try configuration.offset(ofCapability: PCICapabilityID.powerManagement)
      else {
        throw VFIOError.missingFeature(device: name, feature: "PCI power management")
      }
      return capability + 4
    } catch { throw .transport(error) }
  }
}

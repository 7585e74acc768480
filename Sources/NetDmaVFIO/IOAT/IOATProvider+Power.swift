// SPDX-License-Identifier: Apache-2.0

import Logging
import Synchronization

/// The provider's side of NetDmaProviderPowerDown and NetDmaProviderPowerUp.
extension IOATProvider {
  /// Has the interface stop every engine, then puts the function into D3hot.
  ///
  /// Operations wait for `powerUp()`.
  /// - Throws: `NetDmaError.wrongState` unless the provider is started; `.hardware` where the
  ///   function has no power management, which changes nothing, or does not obey.
  public func powerDown() throws(NetDmaError) {
    let handle = try started("NetDmaPnPEventNotify")
    try hardware { () throws(IOATError) in try device.requirePowerManagement() }
    try interface.notifyPnPEvent(handle, .providerPowerDown)
    state.withLock { $0.hasPower = false }
    // A DPC that began before that may still be at a register.
    dispatcher.flush()
    try hardware { () throws(IOATError) in try device.setPower(.d3hot) }
  }

  /// Puts the function into D0, programs it anew, and has the interface go on.
  ///
  /// - Throws: `NetDmaError.wrongState` unless it is powered down; `.hardware`.
  public func powerUp() throws(NetDmaError) {
    let handle = try started("NetDmaPnPEventNotify")
    guard !hasPower else { throw .wrongState(call: "NetDmaPnPEventNotify", state: "started") }
    try hardware { () throws(IOATError) in try regainPower() }
    try interface.notifyPnPEvent(handle, .providerPowerUp)
  }

  /// Gives the function its power back for good, where it was taken; false where it stays without.
  func restorePower() -> Bool {
    if hasPower { return true }
    do throws(IOATError) {
      try regainPower()
      return true
    } catch .transport(.disconnected), .transport(.deviceGone) {
      // There is nothing that could have power.
      return false
    } catch {
      logger.warning("the function stays without power", metadata: ["reason": "\(error)"])
      return false
    }
  }

  /// Puts the function into D0, after which its registers may be touched.
  func regainPower() throws(IOATError) {
    try device.setPower(.d0)
    state.withLock { $0.hasPower = true }
  }

  /// Whether registers may be touched.
  var hasPower: Bool { state.withLock { $0.hasPower } }

  /// - Throws: `NetDmaError.wrongState` where registers must not be touched.
  func requirePower() throws(NetDmaError) {
    if !hasPower { throw .wrongState(call: "IOATProvider", state: "powered down") }
  }

  private func started(_ call: String) throws(NetDmaError) -> NetDmaProviderHandle {
    guard let handle = state.withLock({ $0.handle }) else {
      throw .wrongState(call: call, state: "not started")
    }
    return handle
  }
}

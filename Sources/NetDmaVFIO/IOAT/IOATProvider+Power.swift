// SPDX-License-Identifier: Apache-2.0

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
    try hardware { () throws(IOATError) in try device.setPower(.d3hot) }
  }

  /// Puts the function into D0, programs it anew, and has the interface go on.
  ///
  /// - Throws: `NetDmaError.wrongState` unless it is powered down; `.hardware`.
  public func powerUp() throws(NetDmaError) {
    let handle = try started("NetDmaPnPEventNotify")
    try hardware { () throws(IOATError) in try device.setPower(.d0) }
    try interface.notifyPnPEvent(handle, .providerPowerUp)
  }

  private func started(_ call: String) throws(NetDmaError) -> NetDmaProviderHandle {
    guard let handle = state.withLock({ $0.handle }) else {
      throw .wrongState(call: call, state: "not started")
    }
    return handle
  }
}

// SPDX-License-Identifier: Apache-2.0

import Logging
import NetDmaVFIO
import TestSupport
import Testing

extension Logger {
  /// Says nothing.
  static var silent: Logger { Logger(label: "test") { _ in SwiftLogNoOpLogHandler() } }
}

extension FakeKernel {
  /// The function opened through container and group.
  func openGroup() throws -> VFIOKernelTransport {
    let address = try #require(PCIAddress(FakeKernel.address))
    return try VFIOKernelTransport(address, host: host, logger: .silent)
  }

  /// The function opened through its character device.
  func openCharacterDevice() throws -> IommufdTransport {
    let address = try #require(PCIAddress(FakeKernel.address))
    return try IommufdTransport(address, host: host, logger: .silent)
  }

  /// Opened through either.
  func open(_ interface: KernelInterface) throws -> any DeviceTransport {
    switch interface {
    case .group: try openGroup()
    case .characterDevice: try openCharacterDevice()
    }
  }

  /// Forgets the calls so far.
  func clearTrace() { with { $0.trace = [] } }
}

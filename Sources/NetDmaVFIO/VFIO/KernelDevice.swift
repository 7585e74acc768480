// SPDX-License-Identifier: Apache-2.0

public import Logging

/// Linux VFIO's two interfaces to the same devices.
public enum KernelInterface: String, Sendable, CaseIterable {
  /// /dev/vfio/vfio and /dev/vfio/N: every kernel with VFIO, unless built without.
  case group
  /// /dev/iommu and /dev/vfio/devices/vfioN: Linux 6.6 and later, where it was built in.
  case characterDevice = "cdev"
}

/// Opens the function at `address` through whichever interface this kernel offers for it.
///
/// Where both exist, `preferred` is taken; where only one does, that one. A failure is that of the
/// interface taken: the two exclude each other, so trying the second after the first was refused
/// would only hide the reason.
/// - Throws: as `VFIOKernelTransport.open`.
public func openKernelDevice(
  address: PCIAddress, preferring preferred: KernelInterface = .group,
  logger: Logger = Logger(label: "netdma.vfio")
) throws(VFIOError) -> any DeviceTransport {
  try openKernelDevice(address: address, preferring: preferred, host: .local, logger: logger)
}

/// `openKernelDevice` on a machine of choice.
package func openKernelDevice(
  address: PCIAddress, preferring preferred: KernelInterface, host: VFIOHost, logger: Logger
) throws(VFIOError) -> any DeviceTransport {
  switch KernelInterface.available(for: address, host: host, preferring: preferred) {
  case .group: try VFIOKernelTransport(address, host: host, logger: logger)
  case .characterDevice: try IommufdTransport(address, host: host, logger: logger)
  }
}

extension KernelInterface {
  /// The interface to take: the preferred one unless only the other exists.
  package static func available(
    for address: PCIAddress, host: VFIOHost, preferring preferred: KernelInterface
  ) -> KernelInterface {
    let node = host.node(address)
    let hasGroup =
      host.files.exists(host.containerPath)
      && (node.iommuGroup.map { host.files.exists(host.groupPath($0)) } ?? false)
    let hasCharacterDevice =
      host.files.exists(host.iommufdPath)
      && (node.vfioCharacterDevice.map { host.files.exists(host.devicePath($0)) } ?? false)
    switch (hasGroup, hasCharacterDevice) {
    case (true, true): return preferred
    case (false, true): return .characterDevice
    // Where neither exists the older interface's errors explain why.
    case (true, false), (false, false): return .group
    }
  }
}

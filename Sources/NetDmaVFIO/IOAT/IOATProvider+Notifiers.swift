// SPDX-License-Identifier: Apache-2.0

import Logging
import Synchronization

/// What the host says of the device: an uncorrectable error, or that it is wanted back.
extension IOATProvider {
  /// Listens where the transport offers it (VFIO_PCI_ERR_IRQ_INDEX, VFIO_PCI_REQ_IRQ_INDEX).
  func connectNotifiers() {
    connect(.error) { provider in
      guard let handle = provider.state.withLock({ $0.handle }) else { return }
      let device = provider.device
      provider.interface.maintenance.failProvider(handle) {
        // A transport that is gone says so itself.
        do throws(VFIOError) {
          _ = try PCIConfiguration(device.transport).command()
          return .hardware(.errorReported(device: device.name))
        } catch { return .hardware(.transport(error)) }
      }
    }
    connect(.request) { provider in
      guard let handle = provider.state.withLock({ $0.handle }) else { return }
      provider.interface.removalRequested(handle)
    }
  }

  private func connect(
    _ index: IRQIndex, notify: @escaping @Sendable (IOATProvider) -> Void
  ) {
    do {
      guard try device.transport.interruptCount(index) > 0 else { return }
      let vectors = try InterruptVectors(
        count: 1, dispatcher: dispatcher, cpu: { _ in interface.cpus.first ?? 0 },
        isr: { [weak self] _, signals in
          if let self, signals > 0 { notify(self) }
        })
      do {
        try device.transport.enableInterrupts(index, eventFDs: vectors.fileDescriptors)
      } catch {
        vectors.disconnect()
        throw error
      }
      state.withLock { $0.notifiers.append((index, vectors)) }
    } catch {
      // The engine works without; its own errors still show in its registers.
      logger.info("no notifier", metadata: ["index": "\(index)", "reason": "\(error)"])
    }
  }

  /// Afterwards nothing is heard any more.
  func disconnectNotifiers() {
    let notifiers = state.withLock { state in
      let notifiers = state.notifiers
      state.notifiers = []
      return notifiers
    }
    for (index, vectors) in notifiers {
      // A transport that is gone has nothing connected.
      try? device.transport.disableInterrupts(index)
      vectors.disconnect()
    }
  }
}

// SPDX-License-Identifier: Apache-2.0

import CNetDma
import Glibc
package import Logging
import Synchronization
import SystemPackage

/// An open VFIO PCI function: regions, interrupts and reset, the same for both kernel interfaces.
///
/// Its parts are in VFIODevice+Regions.swift and VFIODevice+Interrupts.swift. Thread-safe.
package struct VFIODevice: ~Copyable, Sendable {
  let file: KernelDescriptor<KernelFile.Device>
  /// The PCI address.
  package let name: String
  /// VFIO_DEVICE_FLAGS_RESET: the function can be reset alone.
  package let supportsReset: Bool
  let regionCount: UInt32
  let interruptIndexCount: UInt32
  let calls: any KernelCalls
  let logger: Logger
  /// What VFIO_DEVICE_GET_REGION_INFO said, by index.
  let regions = Mutex<[UInt32: DeviceRegion]>([:])
  /// Interrupt indexes with eventfds connected; the lock is held during SET_IRQS and reset, so that
  /// the two never mix.
  let connected = Mutex<Set<IRQIndex>>([])

  /// Takes an open descriptor and asks what it is.
  ///
  /// - Throws: `VFIOError.missingFeature` when it is no PCI function, `.system`.
  package init(
    _ file: consuming KernelDescriptor<KernelFile.Device>, name: String, calls: any KernelCalls,
    logger: Logger
  ) throws(VFIOError) {
    var info = vfio_device_info()
    // The fixed part that every kernel knows; what follows cap_offset in newer headers stays out.
    info.argsz = Self.infoSize
    do throws(SystemCallError) {
      try file.call(.getInfo, &info)
    } catch {
      throw .system(device: name, error: error)
    }
    // Bit 1: PCI. Regions up to 7, configuration space, and interrupts up to 2, MSI-X, are needed.
    guard info.flags & 2 != 0, info.num_regions > RegionIndex.configuration.rawValue,
      info.num_irqs > IRQIndex.msix.rawValue
    else { throw .missingFeature(device: name, feature: "PCI interface in VFIO") }
    self.file = file
    self.name = name
    self.calls = calls
    self.logger = logger
    supportsReset = info.flags & 1 != 0
    regionCount = info.num_regions
    interruptIndexCount = info.num_irqs
  }

  private static let infoSize: UInt32 = 20

  // MARK: - Reset and the end

  /// Resets the function and leaves it off the bus, with no interrupt of its own connected; error
  /// and request notifiers stay.
  ///
  /// - Throws: `VFIOError.missingFeature` when the function has no reset of its own, `.system`; with
  ///   EAGAIN when something else kept the function's lock for a second.
  package borrowing func reset() throws(VFIOError) {
    guard supportsReset else { throw .missingFeature(device: name, feature: "function reset") }
    let refusal = connected.withLock { connected -> VFIOError? in
      // The kernel saves configuration space before the reset and restores it afterwards; what
      // must not come back is turned off first.
      do throws(VFIOError) {
        for index in [IRQIndex.intx, .msi, .msix] where connected.contains(index) {
          try disconnect(index)
          connected.remove(index)
        }
        try leaveBus()
      } catch {
        return error
      }
      return attemptReset()
    }
    if let refusal { throw refusal }
  }

  /// VFIO_DEVICE_RESET, again while the kernel has the function's lock for something else, as for a
  /// reset of the slot; gives what went wrong.
  private borrowing func attemptReset() -> VFIOError? {
    let contention = ResetContention()
    while true {
      step("resetting the function")
      do throws(SystemCallError) {
        try file.call(.reset)
        return nil
      } catch {
        switch error.errno.rawValue {
        // pci_try_reset_function does not wait for the lock.
        case EAGAIN where contention.waits(): continue
        case EINVAL: return .missingFeature(device: name, feature: "working function reset")
        default: return failure(of: error)
        }
      }
    }
  }

  /// Turns bus mastering off, if it is on and the function answers.
  private borrowing func leaveBus() throws(VFIOError) {
    let command = try read(.configuration, at: PCIConfigRegister.command, width: .word)
    let busMaster = UInt64(PCICommand.busMaster.rawValue)
    guard command != 0xffff, command & busMaster != 0 else { return }
    step("bus mastering off")
    try write(
      .configuration, at: PCIConfigRegister.command, width: .word, value: command & ~busMaster)
  }

  /// Stops transfers and interrupts, before mappings go and the descriptor closes.
  ///
  /// Nothing is left to try when a step fails, so failures are logged.
  package borrowing func quiesce() {
    func attempt(_ step: String, _ body: () throws(VFIOError) -> Void) {
      do throws(VFIOError) {
        try body()
      } catch {
        logger.warning(
          "a step of closing failed",
          metadata: ["device": "\(name)", "step": "\(step)", "reason": "\(error)"])
      }
    }
    attempt("bus mastering off") { () throws(VFIOError) in try leaveBus() }
    connected.withLock { connected in
      for index in IRQIndex.allCases where connected.contains(index) {
        attempt("disconnecting \(index.label)") { () throws(VFIOError) in try disconnect(index) }
      }
      connected = []
    }
  }

  /// Says what is done next, for whoever asked to see each step.
  borrowing func step(_ text: @autoclosure () -> String) {
    logger.debug("\(text())", metadata: ["device": "\(name)"])
  }

  /// ENODEV: the function was unplugged, or its driver let it go.
  func failure(of error: SystemCallError) -> VFIOError {
    error.errno.rawValue == ENODEV
      ? .deviceGone(device: name) : .system(device: name, error: error)
  }
}

/// How long a call that the kernel refuses with EAGAIN is made again: a reset, of this function or
/// of a neighbour, is in its way.
struct ResetContention {
  /// A function reset takes 100 ms (PCIe base specification, 6.6.2), and a slot has eight functions.
  private static let patience = Duration.seconds(1)
  /// Microseconds between two attempts.
  private static let pause: UInt32 = 10_000
  private let deadline = Deadline(after: patience)

  /// Waits before the next attempt; false when there is to be none.
  func waits() -> Bool {
    if deadline.hasPassed { return false }
    usleep(Self.pause)
    return true
  }
}

/// A region with its place in the device's file.
struct DeviceRegion: Sendable {
  var info: RegionInfo
  /// Added to the offset in the region.
  var fileOffset: UInt64

  static let absent = DeviceRegion(
    info: RegionInfo(size: 0, isReadable: false, isWritable: false), fileOffset: 0)
}

extension IRQIndex {
  /// "MSI-X", for messages.
  package var label: String {
    switch self {
    case .intx: "INTx"
    case .msi: "MSI"
    case .msix: "MSI-X"
    case .error: "error notifier"
    case .request: "request notifier"
    }
  }
}

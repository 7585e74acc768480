// SPDX-License-Identifier: Apache-2.0

import NetDmaVFIO

/// The eventfd that stands for a vector at the host.
struct InterruptTarget: Sendable {
  private let descriptor: CInt
  /// Keeps the descriptor open; without it whoever connected the eventfd does.
  private let owner: SharedDescriptor?
  private let signaller: EventSignaller?

  /// An eventfd that its owner keeps open until it is disconnected.
  init(borrowing descriptor: CInt) {
    self.descriptor = descriptor
    owner = nil
    signaller = nil
  }

  /// An eventfd that a client gave us, who can make a write to it wait for ever.
  init(_ owner: SharedDescriptor, _ signaller: EventSignaller) {
    descriptor = owner.rawValue
    self.owner = owner
    self.signaller = signaller
  }

  func signal() {
    if let signaller { signaller.signal(descriptor) } else { EventFD.signalUnlessFull(descriptor) }
  }
}

/// Who writes the MSI-X table that counts.
enum MSIXTableOwner: Sendable {
  /// The host, as the kernel's VFIO: it programs entries when vectors are connected, and what
  /// happens to the table afterwards (a quirk that wipes it) happens to the interrupts.
  case host
  /// A vfio-user client: it shows its guest a table of its own, so that the device's never changes;
  /// a connected vector is an unmasked one whatever befell the table.
  case client
}

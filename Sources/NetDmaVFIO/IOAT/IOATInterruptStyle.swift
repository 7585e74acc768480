// SPDX-License-Identifier: Apache-2.0

/// How a function's channels interrupt.
public enum IOATInterruptStyle: Hashable, Sendable {
  /// MSI-X with a vector for each channel (INTRCTRL.MSIX_VECTOR_CONTROL): vector n is channel n's.
  case vectorForEachChannel
  /// One interrupt of this kind for the whole function: ATTNSTATUS tells whose it is, and INTRCTRL
  /// lets the next one come.
  case shared(IRQIndex)

  /// The VFIO index that its eventfds belong to.
  public var index: IRQIndex {
    switch self {
    case .vectorForEachChannel: .msix
    case .shared(let index): index
    }
  }

  /// "MSI-X", "MSI-X, shared", "MSI" or "INTx": for messages.
  public var name: String {
    switch self {
    case .vectorForEachChannel: index.label
    case .shared(.msix): "\(index.label), shared"
    case .shared: index.label
    }
  }

  /// What a function of `channels` channels can do with the vectors that `count` tells of each
  /// index, best first: as Linux's ioatdma tries them, with one MSI-X vector before MSI.
  static func offered(
    channels: Int, _ count: (IRQIndex) throws(VFIOError) -> Int
  ) throws(VFIOError) -> [IOATInterruptStyle] {
    var styles: [IOATInterruptStyle] = []
    let vectors = try count(.msix)
    if vectors >= channels, channels > 0 { styles.append(.vectorForEachChannel) }
    if vectors > 0 { styles.append(.shared(.msix)) }
    for index in [IRQIndex.msi, .intx] where try count(index) > 0 { styles.append(.shared(index)) }
    return styles
  }
}

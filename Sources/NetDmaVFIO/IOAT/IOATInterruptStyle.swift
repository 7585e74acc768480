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

  /// What a function of `channels` channels can do with so many MSI-X vectors and the `others` that
  /// it has, best first: as Linux's ioatdma tries them, with one MSI-X vector before MSI.
  static func offered(
    channels: Int, vectors: Int, others: [IRQIndex]
  ) -> [IOATInterruptStyle] {
    var styles: [IOATInterruptStyle] = []
    if vectors >= channels { styles.append(.vectorForEachChannel) }
    if vectors > 0 { styles.append(.shared(.msix)) }
    return styles + others.map { .shared($0) }
  }
}

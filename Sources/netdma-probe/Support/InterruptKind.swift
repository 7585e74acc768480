// SPDX-License-Identifier: Apache-2.0

import ArgumentParser
import NetDmaVFIO

/// A kind of interrupt, as command lines name it.
enum InterruptKind: String, ExpressibleByArgument, CaseIterable {
  case msix, msi, intx

  var index: IRQIndex {
    switch self {
    case .msix: .msix
    case .msi: .msi
    case .intx: .intx
    }
  }
}

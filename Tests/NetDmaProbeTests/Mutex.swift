// SPDX-License-Identifier: Apache-2.0

import NetDmaVFIO

/// The lock of this package, where `Synchronization` has one of the same name.
typealias Mutex<Value: ~Copyable> = NetDmaVFIO.Mutex<Value>

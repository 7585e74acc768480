// SPDX-License-Identifier: Apache-2.0

// Runs what the articles of the documentation show, so that it is known to work.
import Logging

let logger = Logger(label: "example")
try await gettingStarted(logger: logger)
try netDmaInTenMinutes(logger: logger)
try softwareProvider(logger: logger)
try await affinity(logger: logger)
try await errors(logger: logger)
try await memory(logger: logger)
try emulator(logger: logger)
try benchmark(logger: logger)

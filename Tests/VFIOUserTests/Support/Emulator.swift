// SPDX-License-Identifier: Apache-2.0

import Glibc
import Logging
import NetDmaMock
import NetDmaVFIO
import Synchronization
import Testing

/// A server of ours on a socket of its own, stopped and removed with the last reference.
final class Emulator: Sendable {
  let path: String
  let server: VFIOUserServer
  private let thread: PinnedThread

  static let log = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }

  init(
    _ configuration: ModelConfiguration = ModelConfiguration(timing: .fast),
    mapsDoorbells: Bool = false, path: String = Emulator.freshPath()
  ) throws {
    self.path = path
    let server = try VFIOUserServer(
      path: path, configuration: configuration, mapsDoorbells: mapsDoorbells, logger: Self.log)
    self.server = server
    thread = try PinnedThread(name: "test-server") { _ in server.run() }
  }

  deinit { server.stop() }

  /// A path that nothing else uses.
  static func freshPath() -> String {
    "/tmp/netdma-test-\(getpid())-\(String(UInt64.random(in: 0...UInt64.max), radix: 36)).sock"
  }

  func client(timeout: Duration = .seconds(20)) throws(VFIOError) -> VFIOUserClient {
    try VFIOUserClient.connect(path: path, timeout: timeout, logger: Self.log)
  }

  /// A client that connects as soon as the one before has gone.
  func peer() throws -> RawPeer { try RawPeer(connectingTo: path) }
}

/// Whether `condition` comes true before a hang is assumed.
func eventually(_ condition: () throws -> Bool) rethrows -> Bool {
  let deadline = Deadline(after: .seconds(30))
  while !deadline.hasPassed {
    if try condition() { return true }
    usleep(1000)
  }
  return try condition()
}

/// Number of this process's open descriptors.
func openDescriptors() -> Int {
  (0..<4096).count { fcntl(CInt($0), F_GETFD) >= 0 }
}

/// Runs `round` and expects as many open descriptors afterwards as before; for a process of its own.
func expectBalancedDescriptors(_ round: () async throws -> Void) async throws {
  // The runtime opens descriptors of its own when it first needs them.
  try await round()
  try await Task.sleep(for: .milliseconds(200))
  let before = openDescriptors()
  try await round()
  #expect(eventually { openDescriptors() == before })
}

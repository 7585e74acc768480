// SPDX-License-Identifier: Apache-2.0

import Glibc
import Logging
import NetDmaMock
import NetDmaVFIO
import Synchronization
import Testing

/// Our own driver is one that was written for silicon: it opens every part and copies.
@Suite("Device profiles: our driver")
struct DriverOnProfileTests {
  private static let silent = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
  private static let raidNames = [
    "nehalem", "jasper-forest", "sandy-bridge", "ivy-bridge", "haswell", "broadwell", "ice-lake",
  ]

  @Test("copies by interrupt match on every function", arguments: DeviceProfile.names)
  func copies(name: String) throws {
    for function in 0..<(try DeviceProfile.functionCount(named: name)) {
      try copy(DeviceProfileTests.profile(name, function: function))
    }
  }

  @Test("copies by interrupt match with RAID", arguments: raidNames)
  func raidCopies(name: String) throws {
    for function in 0..<2 {
      try copy(DeviceProfileTests.profile(name, function: function, raid: true))
    }
  }

  private func copy(_ profile: DeviceProfile) throws {
    let transport = try MockTransport(profile: profile)
    var options = DMAEngine.Options()
    options.interrupts.pinsThreads = false
    let engine = try DMAEngine(transport: transport, options: options, logger: Self.silent)
    defer { try? engine.close() }
    #expect(engine.device.deviceID == profile.model.deviceID)

    // More than one descriptor moves.
    let count = Int(profile.model.maximumTransfer) + 12345
    var source = try engine.allocate(byteCount: count)
    let target = try engine.allocate(byteCount: count)
    let pattern = Self.pattern(count)
    source.withMutableBytes { span in
      span.withUnsafeMutableBytes { $0.copyBytes(from: pattern) }
    }
    let ended = Ended()
    var channel = try engine.openChannel(mode: .interrupt) { ended.count($0) }
    for (token, range) in [0..<1, 4095..<8193, 8193..<count].enumerated() {
      let isEnqueued = channel.enqueueCopy(
        from: source.slice(range), to: target.slice(range), token: UInt64(token))
      #expect(isEnqueued)
      try channel.submit()
      // Each has an interrupt of its own: a vector that died after the first would show.
      try #require(ended.reaches(token + 1))
    }
    #expect(ended.failures == 0)
    let interrupts = channel.statistics.interrupts
    #expect(interrupts >= 3)
    let expected = [pattern[0]] + [UInt8](repeating: 0, count: 4094) + pattern[4095...]
    let bytes = target.withBytes { span in span.withUnsafeBytes { [UInt8]($0) } }
    let isEqual = bytes == expected
    #expect(isEqual)
  }

  /// Bytes that tell where they belong: their period divides no page and no transfer limit.
  private static func pattern(_ count: Int) -> [UInt8] {
    let round = (0..<251).map { UInt8($0) }
    var bytes: [UInt8] = []
    bytes.reserveCapacity(count + 251)
    while bytes.count < count { bytes += round }
    return [UInt8](bytes.prefix(count))
  }

  /// Completions so far.
  private final class Ended: Sendable {
    private let state = Mutex((all: 0, failed: 0))
    func count(_ completion: DMACompletion) {
      state.withLock { state in
        state.all += 1
        if completion.error != nil { state.failed += 1 }
      }
    }
    var failures: Int { state.withLock { $0.failed } }
    /// Whether there are that many before a test would better be called hung.
    func reaches(_ count: Int) -> Bool {
      let deadline = Deadline(after: .seconds(20))
      while state.withLock({ $0.all < count }) {
        if deadline.hasPassed { return false }
        usleep(50)
      }
      return true
    }
  }
}

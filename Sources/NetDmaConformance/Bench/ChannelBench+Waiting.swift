// SPDX-License-Identifier: Apache-2.0

import NetDmaVFIO

extension ChannelBench {
  /// Asks until `condition` holds or the time limit passes; whether it held.
  func poll(_ condition: () throws(Finding) -> Bool) throws(Finding) -> Bool {
    try Deadline(after: function.options.limit).poll(condition)
  }

  /// Waits for a state; returns CHANSTS as it was seen then.
  @discardableResult
  func awaitState(_ state: BenchState, _ when: String) throws(Finding) -> UInt64 {
    var seen: UInt64 = 0
    let reached = try poll { () throws(Finding) in
      seen = try status()
      return seen & 7 == state.rawValue
    }
    guard reached else {
      let wanted = BenchState.name(state.rawValue)
      throw .violated(
        "\(when) CHANSTS stays \(describe(seen)) instead of \(wanted), "
          + "CHANERR \(hex(try error()))")
    }
    return seen
  }

  /// Waits until the chain is done; a channel that halts instead is not waited for.
  ///
  /// Returns CHANSTS as it was seen then.
  @discardableResult
  func awaitIdle(_ when: String = "after the doorbell") throws(Finding) -> UInt64 {
    var seen: UInt64 = 0
    _ = try poll { () throws(Finding) in
      seen = try status()
      return seen & 7 != BenchState.active.rawValue
    }
    guard seen & 7 == BenchState.idle.rawValue else {
      throw .violated(
        "\(when) CHANSTS is \(describe(seen)) instead of IDLE, CHANERR \(hex(try error()))")
    }
    return seen
  }

  /// Waits until the chain is done up to slot `last`, which CHANSTS names then.
  ///
  /// A doorbell from IDLE may be seen a moment later than the read that follows it, so IDLE alone
  /// does not say that the new descriptors are done.
  func awaitIdle(at last: Int, _ when: String = "after the doorbell") throws(Finding) {
    let expected = slot(last) | BenchState.idle.rawValue
    var seen: UInt64 = 0
    _ = try poll { () throws(Finding) in
      seen = try status()
      return seen == expected || seen & 7 > BenchState.idle.rawValue
    }
    guard seen == expected else {
      throw .violated(
        "\(when) CHANSTS is \(describe(seen)) instead of \(describe(expected)), "
          + "CHANERR \(hex(try error()))")
    }
  }

  /// Waits for HALTED; a channel that finishes instead is not waited for.
  ///
  /// Returns CHANSTS as it was seen then.
  @discardableResult
  func awaitHalt(_ when: String) throws(Finding) -> UInt64 {
    var seen: UInt64 = 0
    _ = try poll { () throws(Finding) in
      seen = try status()
      return seen & 7 != BenchState.active.rawValue
    }
    guard seen & 7 == BenchState.halted.rawValue else {
      throw .violated(
        "\(when) CHANSTS is \(describe(seen)) instead of HALTED, CHANERR \(hex(try error()))")
    }
    return seen
  }

  /// Waits until the completion word is `expected`.
  func awaitWord(_ expected: UInt64, _ when: String) throws(Finding) {
    var seen: UInt64 = 0
    let reached = try poll { () throws(Finding) in
      seen = word
      return seen == expected
    }
    guard reached else {
      throw .violated(
        "\(when) the completion word is \(describe(seen)) instead of \(describe(expected))")
    }
  }

  /// Waits until the completion word names slot `index` as done, in any running state.
  func awaitDone(_ index: Int, _ when: String = "after the doorbell") throws(Finding) {
    var seen: UInt64 = 0
    let reached = try poll { () throws(Finding) in
      seen = word
      return seen & ~0x3f == slot(index) && seen & 7 <= BenchState.idle.rawValue
    }
    guard reached else {
      throw .violated(
        "\(when) the completion word is \(describe(seen)) instead of \(hex(slot(index))), done")
    }
  }

  /// A register must have a value.
  func expect(
    _ value: UInt64, is expected: UInt64, _ what: @autoclosure () -> String
  ) throws(Finding) {
    guard value == expected else {
      throw .violated("\(what()) is \(hex(value)) instead of \(hex(expected))")
    }
  }

  /// CHANSTS or a completion word must have a value.
  func expect(
    status: UInt64, is expected: UInt64, _ what: @autoclosure () -> String
  ) throws(Finding) {
    guard status == expected else {
      throw .violated("\(what()) is \(describe(status)) instead of \(describe(expected))")
    }
  }

  /// Something must hold.
  func expect(_ holds: Bool, _ otherwise: @autoclosure () -> String) throws(Finding) {
    guard holds else { throw .violated(otherwise()) }
  }

  /// The completion word must be as it was before the chain was started.
  func expectUntouchedWord(_ when: String) throws(Finding) {
    let seen = word
    guard seen == Self.untouched else {
      throw .violated("\(when) the completion word was written: \(describe(seen))")
    }
  }

  /// Memory must hold `expected`.
  func expect(
    bytes expected: [UInt8], at address: UInt64, _ what: @autoclosure () -> String
  ) throws(Finding) {
    let found = memory.bytes(address, expected.count)
    guard let offset = zip(found, expected).enumerated().first(where: { $1.0 != $1.1 })?.offset
    else { return }
    throw .violated(
      "\(what()): byte \(offset) of \(expected.count) is \(hex(found[offset])) instead of "
        + "\(hex(expected[offset]))")
  }

  /// `count` bytes of memory must all be `byte`.
  func expect(
    _ byte: UInt8, at address: UInt64, _ count: Int, _ what: @autoclosure () -> String
  ) throws(Finding) {
    try expect(bytes: [UInt8](repeating: byte, count: count), at: address, what())
  }
}

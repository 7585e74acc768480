// SPDX-License-Identifier: Apache-2.0

import ArgumentParser

/// What is measured: one operation, done in one way.
struct BenchPoint: Hashable, Sendable {
  /// What the engine does.
  enum Operation: String, CaseIterable, Encodable, Sendable {
    case copy, fill
    /// What the CPU does instead.
    var cpuName: String { self == .copy ? "memcpy" : "memset" }
  }

  /// How completions come.
  enum Mode: String, CaseIterable, Encodable, ExpressibleByArgument, Sendable {
    case poll, interrupt, async

    /// In a sentence.
    var words: String {
      switch self {
      case .poll: "polled"
      case .interrupt: "interrupt-driven"
      case .async: "async calls"
      }
    }
  }

  /// What can be varied.
  enum Axis: String, CaseIterable, Sendable {
    case size, depth, batch, channels
  }

  var operation = Operation.copy
  var mode = Mode.poll
  /// Bytes of one operation.
  var size = 4096
  /// Operations in flight on each channel; with async calls, tasks.
  var depth = 32
  /// Operations with one doorbell.
  var batch = 1
  var channels = 1

  /// Its place on an axis.
  subscript(axis: Axis) -> Int {
    get {
      switch axis {
      case .size: size
      case .depth: depth
      case .batch: batch
      case .channels: channels
      }
    }
    set {
      switch axis {
      case .size: size = newValue
      case .depth: depth = newValue
      case .batch: batch = newValue
      case .channels: channels = newValue
      }
    }
  }

  /// "copy, 4 KiB, depth 32, batch 1, 1 channel" without what `axes` say.
  func words(without axes: Set<Axis>) -> String {
    var parts = [operation.rawValue]
    if !axes.contains(.size) { parts.append(byteCount(UInt64(size))) }
    if !axes.contains(.depth) { parts.append("depth \(depth)") }
    if !axes.contains(.batch) { parts.append("batch \(batch)") }
    if !axes.contains(.channels) {
      parts.append("\(channels) channel\(channels == 1 ? "" : "s")")
    }
    return parts.joined(separator: ", ")
  }
}

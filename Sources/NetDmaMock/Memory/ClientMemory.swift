// SPDX-License-Identifier: Apache-2.0

import CNetDma
import Glibc
import NetDmaVFIO
import Synchronization

/// A vfio-user client's memory as the emulated device sees it.
///
/// Mappings are ranges of files that the client shared. A file is mapped once, whatever the number
/// of its ranges, and its descriptor is not kept, so neither runs out however many ranges there are.
/// Ranges without a file can only be reached by asking the client.
public final class ClientMemory: BusMemory {
  /// What can be wrong with a mapping request; each names the errno to answer.
  enum Refusal: Error, Hashable {
    case invalid
    case overlaps
    case tooMany
    case notMappable

    var errno: CInt {
      switch self {
      case .invalid: EINVAL
      case .overlaps: EEXIST
      case .tooMany: ENOSPC
      case .notMappable: EACCES
      }
    }
  }

  /// How the bytes of a window are reached.
  enum Backing: Sendable {
    case file(SharedFile, offset: UInt64)
    case client
  }

  /// One mapping or several that join, or what is left of it.
  final class Window: Sendable {
    let first: UInt64
    let last: UInt64
    let permissions: DMAPermissions
    let backing: Backing
    let users = UseCount()

    init(first: UInt64, last: UInt64, permissions: DMAPermissions, backing: Backing) {
      self.first = first
      self.last = last
      self.permissions = permissions
      self.backing = backing
    }

    /// The part of this window that `first...last` leaves.
    func part(_ first: UInt64, _ last: UInt64) -> Window {
      let shift = first - self.first
      let backing: Backing =
        switch self.backing {
        case .file(let file, let offset): .file(file, offset: offset + shift)
        case .client: .client
        }
      return Window(first: first, last: last, permissions: permissions, backing: backing)
    }

    /// One window in place of this and the one that follows it at once, if what they reach does too.
    ///
    /// Nil also while a copy uses either: who takes the memory away waits for the users of what is in
    /// the table then, and must find them.
    func joined(with next: Window) -> Window? {
      guard last < next.first, next.first - last == 1, permissions == next.permissions,
        users.isUnused, next.users.isUnused
      else { return nil }
      switch (backing, next.backing) {
      // A client that is asked for bytes looks for one mapping of its own that holds them all.
      case (.client, .client): return nil
      case (.file(let file, let offset), .file(let other, let nextOffset))
      where file === other && nextOffset == offset + (next.first - first): break
      default: return nil
      }
      return Window(first: first, last: next.last, permissions: permissions, backing: backing)
    }
  }

  private struct State {
    /// Sorted, disjoint.
    var windows: [Window] = []
    /// Files mapped whole: as long as a window is in them.
    var files: [SharedFile.Identity: MappedFile] = [:]
    /// Those of which there is a newer mapping, since they grew.
    var replaced: [MappedFile] = []
    /// Addresses that all of these take, or took when the unused ones were last forgotten.
    var mappedBytes: UInt64 = 0
    var fileCount: Int { files.count + replaced.count }

    /// Forgets the files that no window is in any more.
    mutating func forgetUnused() {
      files = files.filter { $0.value.file != nil }
      replaced.removeAll { $0.file == nil }
      // No more than what was below the limit.
      mappedBytes =
        files.values.reduce(0) { $0 &+ $1.length } &+ replaced.reduce(0) { $0 &+ $1.length }
    }

    /// Whether another file of `length` bytes may be mapped.
    mutating func hasRoom(for length: UInt64) -> Bool {
      func fits() -> Bool {
        fileCount < maximumFiles && length <= maximumMappedBytes
          && mappedBytes <= maximumMappedBytes - length
      }
      // There are many of them, so not each time.
      if !fits() { forgetUnused() }
      return fits()
    }
  }

  private struct MappedFile {
    private(set) weak var file: SharedFile?
    let length: UInt64
  }

  private let state = Mutex(State())
  private let limit: Int
  /// Reads or writes client memory by message; set while a client is connected.
  private let remote = Mutex<(any RemoteMemory)?>(nil)
  /// Something was stored by message.
  let hasRemoteStores = Atomic<Bool>(false)

  /// Files that one client may share at a time.
  ///
  /// Huge pages come as a file each; each takes one of the 65,530 mappings of a process.
  private static let maximumFiles = 8192
  /// Address space that one client's files may take of ours: nothing of it is memory, but without
  /// addresses nothing else can be allocated.
  private static let maximumMappedBytes: UInt64 = 16 << 40

  /// Memory of a client that may make `limit` mappings.
  public init(limit: Int = 65535) { self.limit = limit }

  /// Who answers for ranges without a file.
  func setRemote(_ remote: (any RemoteMemory)?) { self.remote.withLock { $0 = remote } }

  /// Who answers for ranges without a file.
  var client: (any RemoteMemory)? { remote.withLock { $0 } }

  /// Number of windows; mappings that join one another are one.
  public var mappingCount: Int { state.withLock { $0.windows.count } }

  /// Files that are mapped now.
  var fileCount: Int {
    state.withLock { state in
      state.forgetUnused()
      return state.fileCount
    }
  }

  // MARK: - Mapping

  /// Makes a range visible: `size` bytes of `file` from `offset`, or of the client's own when nil.
  func map(
    first: UInt64, size: UInt64, permissions: DMAPermissions, file: SharedDescriptor?,
    offset: UInt64
  ) throws(Refusal) {
    guard size > 0, (first | size) & 0xfff == 0, !permissions.isEmpty else { throw .invalid }
    let (last, overflow) = first.addingReportingOverflow(size - 1)
    guard !overflow else { throw .invalid }
    try state.withLock { state throws(Refusal) in
      let position = state.windows.partition { $0.first > first }
      if position > 0, state.windows[position - 1].last >= first { throw .overlaps }
      if position < state.windows.count, state.windows[position].first <= last { throw .overlaps }
      guard state.windows.count < limit else { throw .tooMany }
      let backing = try Self.backing(&state, file, offset: offset, size: size, permissions)
      // Behind a virtual IOMMU a guest's memory comes page by page. Joined, it is few windows, which
      // are found fast and stay below every limit.
      var window = Window(first: first, last: last, permissions: permissions, backing: backing)
      var replaced = position..<position
      if position > 0, let joined = state.windows[position - 1].joined(with: window) {
        window = joined
        replaced = position - 1..<position
      }
      if position < state.windows.count, let joined = window.joined(with: state.windows[position]) {
        window = joined
        replaced = replaced.lowerBound..<position + 1
      }
      state.windows.replaceSubrange(replaced, with: CollectionOfOne(window))
    }
  }

  private static func backing(
    _ state: inout State, _ descriptor: SharedDescriptor?, offset: UInt64, size: UInt64,
    _ permissions: DMAPermissions
  ) throws(Refusal) -> Backing {
    guard let descriptor else { return .client }
    guard offset & 0xfff == 0, let facts = SharedFile.facts(descriptor.rawValue),
      offset <= facts.length, size <= facts.length - offset
    else { throw .invalid }
    guard facts.isReadable, facts.isWritable || !permissions.contains(.write) else {
      throw .notMappable
    }
    // A file that grew, or that was only readable before, is mapped anew; older windows keep theirs.
    if let known = state.files[facts.identity]?.file, known.holds(offset, size),
      known.isWritable || !permissions.contains(.write)
    {
      return .file(known, offset: offset)
    }
    guard state.hasRoom(for: facts.length) else { throw .tooMany }
    guard let file = SharedFile(descriptor.rawValue, facts) else { throw .notMappable }
    if let old = state.files[facts.identity] { state.replaced.append(old) }
    state.files[facts.identity] = MappedFile(file: file, length: facts.length)
    state.mappedBytes += facts.length
    return .file(file, offset: offset)
  }

  /// Takes a range away, whatever lies in it; windows that it cuts keep their rest.
  ///
  /// Afterwards the device does not touch the range any more.
  func remove(first: UInt64, last: UInt64) {
    let removed = state.withLock { state -> [Window] in
      var removed: [Window] = []
      let start = state.windows.partition { $0.last >= first }
      var end = start
      var rest: [Window] = []
      while end < state.windows.count, state.windows[end].first <= last {
        let window = state.windows[end]
        removed.append(window)
        if window.first < first { rest.append(window.part(window.first, first - 1)) }
        // Unmapping hole after hole a client could make any number of windows: beyond twice the limit
        // the part behind a hole goes too, which takes rights away and never gives any.
        if window.last > last, rest.isEmpty || state.windows.count < 2 * limit {
          rest.append(window.part(last + 1, window.last))
        }
        end += 1
      }
      state.windows.replaceSubrange(start..<end, with: rest)
      return removed
    }
    for window in removed { Self.waitForUsers(window) }
  }

  /// Takes everything away.
  func removeAll() { remove(first: 0, last: .max) }

  private static func waitForUsers(_ window: Window) {
    // An access by message waits for the client, who waits for us: it is the client that refuses it.
    if case .client = window.backing { return }
    window.users.waitUntilUnused()
  }

  // MARK: - Windows in use

  /// The window that holds all of a range, marked as used; nil when there is no single one.
  func enterOne(
    _ address: UInt64, last: UInt64, _ wanted: DMAPermissions
  ) -> Window? {
    state.withLock { state in
      let position = state.windows.partition { $0.last >= address }
      guard position < state.windows.count else { return nil }
      let window = state.windows[position]
      guard window.first <= address, last <= window.last, window.permissions.contains(wanted)
      else { return nil }
      window.users.enter()
      return window
    }
  }

  /// The windows that hold `count` bytes from `address` without a hole, each marked as used.
  func enter(
    _ address: UInt64, _ count: Int, _ direction: BusFault.Direction
  ) throws(BusFault) -> [Window] {
    let wanted: DMAPermissions = direction == .read ? .read : .write
    let (last, overflow) = address.addingReportingOverflow(UInt64(count) &- 1)
    guard count > 0, !overflow else { throw BusFault(address: address, direction: direction) }
    return try state.withLock { state throws(BusFault) in
      var found: [Window] = []
      var position = state.windows.partition { $0.last >= address }
      var next = address
      while true {
        guard position < state.windows.count, state.windows[position].first <= next,
          state.windows[position].permissions.contains(wanted)
        else { throw BusFault(address: next, direction: direction) }
        let window = state.windows[position]
        found.append(window)
        if window.last >= last { break }
        next = window.last + 1
        position += 1
      }
      for window in found { window.users.enter() }
      return found
    }
  }

  func leave(_ window: Window) { window.users.leave() }

  func leave(_ windows: [Window]) {
    for window in windows { leave(window) }
  }
}

/// Client memory that is reached by messages.
protocol RemoteMemory: AnyObject, Sendable {
  /// `count` bytes at `address`; nil when the client refused or is gone.
  func read(_ address: UInt64, _ count: Int) -> [UInt8]?
  /// False when the client refused or is gone.
  func write(_ address: UInt64, _ bytes: [UInt8]) -> Bool
  /// Writes without waiting for the client's answer; false when it is gone.
  func post(_ address: UInt64, _ bytes: [UInt8]) -> Bool
  /// Waits until everything that was posted is answered, or the client has had its time.
  func settle()
  /// Whoever waits for an answer now gets none.
  func abandon()
}

extension Array {
  /// The first index at which `predicate` holds, for an array where it holds from there on.
  fileprivate func partition(_ predicate: (Element) -> Bool) -> Int {
    var low = 0
    var high = count
    while low < high {
      let middle = (low + high) / 2
      if predicate(self[middle]) { high = middle } else { low = middle + 1 }
    }
    return low
  }
}

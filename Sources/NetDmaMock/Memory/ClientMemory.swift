// SPDX-License-Identifier: Apache-2.0

import CNetDma
import Glibc
import NetDmaVFIO
import Synchronization
import SystemPackage

/// A vfio-user client's memory as the emulated device sees it.
///
/// Mappings are ranges of files that the client shared. A file is mapped once, whatever the number
/// of its ranges, if its size is sealed; else it is read and written through its descriptor, because
/// a client that truncates a mapped file would kill this process (SIGBUS). Ranges without a file can
/// only be reached by asking the client.
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
  private enum Backing: Sendable {
    case mapped(MappedFile, offset: UInt64)
    case file(SharedDescriptor, offset: UInt64)
    case client
  }

  private final class Window: Sendable {
    let first: UInt64
    let last: UInt64
    let permissions: DMAPermissions
    let backing: Backing
    let users = Atomic<Int>(0)

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
        case .mapped(let file, let offset): .mapped(file, offset: offset + shift)
        case .file(let file, let offset): .file(file, offset: offset + shift)
        case .client: .client
        }
      return Window(first: first, last: last, permissions: permissions, backing: backing)
    }
  }

  private struct State {
    /// Sorted, disjoint.
    var windows: [Window] = []
    /// Files mapped whole, by device and inode.
    var files: [FileIdentity: MappedFile] = [:]
  }

  private struct FileIdentity: Hashable {
    let device: UInt64
    let inode: UInt64
  }

  private let state = Mutex(State())
  private let limit: Int
  /// Reads or writes client memory by message; set while a client is connected.
  private let remote = Mutex<(any RemoteMemory)?>(nil)

  /// Files that are kept mapped at a time; beyond, descriptors are used.
  private static let maximumFiles = 64
  /// A copy is carried out in pieces of this size, so that an unmap waits for one piece at most.
  private static let pieceSize = 1 << 20

  /// Memory of a client that may make `limit` mappings.
  public init(limit: Int = 65535) { self.limit = limit }

  /// Who answers for ranges without a file.
  func setRemote(_ remote: (any RemoteMemory)?) { self.remote.withLock { $0 = remote } }

  /// Number of mappings.
  public var mappingCount: Int { state.withLock { $0.windows.count } }

  // MARK: - Mapping

  /// Makes a range visible: `size` bytes of `file` from `offset`, or of the client's own when nil.
  func map(
    first: UInt64, size: UInt64, permissions: DMAPermissions, file: SharedDescriptor?,
    offset: UInt64
  ) throws(Refusal) {
    guard size > 0, (first | size) & 0xfff == 0, !permissions.isEmpty else { throw .invalid }
    let (last, overflow) = first.addingReportingOverflow(size - 1)
    guard !overflow else { throw .invalid }
    let backing = try backing(file, offset: offset, size: size, permissions)
    try state.withLock { state throws(Refusal) in
      let position = state.windows.partition { $0.first > first }
      if position > 0, state.windows[position - 1].last >= first { throw .overlaps }
      if position < state.windows.count, state.windows[position].first <= last { throw .overlaps }
      guard state.windows.count < limit else { throw .tooMany }
      state.windows.insert(
        Window(first: first, last: last, permissions: permissions, backing: backing), at: position)
    }
  }

  private func backing(
    _ file: SharedDescriptor?, offset: UInt64, size: UInt64, _ permissions: DMAPermissions
  ) throws(Refusal) -> Backing {
    guard let file else { return .client }
    guard offset & 0xfff == 0 else { throw .invalid }
    var status = stat()
    // The structure lives for the call.
    guard unsafe fstat(file.rawValue, &status) == 0, status.st_mode & S_IFMT == S_IFREG else {
      throw .invalid
    }
    let length = UInt64(clamping: status.st_size)
    guard offset <= length, size <= length - offset else { throw .invalid }
    let access = fcntl(file.rawValue, F_GETFL) & O_ACCMODE
    if permissions.contains(.write), access != O_RDWR { throw .notMappable }
    let seals = netdma_get_seals(file.rawValue)
    guard seals >= 0, seals & netdma_seal_shrink_flag() != 0 else {
      return .file(file, offset: offset)
    }
    let identity = FileIdentity(
      device: UInt64(status.st_dev), inode: UInt64(status.st_ino))
    let isWritable = access == O_RDWR
    let known = state.withLock { $0.files[identity] }
    if let known, known.isWritable || !permissions.contains(.write) {
      return .mapped(known, offset: offset)
    }
    guard state.withLock({ $0.files.count }) < Self.maximumFiles,
      let mapped = MappedFile(file, count: length, isWritable: isWritable)
    else { return .file(file, offset: offset) }
    state.withLock { $0.files[identity] = mapped }
    return .mapped(mapped, offset: offset)
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
        if window.last > last { rest.append(window.part(last + 1, window.last)) }
        end += 1
      }
      state.windows.replaceSubrange(start..<end, with: rest)
      if state.windows.isEmpty { state.files = [:] }
      return removed
    }
    for window in removed { Self.waitForUsers(window) }
  }

  /// Takes everything away.
  func removeAll() { remove(first: 0, last: .max) }

  private static func waitForUsers(_ window: Window) {
    // An access by message waits for the client, who waits for us: it is the client that refuses it.
    if case .client = window.backing { return }
    var turn = 0
    // A user is one piece of a copy, or one message with its own deadline.
    while window.users.load(ordering: .acquiring) != 0 {
      turn += 1
      if turn < 1000 { netdma_cpu_pause() } else { _ = usleep(20) }
    }
  }

  // MARK: - Access

  /// The windows that hold `count` bytes from `address` without a hole, each marked as used.
  private func enter(
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
      for window in found { window.users.add(1, ordering: .acquiring) }
      return found
    }
  }

  private func leave(_ windows: [Window]) {
    for window in windows { window.users.subtract(1, ordering: .releasing) }
  }

  /// Calls `body` for each piece of a range that lies in one window.
  private func forEachPiece(
    _ address: UInt64, _ count: Int, _ direction: BusFault.Direction,
    _ body: (Window, _ address: UInt64, _ offset: Int, _ count: Int) throws(BusFault) -> Void
  ) throws(BusFault) {
    guard count > 0 else { return }
    let windows = try enter(address, count, direction)
    defer { leave(windows) }
    var offset = 0
    for window in windows {
      let start = address + UInt64(offset)
      let piece = Int(min(UInt64(count - offset), window.last - start + 1))
      try body(window, start, offset, piece)
      offset += piece
    }
  }

  /// Copies from the client into the device.
  public func read(_ address: UInt64, into buffer: UnsafeMutableRawBufferPointer) throws(BusFault) {
    guard let base = buffer.baseAddress else { return }
    try forEachPiece(address, buffer.count, .read) {
      (window, start, offset, count) throws(BusFault) in
      // The piece lies inside the buffer.
      try unsafe get(window, start, base + offset, count)
    }
  }

  /// Copies from the device to the client.
  public func write(_ address: UInt64, from buffer: UnsafeRawBufferPointer) throws(BusFault) {
    guard let base = buffer.baseAddress else { return }
    try forEachPiece(address, buffer.count, .write) {
      (window, start, offset, count) throws(BusFault) in
      // The piece lies inside the buffer.
      try unsafe put(window, start, base + offset, count)
    }
  }

  private func get(
    _ window: Window, _ address: UInt64, _ target: UnsafeMutableRawPointer, _ count: Int
  ) throws(BusFault) {
    let shift = address - window.first
    switch window.backing {
    case .mapped(let file, let offset):
      // The file's size is sealed and was checked when the window was made.
      unsafe memcpy(target, file.address + Int(offset + shift), count)
    case .file(let file, let offset):
      var done = 0
      while done < count {
        let result = unsafe pread(
          file.rawValue, target + done, count - done,
          off_t(clamping: offset + shift + UInt64(done)))
        if result < 0, Glibc.errno == EINTR { continue }
        guard result > 0 else {
          throw BusFault(address: address + UInt64(done), direction: .read)
        }
        done += result
      }
    case .client:
      guard let bytes = remote.withLock({ $0 })?.read(address, count), bytes.count == count else {
        throw BusFault(address: address, direction: .read)
      }
      unsafe bytes.withUnsafeBytes { source in
        if let base = source.baseAddress { unsafe memcpy(target, base, count) }
      }
    }
  }

  private func put(
    _ window: Window, _ address: UInt64, _ source: UnsafeRawPointer, _ count: Int
  ) throws(BusFault) {
    let shift = address - window.first
    switch window.backing {
    case .mapped(let file, let offset):
      // As in `get`; the window's permission implies a writable mapping.
      unsafe memmove(file.address + Int(offset + shift), source, count)
    case .file(let file, let offset):
      var done = 0
      while done < count {
        // A write past the end would grow a file that was truncated: check first.
        var status = stat()
        let end = offset + shift + UInt64(count)
        guard unsafe fstat(file.rawValue, &status) == 0, UInt64(clamping: status.st_size) >= end
        else { throw BusFault(address: address + UInt64(done), direction: .write) }
        let result = unsafe pwrite(
          file.rawValue, source + done, count - done,
          off_t(clamping: offset + shift + UInt64(done)))
        if result < 0, Glibc.errno == EINTR { continue }
        guard result > 0 else {
          throw BusFault(address: address + UInt64(done), direction: .write)
        }
        done += result
      }
    case .client:
      let bytes = unsafe Array(UnsafeRawBufferPointer(start: source, count: count))
      guard remote.withLock({ $0 })?.write(address, bytes) ?? false else {
        throw BusFault(address: address, direction: .write)
      }
    }
  }

  /// Copies on the bus, piece by piece: a range that is taken away meanwhile faults.
  public func copy(from source: UInt64, to destination: UInt64, count: Int) throws(BusFault) {
    // The whole of both sides first: nothing is written when a byte of either is refused.
    if count > Self.pieceSize {
      leave(try enter(source, count, .read))
      leave(try enter(destination, count, .write))
    }
    // Overlapping upwards, the last piece goes first, as memmove does it.
    let backwards = destination > source && destination - source < UInt64(count)
    var done = 0
    while done < count {
      let piece = min(Self.pieceSize, count - done)
      let offset = UInt64(backwards ? count - done - piece : done)
      try copyPiece(from: source + offset, to: destination + offset, count: piece)
      done += piece
    }
  }

  private func copyPiece(
    from source: UInt64, to destination: UInt64, count: Int
  ) throws(BusFault) {
    let sources = try enter(source, count, .read)
    defer { leave(sources) }
    let targets = try enter(destination, count, .write)
    defer { leave(targets) }
    if sources.count == 1, targets.count == 1, case .mapped(let from, let a) = sources[0].backing,
      case .mapped(let to, let b) = targets[0].backing
    {
      // Both ranges lie inside their windows, whose files are sealed.
      unsafe memmove(
        to.address + Int(b + (destination - targets[0].first)),
        from.address + Int(a + (source - sources[0].first)), count)
      return
    }
    // In pieces through a buffer: the whole source of this piece is read before a byte is written.
    try unsafe withUnsafeTemporary(count) { (buffer) throws(BusFault) in
      try unsafe read(source, into: buffer)
      try unsafe write(destination, from: UnsafeRawBufferPointer(buffer))
    }
  }

  private func withUnsafeTemporary(
    _ count: Int, _ body: (UnsafeMutableRawBufferPointer) throws(BusFault) -> Void
  ) throws(BusFault) {
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: count, alignment: 64)
    defer { unsafe buffer.deallocate() }
    try unsafe body(buffer)
  }

  /// One 8-byte store that follows everything written before.
  public func storeRelease(_ value: UInt64, to address: UInt64) throws(BusFault) {
    guard address & 7 == 0 else { throw BusFault(address: address, direction: .write) }
    // Windows are page aligned, so an aligned word lies in one.
    let windows = try enter(address, 8, .write)
    defer { leave(windows) }
    let window = windows[0]
    if case .mapped(let file, let offset) = window.backing {
      unsafe netdma_store_release64(
        file.address + Int(offset + (address - window.first)), value.littleEndian)
      return
    }
    var word = value.littleEndian
    netdma_fence_release()
    try unsafe withUnsafeBytes(of: &word) { (bytes) throws(BusFault) in
      guard let base = bytes.baseAddress else { return }
      try unsafe put(window, address, base, 8)
    }
  }
}

/// Client memory that is reached by messages.
protocol RemoteMemory: AnyObject, Sendable {
  /// `count` bytes at `address`; nil when the client refused or is gone.
  func read(_ address: UInt64, _ count: Int) -> [UInt8]?
  /// False when the client refused or is gone.
  func write(_ address: UInt64, _ bytes: [UInt8]) -> Bool
}

/// A file that is mapped whole.
private final class MappedFile: Sendable {
  private let mapping: MemoryMapping
  let isWritable: Bool

  init?(_ file: SharedDescriptor, count: UInt64, isWritable: Bool) {
    guard let count = Int(exactly: count), count > 0,
      let mapping = try? MemoryMapping(
        fd: file.rawValue, offset: 0, count: count,
        protection: isWritable ? PROT_READ | PROT_WRITE : PROT_READ, subject: "client memory")
    else { return nil }
    // The client's memory has no place in a core dump of ours.
    _ = unsafe madvise(mapping.address, count, CInt(MADV_DONTDUMP))
    self.mapping = mapping
    self.isWritable = isWritable
  }

  @unsafe var address: UnsafeMutableRawPointer { unsafe mapping.address }
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

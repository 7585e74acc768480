// SPDX-License-Identifier: Apache-2.0

import CNetDma
import Glibc
import NetDmaVFIO
import Synchronization
import SystemPackage

/// The file of the socket that a server listens on.
///
/// A file lies where others may write, too: what is not a dead server's socket is never removed, and at
/// the end only the file that this server made.
struct SocketFile: ~Copyable, Sendable {
  private let path: String
  private let device: UInt64
  private let inode: UInt64
  private let isRemoved = Atomic<Bool>(false)

  /// Makes a socket at `path`, readable and writable for this user alone, and listens on it.
  static func listen(at path: String) throws(VFIOUserServerError) -> OwnedFileDescriptor {
    try removeStale(path)
    do throws(SystemCallError) {
      return try bind(path)
    } catch {
      // Somebody else's, which this user may not even knock at, or made since.
      if error.errno == .addressInUse { throw .pathInUse(path: path) }
      throw .system(path: path, error: error)
    }
  }

  /// The file at `path`, where a socket was just bound.
  init(at path: String) throws(SystemCallError) {
    let status = try Self.linkStatus(path)
    self.path = path
    device = UInt64(status.st_dev)
    inode = UInt64(status.st_ino)
  }

  deinit { remove() }

  /// Removes the file, unless it is another one by now.
  ///
  /// No other file has its number while the socket is open.
  borrowing func remove() {
    guard !isRemoved.exchange(true, ordering: .relaxed), let status = try? Self.linkStatus(path),
      UInt64(status.st_dev) == device,
      UInt64(status.st_ino) == inode
    else { return }
    _ = unsafe unlink(path)
  }

  private static func linkStatus(_ path: String) throws(SystemCallError) -> stat {
    var status = stat()
    // The structure lives for the call.
    _ = try systemCall("lstat", on: path) { unsafe lstat(path, &status) }
    return status
  }

  private static func removeStale(_ path: String) throws(VFIOUserServerError) {
    guard let status = try? linkStatus(path) else { return }
    guard status.st_mode & S_IFMT == S_IFSOCK else { throw .notASocket(path: path) }
    do throws(SystemCallError) {
      _ = try VFIOUserSocket.connect(path: path)
    } catch {
      // Nobody listens: a server died and left it.
      if error.errno == .connectionRefused { _ = unsafe unlink(path) }
      // A full queue is a server's too, though one that does not answer.
      if error.errno != .resourceTemporarilyUnavailable { return }
    }
    throw .pathInUse(path: path)
  }

  private static func bind(_ path: String) throws(SystemCallError) -> OwnedFileDescriptor {
    let fd = OwnedFileDescriptor(
      owning: try systemCall("socket", on: path) {
        socket(AF_UNIX, CInt(SOCK_STREAM.rawValue) | CInt(SOCK_CLOEXEC.rawValue), 0)
      })
    let number = fd.rawValue
    var address = sockaddr_un()
    // The path is a NUL-terminated copy, and the address lives for the calls.
    _ = try systemCall("bind", on: path) { unsafe netdma_unix_address(path, &address) }
    // The mode of the socket before it exists: a moment's access would be access.
    _ = try systemCall("fchmod", on: path) { fchmod(number, 0o600) }
    _ = try systemCall("bind", on: path) { unsafe netdma_unix_bind(number, &address) }
    _ = try systemCall("listen", on: path) { Glibc.listen(number, 8) }
    return fd
  }
}

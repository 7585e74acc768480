// SPDX-License-Identifier: Apache-2.0

import CNetDma
import Glibc
import SystemPackage

/// Small text files and links below sysfs, procfs and /dev.
///
/// The seam where a test plays the kernel: a write to sysfs has effects elsewhere in the tree.
package protocol SystemFiles: Sendable {
  /// The whole file, at most 1 MiB of it; bytes that are not UTF-8 are replaced.
  func read(_ path: String) throws(SystemCallError) -> String
  /// Where a symbolic link points, as it stands there.
  func target(of link: String) throws(SystemCallError) -> String
  /// Names in a directory, sorted, without "." and "..".
  func entries(of directory: String) throws(SystemCallError) -> [String]
  /// Writes `text` by one write(2) to a file that exists, as sysfs wants it.
  func write(_ text: String, to path: String) throws(SystemCallError)
  /// Puts a small file of one's own in place, whole or not at all; makes its directory if need be.
  func store(_ text: String, at path: String) throws(SystemCallError)
  /// Removes a file of one's own; no error when there is none.
  func remove(_ path: String) throws(SystemCallError)
  /// An exclusive flock(2) on a file or directory that exists, nil when others hold it until the
  /// deadline; it ends with the descriptor.
  func lock(_ path: String, until deadline: Deadline) throws(SystemCallError)
    -> OwnedFileDescriptor?
  /// Whether the path leads to something.
  func exists(_ path: String) -> Bool
  /// Whether this user may open the path for reading and writing.
  func isReadableAndWritable(_ path: String) -> Bool
  /// What stat(2) says of the path, nil when it leads nowhere.
  func status(of path: String) -> FileStatus?
}

/// The part of stat(2) that matters for a device node.
package struct FileStatus: Hashable, Sendable {
  /// Permission bits, for example 0o600.
  package var permissions: UInt32
  package var owner: UInt32
  package var group: UInt32
  /// Major and minor number of a device node as sysfs writes them, "243:0"; nil for other files.
  package var deviceNumber: String?

  package init(
    permissions: UInt32, owner: UInt32 = 0, group: UInt32 = 0, deviceNumber: String? = nil
  ) {
    self.permissions = permissions
    self.owner = owner
    self.group = group
    self.deviceNumber = deviceNumber
  }
}

extension SystemFiles {
  /// The file without white space at its ends, nil when it cannot be read.
  package func text(_ path: String) -> String? {
    guard let text = try? read(path) else { return nil }
    return String(trimming(text))
  }

  /// The last component of where a link points, nil when there is no link.
  package func linkName(_ path: String) -> String? {
    guard let target = try? target(of: path) else { return nil }
    return target.split(separator: "/").last.map(String.init)
  }
}

/// `text` without ASCII white space and NUL at its ends.
package func trimming(_ text: some StringProtocol) -> Substring {
  func isBlank(_ character: Character) -> Bool { character.isWhitespace || character == "\0" }
  var slice = Substring(text)
  while let first = slice.first, isBlank(first) { slice.removeFirst() }
  while let last = slice.last, isBlank(last) { slice.removeLast() }
  return slice
}

/// The files of this machine.
package struct HostFiles: SystemFiles {
  package init() {}

  /// More than any file that is read through this.
  private static let maximumBytes = 1 << 20

  package func read(_ path: String) throws(SystemCallError) -> String {
    let file = try OwnedFileDescriptor.open(path, flags: O_RDONLY)
    var bytes: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 4096)
    while bytes.count < Self.maximumBytes {
      let count = try systemCall("read", on: path) {
        // The buffer is the array's for the call, and the count is its size.
        unsafe chunk.withUnsafeMutableBytes {
          unsafe Glibc.read(file.rawValue, $0.baseAddress, $0.count)
        }
      }
      if count == 0 { break }
      bytes.append(contentsOf: chunk.prefix(count))
    }
    return String(decoding: bytes, as: UTF8.self)
  }

  package func target(of link: String) throws(SystemCallError) -> String {
    var bytes = [UInt8](repeating: 0, count: Int(PATH_MAX))
    let count = try systemCall("readlink", on: link) {
      // The path is a NUL-terminated copy and the buffer the array's, both for the call.
      unsafe bytes.withUnsafeMutableBytes {
        guard let base = $0.baseAddress else { return -1 }
        return unsafe Glibc.readlink(link, base.assumingMemoryBound(to: CChar.self), $0.count)
      }
    }
    return String(decoding: bytes.prefix(count), as: UTF8.self)
  }

  package func entries(of directory: String) throws(SystemCallError) -> [String] {
    // The path is a NUL-terminated copy that lives for the call.
    guard let stream = unsafe opendir(directory) else {
      throw SystemCallError(
        call: "opendir", subject: directory, errno: Errno(rawValue: Glibc.errno))
    }
    defer { _ = unsafe closedir(stream) }
    var names: [String] = []
    // An entry is valid until the next readdir of the stream, which nobody else has.
    while let entry = unsafe readdir(stream) {
      let name = unsafe withUnsafeBytes(of: &entry.pointee.d_name) { bytes in
        unsafe String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
      }
      if name != ".", name != ".." { names.append(name) }
    }
    return names.sorted()
  }

  package func write(_ text: String, to path: String) throws(SystemCallError) {
    try write(text, to: try OwnedFileDescriptor.open(path, flags: O_WRONLY), path: path)
  }

  private func write(
    _ text: String, to file: consuming OwnedFileDescriptor, path: String
  ) throws(SystemCallError) {
    let bytes = [UInt8](text.utf8)
    let count = try systemCall("write", on: path) {
      // The buffer is the array's for the call, and the count is its size.
      unsafe bytes.withUnsafeBytes { unsafe Glibc.write(file.rawValue, $0.baseAddress, $0.count) }
    }
    guard count == bytes.count else {
      throw SystemCallError(call: "write", subject: path, errno: .ioError)
    }
  }

  package func store(_ text: String, at path: String) throws(SystemCallError) {
    let directory = path.split(separator: "/", omittingEmptySubsequences: false).dropLast()
      .joined(separator: "/")
    do throws(SystemCallError) {
      // The path is a NUL-terminated copy that lives for the call.
      _ = try systemCall("mkdir", on: directory) { unsafe mkdir(directory, 0o755) }
    } catch {
      if error.errno != .fileExists { throw error }
    }
    // The name is this process's own, and O_EXCL refuses what somebody else put there.
    let temporary = "\(path).\(getpid())"
    try remove(temporary)
    let fd = try systemCall("open", on: temporary) {
      // As above.
      unsafe Glibc.open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0o600)
    }
    do throws(SystemCallError) {
      try write(text, to: OwnedFileDescriptor(owning: fd), path: temporary)
      _ = try systemCall("rename", on: path) {
        // As above.
        unsafe rename(temporary, path)
      }
    } catch {
      try? remove(temporary)
      throw error
    }
  }

  package func remove(_ path: String) throws(SystemCallError) {
    do throws(SystemCallError) {
      // The path is a NUL-terminated copy that lives for the call.
      _ = try systemCall("unlink", on: path) { unsafe unlink(path) }
    } catch {
      if error.errno != .noSuchFileOrDirectory { throw error }
    }
  }

  package func lock(
    _ path: String, until deadline: Deadline
  ) throws(SystemCallError) -> OwnedFileDescriptor? {
    let file = try OwnedFileDescriptor.open(path, flags: O_RDONLY)
    let fd = file.rawValue
    let isHeld = try deadline.poll { () throws(SystemCallError) in
      do throws(SystemCallError) {
        _ = try systemCall("flock", on: path) { flock(fd, LOCK_EX | LOCK_NB) }
        return true
      } catch {
        guard error.errno == .wouldBlock else { throw error }
        return false
      }
    }
    guard isHeld else { return nil }
    return file
  }

  package func exists(_ path: String) -> Bool {
    // The path is a NUL-terminated copy that lives for the call.
    unsafe access(path, F_OK) == 0
  }

  package func isReadableAndWritable(_ path: String) -> Bool {
    // As above. The effective user counts, as it does for open(2).
    unsafe faccessat(AT_FDCWD, path, R_OK | W_OK, AT_EACCESS) == 0
  }

  package func status(of path: String) -> FileStatus? {
    var status = stat()
    // As above, and the result is this function's own.
    guard unsafe stat(path, &status) == 0 else { return nil }
    let isDevice = [S_IFCHR, S_IFBLK].contains(status.st_mode & S_IFMT)
    let number = UInt64(status.st_rdev)
    return FileStatus(
      permissions: status.st_mode & 0o7777, owner: status.st_uid, group: status.st_gid,
      deviceNumber: isDevice
        ? "\(netdma_device_major(number)):\(netdma_device_minor(number))" : nil)
  }
}

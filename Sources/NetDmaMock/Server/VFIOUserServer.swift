// SPDX-License-Identifier: Apache-2.0

import CNetDma
import Glibc
public import Logging
public import NetDmaVFIO
import Synchronization
import SystemPackage

/// What can keep a server from starting.
public enum VFIOUserServerError: DiagnosticError, Equatable {
  /// Another server's socket is there.
  case pathInUse(path: String)
  /// There is a file, which is not touched.
  case notASocket(path: String)
  /// The function has something else where doorbells would be mapped.
  case noRoomForDoorbells(path: String)
  /// A system call failed.
  case system(path: String, error: SystemCallError)

  /// What failed.
  public var what: String {
    switch self {
    case .pathInUse(let path), .notASocket(let path), .noRoomForDoorbells(let path),
      .system(let path, _):
      "No server can be started at \(path)."
    }
  }
  /// The cause.
  public var why: String {
    switch self {
    case .pathInUse: "Another server's socket is there."
    case .notASocket: "A file that is no socket is there."
    case .noRoomForDoorbells:
      "This part has its MSI-X table in the page of BAR0 that --mmap-doorbell would offer."
    case .system(_, let error): "\(error)."
    }
  }
  /// What helps.
  public var remedy: String {
    switch self {
    case .pathInUse: "Stop it, or choose another path."
    case .notASocket: "Choose another path."
    case .noRoomForDoorbells: "Leave --mmap-doorbell out, or choose another model."
    case .system: "Choose a path of at most 107 bytes in a folder that this user may write to."
    }
  }
}

/// Serves one emulated IOAT function on a UNIX socket, one client at a time, until it is stopped.
///
/// Clients may come, go and die at any byte. The function is reset between clients. The socket is
/// private to this user and is removed at the end.
public final class VFIOUserServer: Sendable {
  /// The socket's path.
  public let path: String
  // Before the doorman, who has the socket: removed while that is open.
  private let file: SocketFile
  private let function: EmulatedFunction
  private let mapsDoorbells: Bool
  private let doorman: Doorman
  private let doormanThread: PinnedThread
  private let logger: Logger
  private let served = Atomic<Int>(0)
  /// The connection that is being served.
  private let inside = Mutex<VFIOUserSocket?>(nil)

  /// Creates the function and listens; a socket file that a dead server left is replaced.
  ///
  /// - Throws: `VFIOUserServerError`.
  public convenience init(
    path: String, configuration: ModelConfiguration, mapsDoorbells: Bool = false, logger: Logger
  ) throws(VFIOUserServerError) {
    try self.init(
      path: path, profile: DeviceProfile(model: configuration), mapsDoorbells: mapsDoorbells,
      logger: logger)
  }

  /// Creates the function that `profile` describes and listens; a socket file that a dead server
  /// left is replaced.
  ///
  /// With `mapsDoorbells` clients may map a page of BAR0 in which DMACOUNT is stored instead of
  /// being written by message (see `DoorbellPage`); the engines then look at it as long as a client is
  /// there that asked for the page.
  /// - Throws: `VFIOUserServerError`.
  public init(
    path: String, profile: DeviceProfile, mapsDoorbells: Bool = false, logger: Logger
  ) throws(VFIOUserServerError) {
    self.path = path
    guard !mapsDoorbells || DoorbellPage.isFree(in: profile) else {
      throw .noRoomForDoorbells(path: path)
    }
    self.mapsDoorbells = mapsDoorbells
    self.logger = logger
    do throws(SystemCallError) {
      function = try EmulatedFunction(profile)
    } catch {
      throw .system(path: path, error: error)
    }
    let listener = try SocketFile.listen(at: path)
    do throws(SystemCallError) {
      file = try SocketFile(at: path)
      let doorman = try Doorman(path: path, listener: listener, logger: logger)
      self.doorman = doorman
      doormanThread = try PinnedThread(name: "netdma-doorman") { _ in doorman.run() }
    } catch {
      throw .system(path: path, error: error)
    }
  }

  deinit {
    // The doorman's thread is joined next.
    doorman.stopEvent.signal()
  }

  /// The model, for faults and figures.
  public var model: IOATModel { function.model }
  /// Clients that were accepted so far.
  public var clientsServed: Int { served.load(ordering: .relaxed) }

  /// Serves clients on the calling thread until `stop()`.
  public func run() {
    while let socket = doorman.next() {
      served.add(1, ordering: .relaxed)
      logger.info("client connected", metadata: ["socket": "\(path)"])
      let end = serve(socket) { doorman.isLeaving() }
      doorman.hasLeft()
      if end == .stopped { break }
    }
    function.model.stop()
    file.remove()
  }

  private func serve(_ socket: VFIOUserSocket, onEnd: () -> Void) -> VFIOUserSession.End {
    let session = VFIOUserSession(
      function: function, socket: socket, mapsDoorbells: mapsDoorbells, logger: logger)
    inside.withLock { $0 = socket }
    defer { inside.withLock { $0 = nil } }
    let end = session.run(stop: doorman.stopEvent.rawValue, onEnd: onEnd)
    switch end {
    case .clientLeft: logger.info("client left", metadata: ["socket": "\(path)"])
    case .violation(let detail):
      logger.warning("client dropped", metadata: ["socket": "\(path)", "reason": "\(detail)"])
    case .stopped: break
    }
    return end
  }

  /// Ends `run()` soon; from any thread.
  public func stop() {
    doorman.stopEvent.signal()
    // A client in the middle of a message, or one that takes no answers, holds nothing up either.
    inside.withLock { $0 }?.shutdown()
  }
}

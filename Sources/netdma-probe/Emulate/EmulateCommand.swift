// SPDX-License-Identifier: Apache-2.0

import ArgumentParser
import Logging
import NetDmaMock
import NetDmaVFIO

/// `netdma-probe emulate`: the device model on a vfio-user socket.
struct EmulateCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "emulate",
    abstract: "Serve an emulated IOAT device to vfio-user clients such as QEMU.",
    discussion: """
      Serves until SIGINT or SIGTERM, one client at a time on each socket, and removes its sockets. \
      With --functions N there are N devices, on PATH.0 to PATH.(N-1), each with the device id that \
      it has on a real socket.

      MODELS
        \(Self.models)
        Other options change what a model says of itself.

      EXAMPLES
        netdma-probe emulate --socket /run/user/1000/ioat.sock
        netdma-probe verify --vfio-user /run/user/1000/ioat.sock
        netdma-probe emulate --socket ioat.sock --model haswell --raid --functions 8
        netdma-probe emulate --socket ioat.sock --device-id 0b00 --channels 2
      """)

  /// Their names, folded as the line that they begin is indented: --help would go on in column 0.
  private static let models = fold(
    DeviceProfile.names.joined(separator: ", ").split(separator: " ").map(String.init), width: 78
  ).joined(separator: "\n  ")

  @Option(help: ArgumentHelp("Where to listen.", valueName: "path"), completion: .file())
  var socket: String

  @OptionGroup var model: ModelOptions

  @Option(
    parsing: .unconditional, help: ArgumentHelp("Devices to serve (1).", valueName: "n"),
    transform: ArgumentValue.whole(1...64))
  var functions = 1

  @Flag(
    name: .customLong("mmap-doorbell"),
    help: "Let clients map a page to ring doorbells in, which is polled, instead of by message.")
  var mapsDoorbells = false

  @Flag(help: "Print one JSON object for each socket, when it is served.")
  var json = false

  @OptionGroup var log: LogOptions

  func validate() throws {
    try ArgumentValue.requirePath(socket, of: "--socket")
    _ = try profiles()
  }

  /// The paths that are served.
  private var paths: [String] {
    functions == 1 ? [socket] : (0..<functions).map { "\(socket).\($0)" }
  }

  private func profiles() throws -> [DeviceProfile] {
    try (0..<functions).map { try model.profile(function: $0) }
  }

  func run() throws {
    try reportingErrors {
      let stop = try StopRequest()
      let logger = log.makeLogger()
      var servers: [VFIOUserServer] = []
      let profiles = try profiles()
      for (path, profile) in zip(paths, profiles) {
        servers.append(
          try VFIOUserServer(
            path: path, profile: profile, mapsDoorbells: mapsDoorbells, logger: logger))
      }
      var threads: [ServerThread] = []
      for server in servers { threads.append(try ServerThread(server)) }
      for (path, profile) in zip(paths, profiles) {
        if json {
          try JSONOutput.print(
            ServedDevice(socket: path, profile: profile, mapsDoorbells: mapsDoorbells))
        } else {
          print("serving \(path)")
        }
      }
      flushOutput()
      stop.wait()
      for server in servers { server.stop() }
      // Each is joined when its owner ends.
      threads.removeAll()
    }
  }
}

/// A server's thread, joined when the last reference ends.
private final class ServerThread: Sendable {
  private let thread: PinnedThread
  init(_ server: VFIOUserServer) throws(SystemCallError) {
    thread = try PinnedThread(name: "netdma-server") { _ in server.run() }
  }
}

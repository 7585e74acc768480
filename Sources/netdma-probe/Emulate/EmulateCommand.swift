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
      With --functions N there are N devices, on PATH.0 to PATH.(N-1).

      EXAMPLES
        netdma-probe emulate --socket /run/user/1000/ioat.sock
        netdma-probe verify --vfio-user /run/user/1000/ioat.sock
        netdma-probe emulate --socket ioat.sock --device-id 0b00 --channels 2 --cb-version 3.4
      """)

  @Option(help: ArgumentHelp("Where to listen.", valueName: "path"))
  var socket: String

  @Option(
    name: .customLong("device-id"), help: ArgumentHelp("PCI device id (2021).", valueName: "hex"))
  var deviceID = "2021"

  @Option(help: ArgumentHelp("Channels of each function.", valueName: "n"))
  var channels = 1

  @Option(
    name: .customLong("cb-version"),
    help: ArgumentHelp("3.0 to 3.4 (that of the device id).", valueName: "x.y"))
  var cbVersion: String?

  @Option(
    help: ArgumentHelp(
      "DMACAPABILITY: names like page-break,fill,xor,pq or a hexadecimal number.",
      valueName: "list"))
  var capabilities = "page-break,fill"

  @Option(help: ArgumentHelp("Devices to serve.", valueName: "n"))
  var functions = 1

  @Flag(help: "As fast as this machine can, instead of like a Skylake channel.")
  var fast = false

  @OptionGroup var log: LogOptions

  func validate() throws {
    _ = try model()
    guard (1...64).contains(functions) else { throw ValidationError("--functions is 1 to 64.") }
    guard (1...31).contains(channels) else { throw ValidationError("--channels is 1 to 31.") }
  }

  /// The paths that are served.
  private var paths: [String] {
    functions == 1 ? [socket] : (0..<functions).map { "\(socket).\($0)" }
  }

  private func model() throws -> ModelConfiguration {
    let digits = deviceID.hasPrefix("0x") ? String(deviceID.dropFirst(2)) : deviceID
    guard let id = UInt16(digits, radix: 16) else {
      throw ValidationError("--device-id '\(deviceID)' is not a hexadecimal number like 2021.")
    }
    let known = IOATDeviceID(vendor: IOATDeviceID.vendor, device: id)
    let version: CBVersion
    if let cbVersion {
      let parts = cbVersion.split(separator: ".").map { UInt8($0) }
      guard parts.count == 2, parts[0] == 3, let minor = parts[1], minor <= 4 else {
        throw ValidationError("--cb-version '\(cbVersion)' is not one of 3.0 to 3.4.")
      }
      version = CBVersion(rawValue: 0x30 | minor)
    } else {
      guard let standard = known?.platform.version ?? (known == nil ? .v3_3 : nil) else {
        throw ValidationError("Device id \(deviceID) is older than CB 3.0; give --cb-version.")
      }
      version = standard
    }
    return ModelConfiguration(
      deviceID: id, cbVersion: version.rawValue, channelCount: channels,
      capabilities: try parsedCapabilities(),
      addressWidth: known?.platform.addressWidth ?? 48,
      quirks: known?.quirks.contains(.resetWipesMSIX) == true ? .resetWipesMSIX : [],
      timing: fast ? .fast : .skylake)
  }

  private func parsedCapabilities() throws -> UInt32 {
    if let number = UInt32(
      capabilities.hasPrefix("0x") ? String(capabilities.dropFirst(2)) : "", radix: 16)
    {
      return number
    }
    var bits: DMACapability = []
    for name in capabilities.split(separator: ",") where name != "none" {
      let bit = (0..<32).lazy.map { DMACapability(rawValue: 1 << $0) }
        .first { $0.names == [String(name)] }
      guard let bit else {
        let all = DMACapability(rawValue: .max).names.joined(separator: ", ")
        throw ValidationError("There is no capability '\(name)'; there are \(all).")
      }
      bits.insert(bit)
    }
    return bits.rawValue
  }

  func run() throws {
    try reportingErrors {
      let stop = try StopRequest()
      let logger = log.makeLogger()
      let configuration = try model()
      var servers: [VFIOUserServer] = []
      for path in paths {
        servers.append(
          try VFIOUserServer(path: path, configuration: configuration, logger: logger))
      }
      var threads: [ServerThread] = []
      for server in servers { threads.append(try ServerThread(server)) }
      for path in paths { print("serving \(path)") }
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

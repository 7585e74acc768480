// SPDX-License-Identifier: Apache-2.0

// Article "Using the emulator for other drivers".
import Glibc
import Logging
import NetDmaMock
import NetDmaVFIO

/// An Ice Lake engine with two channels behind a socket, and a driver that finds a fault.
func emulator(logger: Logger) throws {
  let path = "/tmp/netdma-example-\(getpid()).sock"
  var options = DeviceProfile.Options()
  options.channels = 2
  options.timing = .fast
  let profile = try DeviceProfile(named: "ice-lake", options: options)
  let server = try VFIOUserServer(path: path, profile: profile, logger: logger)
  let thread = try PinnedThread(name: "emulator") { _ in server.run() }

  let transport = try VFIOUserClient.connect(path: path, logger: logger)
  let version = try transport.read(.bar0, at: IOATRegister.cbver, width: .byte)
  let channels = try transport.read(.bar0, at: IOATRegister.chancnt, width: .byte)
  print("CBVER 0x\(String(version, radix: 16)), \(channels) channels")

  server.stop()
  thread.join()
}

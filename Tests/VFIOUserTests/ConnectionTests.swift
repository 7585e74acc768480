// SPDX-License-Identifier: Apache-2.0

import Glibc
import NetDmaMock
import NetDmaVFIO
import SystemPackage
import Testing

@Suite("vfio-user: clients come and go")
struct ConnectionTests {
  @Test("client after client is served, also at once after the one before")
  func oneAfterAnother() throws {
    let emulator = try Emulator()
    for _ in 0..<50 {
      let client = try emulator.client()
      #expect(try client.read(.configuration, at: 0, width: .dword) == 0x2021_8086)
    }
    #expect(emulator.server.clientsServed == 50)
  }

  @Test("a client finds the function as after power-on, whatever the one before did")
  func freshFunction() throws {
    let emulator = try Emulator()
    do {
      let client = try emulator.client()
      try client.write(.configuration, at: 4, width: .word, value: 6)
      try client.write(.bar0, at: 0x98, width: .qword, value: 0x1234_5678)
      #expect(try client.read(.bar0, at: 0x98, width: .qword) == 0x1234_5678)
    }
    let client = try emulator.client()
    #expect(try client.read(.bar0, at: 0x98, width: .qword) == 0)
    #expect(try client.read(.configuration, at: 4, width: .word) & 4 == 0)
  }

  @Test("while one client is served the next is told so, and the first notices nothing")
  func busy() throws {
    let emulator = try Emulator()
    let first = try emulator.client()
    #expect(throws: VFIOError.serverBusy(device: emulator.path)) { try emulator.client() }
    #expect(try first.read(.configuration, at: 0, width: .dword) == 0x2021_8086)
    withExtendedLifetime(first) {}
    #expect(emulator.server.clientsServed == 1)
  }

  @Test("callers who say nothing, or half of it, keep nobody from being served or told")
  func silentCallers() throws {
    let emulator = try Emulator()
    do {
      let first = try emulator.client()
      let silent = try (0..<6).map { _ in try emulator.peer() }
      for (index, peer) in silent.enumerated() { peer.send([UInt8](repeating: 0, count: index)) }
      #expect(throws: VFIOError.serverBusy(device: emulator.path)) { try emulator.client() }
      withExtendedLifetime((first, silent)) {}
    }
    #expect(eventually { (try? emulator.client()) != nil })
  }

  @Test("a server takes over the socket of one that died, and leaves that of one that lives")
  func staleSocket() throws {
    let path = Emulator.freshPath()
    defer { unlink(path) }
    do {
      // What a killed server leaves: a socket file that nobody listens to.
      let scripted = try ScriptedServer { _, _ in false }
      rename(scripted.path, path)
    }
    let emulator = try Emulator(path: path)
    #expect(try emulator.client().read(.bar0, at: 0, width: .byte) == 1)
    #expect(throws: VFIOUserServerError.pathInUse(path: path)) { try Emulator(path: path) }
    #expect(try emulator.client().read(.bar0, at: 0, width: .byte) == 1)
  }

  @Test("a file that is no socket is not touched, by a server or by the advice of a client")
  func noSocket() throws {
    let path = Emulator.freshPath()
    defer { unlink(path) }
    let file = open(path, O_CREAT | O_WRONLY, 0o600)
    #expect(write(file, "precious", 8) == 8)
    close(file)
    #expect(throws: VFIOUserServerError.notASocket(path: path)) { try Emulator(path: path) }
    do {
      _ = try VFIOUserClient.connect(path: path, logger: Emulator.log)
      Issue.record("a file answered")
    } catch let error {
      #expect(error.why == "What is there is no socket.")
      #expect(!error.remedy.contains("emulate"))
    }
    var status = stat()
    #expect(lstat(path, &status) == 0 && status.st_size == 8)
  }

  @Test("a server that ends leaves the socket of its successor")
  func successor() throws {
    let path = Emulator.freshPath()
    defer { unlink(path) }
    do {
      let first = try Emulator(path: path)
      unlink(path)
      let second = try Emulator(path: path)
      first.server.stop()
      withExtendedLifetime(first) {}
      #expect(try second.client().read(.bar0, at: 0, width: .byte) == 1)
    }
    #expect(access(path, F_OK) != 0)
  }

  @Test("a stopped server removes its socket and hangs up; its client finds out by itself")
  func stop() throws {
    let eventFD = try EventFD()
    let path: String
    let client: VFIOUserClient
    do {
      let emulator = try Emulator()
      path = emulator.path
      client = try emulator.client()
      try client.enableInterrupts(.msix, eventFDs: [eventFD.rawValue])
      #expect(access(path, F_OK) == 0)
    }
    #expect(access(path, F_OK) != 0)
    // Whoever waits for an interrupt is woken.
    let drained = eventually { eventFD.drain() > 0 }
    #expect(drained)
    #expect(throws: VFIOError.disconnected(device: path)) { try client.regionInfo(.bar0) }
    #expect(throws: VFIOError.disconnected(device: path)) {
      try client.write(.bar0, at: 0x98, width: .qword, value: 0)
    }
  }

  @Test("a path without a server is told from a server that does not answer")
  func noServer() throws {
    #expect {
      try VFIOUserClient.connect(path: Emulator.freshPath(), logger: Emulator.log)
    } throws: {
      if case VFIOError.noServer = $0 { true } else { false }
    }
    let mute = try ScriptedServer { _, _ in true }
    #expect(
      throws: VFIOError.timedOut(device: mute.path, command: "VERSION", seconds: 0.2)
    ) { try mute.client(timeout: .milliseconds(200)) }
  }

  @Test("connecting ends in bounded time even if the server does not take calls any more")
  func fullQueue() throws {
    // Its thread waits in the first call's conversation, and the queue behind it fills up.
    let mute = try ScriptedServer { _, _ in true }
    var callers: [OwnedDescriptorBox] = []
    var isFull = false
    for _ in 0..<32 where !isFull {
      do throws(SystemCallError) {
        callers.append(
          OwnedDescriptorBox(
            try VFIOUserSocket.connect(path: mute.path, timeout: .milliseconds(50))))
      } catch {
        let code = error.errno
        #expect(code == .resourceTemporarilyUnavailable)
        isFull = true
      }
    }
    #expect(isFull)
    #expect {
      try mute.client(timeout: .milliseconds(100))
    } throws: {
      if case VFIOError.noServer = $0 { true } else { false }
    }
    callers = []
  }

  @Test(
    "a client that dies at any byte of any message leaves the server serving the next",
    arguments: Wire.everyCommand.indices)
  func dyingClients(index: Int) throws {
    let (command, payload) = Wire.everyCommand[index]
    let emulator = try Emulator()
    let message =
      VFIOUserHeader(id: 1, command: command, size: UInt32(16 + payload.count), flags: 0).bytes
      + payload
    for length in 0...message.count {
      let peer = try emulator.peer()
      if command != .version { #expect(try peer.greet()) }
      peer.send(Array(message.prefix(length)))
      peer.close()
      #expect(try emulator.peer().greet())
    }
    let client = try emulator.client()
    #expect(try client.read(.bar0, at: 0, width: .byte) == 1)
  }
}

/// A descriptor that can be kept in an array.
final class OwnedDescriptorBox: Sendable {
  private let descriptor: OwnedFileDescriptor
  init(_ descriptor: consuming OwnedFileDescriptor) { self.descriptor = descriptor }
  var rawValue: CInt { descriptor.rawValue }
}

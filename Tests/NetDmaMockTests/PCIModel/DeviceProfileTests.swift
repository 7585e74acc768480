// SPDX-License-Identifier: Apache-2.0

import NetDmaMock
import NetDmaVFIO
import Testing

@Suite("Device profiles")
struct DeviceProfileTests {
  /// What the parts are, from the hardware reference's tables, apart from the model's.
  struct Part: CustomTestStringConvertible, Sendable {
    let name: String
    let ids: [UInt16]
    let raidIDs: [UInt16]
    let version: UInt8
    let addressWidth: Int
    var testDescription: String { name }
  }

  static let parts = [
    Part(
      name: "nehalem",
      ids: [0x3430, 0x3431, 0x3432, 0x3433, 0x3429, 0x342a, 0x342b, 0x342c], raidIDs: [],
      version: 0x30, addressWidth: 40),
    Part(
      name: "jasper-forest", ids: Array(0x3710...0x3717), raidIDs: [0x3718, 0x3719],
      version: 0x32, addressWidth: 40),
    Part(
      name: "sandy-bridge", ids: Array(0x3c20...0x3c27), raidIDs: [0x3c2e, 0x3c2f],
      version: 0x32, addressWidth: 46),
    Part(
      name: "ivy-bridge", ids: Array(0x0e20...0x0e27), raidIDs: [0x0e2e, 0x0e2f],
      version: 0x32, addressWidth: 46),
    Part(
      name: "haswell", ids: Array(0x2f20...0x2f27), raidIDs: [0x2f2e, 0x2f2f], version: 0x32,
      addressWidth: 46),
    Part(
      name: "broadwell", ids: Array(0x6f20...0x6f27), raidIDs: [0x6f2e, 0x6f2f], version: 0x32,
      addressWidth: 46),
    Part(
      name: "broadwell-de", ids: Array(0x6f50...0x6f53), raidIDs: [], version: 0x33,
      addressWidth: 48),
    Part(
      name: "briarwood", ids: Array(0x0c50...0x0c53), raidIDs: [], version: 0x33,
      addressWidth: 48),
    Part(
      name: "skylake", ids: [UInt16](repeating: 0x2021, count: 8), raidIDs: [], version: 0x33,
      addressWidth: 48),
    Part(
      name: "ice-lake", ids: [UInt16](repeating: 0x0b00, count: 8), raidIDs: [], version: 0x34,
      addressWidth: 48),
  ]

  static func profile(
    _ name: String, function: Int = 0, raid: Bool = false
  ) throws(ProfileError) -> DeviceProfile {
    var options = DeviceProfile.Options()
    options.function = function
    options.raid = raid
    options.timing = .fast
    return try DeviceProfile(named: name, options: options)
  }

  @Test("there is a profile for every part with an engine of version 3")
  func names() {
    #expect(DeviceProfile.names == Self.parts.map(\.name))
  }

  @Test("a chip's functions have their ids, one channel, version and limits", arguments: parts)
  func functions(part: Part) throws {
    #expect(try DeviceProfile.functionCount(named: part.name) == part.ids.count)
    for (function, id) in part.ids.enumerated() {
      let model = try Self.profile(part.name, function: function).model
      #expect(model.deviceID == id)
      #expect(model.channelCount == 1)
      #expect(model.cbVersion == part.version)
      #expect(model.addressWidth == part.addressWidth)
      #expect(model.transferCapability == 20)
    }
  }

  @Test("with RAID, functions 0 and 1 take the ids that a part has for it", arguments: parts)
  func raidIDs(part: Part) throws {
    guard !part.raidIDs.isEmpty else { return }
    for function in 0..<8 {
      let model = try Self.profile(part.name, function: function, raid: true).model
      let isRAID = function < 2
      #expect(model.deviceID == (isRAID ? part.raidIDs[function] : part.ids[function]))
      #expect((model.capabilities & 0x300 == 0x300) == isRAID)
    }
  }

  @Test("with RAID, parts with one id for both advertise it", arguments: ["nehalem", "ice-lake"])
  func raidOfSameID(name: String) throws {
    #expect(try Self.profile(name).model.capabilities & 0x300 == 0)
    #expect(try Self.profile(name, raid: true).model.capabilities & 0x300 == 0x300)
    #expect(
      try Self.profile(name, raid: true).model.deviceID == Self.profile(name).model.deviceID)
  }

  @Test("Briarwood has P+Q on functions 0 and 1, always, and XOR on none")
  func fixedRAID() throws {
    for function in 0..<4 {
      let capabilities = try Self.profile("briarwood", function: function).model.capabilities
      #expect(capabilities & 0x300 == (function < 2 ? 0x200 : 0))
    }
  }

  @Test("no RAID is found where silicon has none", arguments: ["skylake", "broadwell-de"])
  func noRAID(name: String) throws {
    #expect { _ = try Self.profile(name, raid: true) } throws: {
      guard case ProfileError.noRAID(name, let valid) = $0 else { return false }
      return !valid.contains(name) && valid.contains("ivy-bridge")
    }
  }

  @Test("only Briarwood and Broadwell-DE wipe their MSI-X table, which is elsewhere there")
  func wipedTables() throws {
    for name in DeviceProfile.names {
      let model = try Self.profile(name).model
      let wipes = name == "briarwood" || name == "broadwell-de"
      #expect(model.quirks.contains(.resetWipesMSIX) == wipes)
      #expect(model.msixTableOffset == (wipes ? 0x1000 : 0x2000))
      #expect(model.msixPendingOffset == (wipes ? 0x1800 : 0x3000))
    }
  }

  @Test("interrupt coalescing is absent in the first part only")
  func coalescing() throws {
    for name in DeviceProfile.names {
      #expect(try Self.profile(name).model.supportsInterruptDelay == (name != "nehalem"))
    }
  }

  @Test("every part copies, fills and breaks pages")
  func copying() throws {
    for name in DeviceProfile.names {
      #expect(try Self.profile(name).model.capabilities & 0x41 == 0x41)
    }
  }

  // MARK: - By device id

  @Test("a device id finds its part and its function")
  func byID() throws {
    for part in Self.parts {
      for (function, id) in part.ids.enumerated() where Set(part.ids).count > 1 {
        let found = try DeviceProfile(deviceID: id)
        #expect(found.name == part.name)
        #expect(found.function == function)
        #expect(found.model.deviceID == id)
      }
      for id in part.raidIDs {
        #expect(try DeviceProfile(deviceID: id).model.capabilities & 0x300 == 0x300)
      }
    }
  }

  @Test("the driver knows every id, and the device every id that the driver knows")
  func driverAgrees() throws {
    for id in DeviceProfile.deviceIDs {
      #expect(IOATDeviceID(vendor: 0x8086, device: id) != nil)
    }
    #expect(Set(DeviceProfile.deviceIDs) == Set(IOATDeviceID.all.map(\.device)))
  }

  @Test("an id of no engine needs a version, and has what that version suggests")
  func unknownID() throws {
    #expect(throws: ProfileError.unknownDeviceID(id: 0x1234)) {
      _ = try DeviceProfile(deviceID: 0x1234)
    }
    var options = DeviceProfile.Options()
    options.cbVersion = 0x32
    let profile = try DeviceProfile(deviceID: 0x1234, options: options)
    #expect(profile.model.deviceID == 0x1234)
    #expect(profile.model.addressWidth == 46)
  }

  // MARK: - Options

  @Test("options replace what the part has")
  func options() throws {
    var options = DeviceProfile.Options()
    options.channels = 4
    options.cbVersion = 0x34
    options.capabilities = [.fill, .xor]
    let model = try DeviceProfile(named: "haswell", options: options).model
    #expect(model.channelCount == 4)
    #expect(model.vectorCount == 4)
    #expect(model.cbVersion == 0x34)
    #expect(model.capabilities == 0x140)
    #expect(model.deviceID == 0x2f20)
  }

  @Test("what describes no function is refused, with what helps")
  func refusals() throws {
    var options = DeviceProfile.Options()
    #expect(throws: ProfileError.unknownName(name: "pentium", valid: DeviceProfile.names)) {
      _ = try DeviceProfile(named: "pentium")
    }
    options.function = 4
    #expect(
      throws: ProfileError.noSuchFunction(profile: "broadwell-de", function: 4, count: 4)
    ) { _ = try DeviceProfile(named: "broadwell-de", options: options) }
    options.function = 0
    options.channels = 32
    #expect(
      throws: ProfileError.outOfRange(option: "channel count", value: 32, range: 1...31)
    ) { _ = try DeviceProfile(named: "skylake", options: options) }
    options.channels = nil
    options.interrupts = []
    #expect(throws: ProfileError.noInterrupts(profile: "skylake")) {
      _ = try DeviceProfile(named: "skylake", options: options)
    }
  }

  @Test("capabilities are read by name and by number, and written back by name")
  func capabilityNames() throws {
    #expect(try DMACapabilities(parsing: "page-break,FILL,xor").rawValue == 0x141)
    #expect(try DMACapabilities(parsing: "0x341").description == "page-break,fill,xor,pq")
    #expect(try DMACapabilities(parsing: "none").isEmpty)
    #expect(throws: ProfileError.unmodelledCapabilities(bits: 0x400)) {
      _ = try DMACapabilities(parsing: "0x441")
    }
    // Hexadecimal digits are a number, unless they are a name.
    #expect(try DMACapabilities(parsing: "341").rawValue == 0x341)
    #expect(try DMACapabilities(parsing: "DCA") == .dca)
    for number in ["0x100000000", "ffffffffff"] {
      #expect(throws: ProfileError.capabilitiesTooWide(number: number)) {
        _ = try DMACapabilities(parsing: number)
      }
    }
    for text in ["", "fill,", "dif", "0xzz", "0x", "0x-1", "+41"] {
      #expect(throws: ProfileError.self) { _ = try DMACapabilities(parsing: text) }
    }
    // The names are the driver's, which netdma-probe prints.
    for bit in 0..<32 {
      let ours = DMACapabilities(rawValue: 1 << UInt32(bit)).description
      if ours != "none" { #expect(DMACapability(rawValue: 1 << UInt32(bit)).names == [ours]) }
    }
  }
}

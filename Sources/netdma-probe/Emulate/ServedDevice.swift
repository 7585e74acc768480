// SPDX-License-Identifier: Apache-2.0

import NetDmaMock
import NetDmaVFIO

/// What `emulate --json` prints of one socket.
struct ServedDevice: Encodable {
  let schema = JSONOutput.schema
  let command = "emulate"
  let socket: String
  let model: String
  let function: Int
  let vendorID: String
  let deviceID: String
  let cbVersion: String
  let channels: Int
  let capabilities: String
  let msixVectors: Int
  let mapsDoorbells: Bool

  enum CodingKeys: String, CodingKey {
    case schema, command, socket, model, function, vendorID, deviceID, cbVersion, channels,
      capabilities, msixVectors, mapsDoorbells
  }

  init(socket: String, profile: DeviceProfile, mapsDoorbells: Bool) {
    self.socket = socket
    model = profile.name
    function = profile.function
    vendorID = hexDigits(IOATDeviceID.vendor, 4)
    deviceID = hexDigits(profile.model.deviceID, 4)
    cbVersion = CBVersion(rawValue: profile.model.cbVersion).description
    channels = profile.model.channelCount
    capabilities = DMACapabilities(rawValue: profile.model.capabilities).description
    msixVectors = profile.msixVectorCount
    self.mapsDoorbells = mapsDoorbells
  }
}

// SPDX-License-Identifier: Apache-2.0

import SystemPackage

/// What a function was bound to before, kept until it is given back or the machine boots again.
package struct BindingRecord: Hashable, Sendable {
  package let driver: String?
  package let driverOverride: String?

  package init(driver: String?, driverOverride: String?) {
    self.driver = driver
    self.driverOverride = driverOverride
  }

  /// Two lines, "driver=ioatdma" and "override=".
  package var text: String { "driver=\(driver ?? "")\noverride=\(driverOverride ?? "")\n" }

  /// Strict, for the names become part of paths that root writes to; nil for anything else.
  package init?(text: String) {
    let lines = text.split(separator: "\n")
    guard lines.count == 2, lines[0].hasPrefix("driver="), lines[1].hasPrefix("override=") else {
      return nil
    }
    let values = lines.map { $0.drop { $0 != "=" }.dropFirst() }
    guard values.allSatisfy({ $0.isEmpty || Self.isDriverName($0) }) else { return nil }
    self.init(
      driver: values[0].isEmpty ? nil : String(values[0]),
      driverOverride: values[1].isEmpty ? nil : String(values[1]))
  }

  /// Letters, digits, dash and underscore, at most 64.
  package static func isDriverName(_ name: some StringProtocol) -> Bool {
    !name.isEmpty && name.utf8.count <= 64
      && name.utf8.allSatisfy { byte in
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
          UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "_"):
          true
        default: false
        }
      }
  }
}

/// The records of this machine, below /run.
package struct BindingRecords: Sendable {
  private let directory: String
  private let files: any SystemFiles

  package init(paths: HostPaths, files: any SystemFiles) {
    directory = paths.run + "/netdma-vfio"
    self.files = files
  }

  package func path(_ address: PCIAddress) -> String { "\(directory)/\(address)" }

  /// - Throws: `PCIError.badRecord` when there is one that makes no sense.
  package func load(_ address: PCIAddress) throws(PCIError) -> BindingRecord? {
    let path = path(address)
    guard files.exists(path) else { return nil }
    guard let text = try? files.read(path), let record = BindingRecord(text: text) else {
      throw .badRecord(path: path, detail: "It does not name a driver and an override.")
    }
    return record
  }

  package func save(_ record: BindingRecord, _ address: PCIAddress) throws(PCIError) {
    do throws(SystemCallError) {
      try files.store(record.text, at: path(address))
    } catch {
      // Nothing is wrong with a record that could not be made: the call says what is.
      throw error.errno == .permissionDenied || error.errno == .notPermitted
        ? .permissionDenied(device: address.description, path: path(address))
        : .system(device: address.description, error: error)
    }
  }

  package func forget(_ address: PCIAddress) {
    // A stale record is only looked at when the function is bound to VFIO, and replaced when it is
    // bound again.
    try? files.remove(path(address))
  }
}

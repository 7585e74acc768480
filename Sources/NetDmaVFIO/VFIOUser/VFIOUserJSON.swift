// SPDX-License-Identifier: Apache-2.0

/// The JSON of a VERSION message: strict, without Foundation, bounded in depth.
package indirect enum VFIOUserJSON: Hashable, Sendable {
  case null
  case bool(Bool)
  /// A whole number, cut to what 65 bits with a sign hold.
  case number(Int128)
  /// A number with a fraction or an exponent: nothing here wants its value.
  case real
  case string(String)
  case array([VFIOUserJSON])
  case object([String: VFIOUserJSON])

  /// Deepest nesting that is taken.
  private static let maximumDepth = 16

  /// Parses a whole text; nil when it is not exactly one value.
  package static func parse(_ bytes: [UInt8]) -> VFIOUserJSON? {
    var parser = Parser(bytes: bytes)
    guard let value = parser.value(depth: 0) else { return nil }
    parser.skipSpace()
    return parser.isAtEnd ? value : nil
  }

  package subscript(key: String) -> VFIOUserJSON? {
    if case .object(let members) = self { return members[key] }
    return nil
  }

  private struct Parser {
    let bytes: [UInt8]
    var position = 0

    init(bytes: [UInt8]) { self.bytes = bytes }

    var isAtEnd: Bool { position == bytes.count }
    var current: UInt8? { position < bytes.count ? bytes[position] : nil }

    mutating func skipSpace() {
      while let byte = current, byte == 0x20 || byte == 0x0a || byte == 0x0d || byte == 0x09 {
        position += 1
      }
    }

    mutating func take(_ byte: Character) -> Bool {
      skipSpace()
      guard let value = byte.asciiValue, current == value else { return false }
      position += 1
      return true
    }

    mutating func literal(_ text: StaticString, _ value: VFIOUserJSON) -> VFIOUserJSON? {
      let expected = Array("\(text)".utf8)
      guard position + expected.count <= bytes.count,
        Array(bytes[position..<position + expected.count]) == expected
      else { return nil }
      position += expected.count
      return value
    }

    mutating func value(depth: Int) -> VFIOUserJSON? {
      guard depth < VFIOUserJSON.maximumDepth else { return nil }
      skipSpace()
      switch current {
      case UInt8(ascii: "{"): return object(depth: depth)
      case UInt8(ascii: "["): return array(depth: depth)
      case UInt8(ascii: "\""): return string().map { .string($0) }
      case UInt8(ascii: "t"): return literal("true", .bool(true))
      case UInt8(ascii: "f"): return literal("false", .bool(false))
      case UInt8(ascii: "n"): return literal("null", .null)
      default: return number()
      }
    }

    mutating func object(depth: Int) -> VFIOUserJSON? {
      guard take("{") else { return nil }
      var members: [String: VFIOUserJSON] = [:]
      if take("}") { return .object(members) }
      repeat {
        skipSpace()
        guard let key = string(), take(":"), let value = value(depth: depth + 1) else { return nil }
        members[key] = value
      } while take(",")
      return take("}") ? .object(members) : nil
    }

    mutating func array(depth: Int) -> VFIOUserJSON? {
      guard take("[") else { return nil }
      var elements: [VFIOUserJSON] = []
      if take("]") { return .array(elements) }
      repeat {
        guard let value = value(depth: depth + 1) else { return nil }
        elements.append(value)
      } while take(",")
      return take("]") ? .array(elements) : nil
    }

    /// The digits from here on, nil when there are none.
    mutating func digits() -> ArraySlice<UInt8>? {
      let start = position
      while let byte = current, (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) {
        position += 1
      }
      return position > start ? bytes[start..<position] : nil
    }

    mutating func number() -> VFIOUserJSON? {
      let isNegative = current == UInt8(ascii: "-")
      if isNegative { position += 1 }
      guard let whole = digits(), whole.count == 1 || whole.first != UInt8(ascii: "0") else {
        return nil
      }
      var isReal = false
      if current == UInt8(ascii: ".") {
        position += 1
        guard digits() != nil else { return nil }
        isReal = true
      }
      if let byte = current, byte | 0x20 == UInt8(ascii: "e") {
        position += 1
        if let sign = current, sign == UInt8(ascii: "+") || sign == UInt8(ascii: "-") {
          position += 1
        }
        guard digits() != nil else { return nil }
        isReal = true
      }
      if isReal { return .real }
      // Twenty digits hold every 64-bit number; more are beyond it anyway.
      let value = whole.prefix(20).reduce(into: Int128(0)) { value, digit in
        value = value * 10 + Int128(digit - UInt8(ascii: "0"))
      }
      let bounded = whole.count > 20 ? 1 << 64 : min(value, 1 << 64)
      return .number(isNegative ? -bounded : bounded)
    }

    mutating func string() -> String? {
      guard current == UInt8(ascii: "\"") else { return nil }
      position += 1
      var text: [UInt8] = []
      while let byte = current {
        position += 1
        switch byte {
        case UInt8(ascii: "\""): return String(validating: text, as: UTF8.self)
        case UInt8(ascii: "\\"):
          guard let escaped = escape() else { return nil }
          text += Array(escaped.utf8)
        case 0..<0x20: return nil
        default: text.append(byte)
        }
      }
      return nil
    }

    mutating func escape() -> String? {
      guard let byte = current else { return nil }
      position += 1
      switch byte {
      case UInt8(ascii: "\""): return "\""
      case UInt8(ascii: "\\"): return "\\"
      case UInt8(ascii: "/"): return "/"
      case UInt8(ascii: "b"): return "\u{8}"
      case UInt8(ascii: "f"): return "\u{c}"
      case UInt8(ascii: "n"): return "\n"
      case UInt8(ascii: "r"): return "\r"
      case UInt8(ascii: "t"): return "\t"
      case UInt8(ascii: "u"):
        guard let first = codeUnit() else { return nil }
        if let scalar = Unicode.Scalar(first) { return String(Character(scalar)) }
        // Beyond 16 bits: two escapes, the high surrogate first.
        guard take("\\"), take("u"), let second = codeUnit() else { return nil }
        return String(validating: [first, second], as: UTF16.self)
      default: return nil
      }
    }

    /// Four hexadecimal digits.
    mutating func codeUnit() -> UInt16? {
      guard position + 4 <= bytes.count,
        let text = String(validating: bytes[position..<position + 4], as: UTF8.self),
        text.allSatisfy(\.isHexDigit), let code = UInt16(text, radix: 16)
      else { return nil }
      position += 4
      return code
    }
  }
}

/// What one side of a connection can take: the "capabilities" of a VERSION message.
package struct VFIOUserCapabilities: Hashable, Sendable {
  /// Descriptors in one message.
  package var maximumDescriptors = 1
  /// Largest count of a region or DMA transfer.
  package var maximumTransfer = 1_048_576
  /// DMA mappings at a time.
  package var maximumMappings = 65535
  /// Or-ed page sizes of DMA mappings.
  package var pageSizes: UInt64 = 4096

  /// The specification's defaults for what is absent.
  package init() {}

  /// What this implementation takes.
  package static var own: Self {
    var own = Self()
    own.maximumDescriptors = VFIOUser.maximumDescriptors
    own.maximumTransfer = VFIOUser.maximumTransfer
    own.maximumMappings = VFIOUser.maximumMappings
    return own
  }

  /// Reads the JSON text (without its NUL); nil when it is not what the specification allows.
  ///
  /// Unknown members are ignored.
  package init?(json: [UInt8]) {
    guard let document = VFIOUserJSON.parse(json), case .object = document else { return nil }
    self.init()
    guard let capabilities = document["capabilities"] else { return }
    guard case .object(let members) = capabilities else { return nil }
    // What is offered beyond what can be meant is as good as no limit.
    func number(_ key: String, from least: Int128, _ standard: Int128) -> Int128? {
      guard let value = members[key] else { return standard }
      guard case .number(let number) = value, number >= least else { return nil }
      return min(number, 1 << 40)
    }
    guard let descriptors = number("max_msg_fds", from: 0, 1),
      let transfer = number("max_data_xfer_size", from: 1, 1_048_576),
      let mappings = number("max_dma_maps", from: 1, 65535),
      let pages = Self.pageSizes(members["pgsizes"])
    else { return nil }
    if let migration = members["migration"] {
      guard case .object(let details) = migration else { return nil }
      if let page = details["pgsize"] {
        guard case .number(let size) = page, size >= 4096, size & 0xfff == 0 else { return nil }
      }
    }
    if let twin = members["twin_socket"] {
      guard case .object = twin else { return nil }
    }
    maximumDescriptors = Int(descriptors)
    maximumTransfer = Int(transfer)
    maximumMappings = Int(mappings)
    pageSizes = pages
  }

  /// A mask of page sizes: any 64 bits whose smallest page has 4 KiB or more.
  private static func pageSizes(_ value: VFIOUserJSON?) -> UInt64? {
    guard let value else { return 4096 }
    guard case .number(let number) = value, let mask = UInt64(exactly: number),
      mask & ~0xfff != 0
    else { return nil }
    return mask & ~0xfff
  }

  /// The JSON text with its NUL; short, because QEMU takes no reply longer than its own offer.
  package var json: [UInt8] {
    let text =
      "{\"capabilities\":{\"max_msg_fds\":\(maximumDescriptors),"
      + "\"max_data_xfer_size\":\(maximumTransfer),\"max_dma_maps\":\(maximumMappings),"
      + "\"pgsizes\":\(pageSizes)}}"
    return Array(text.utf8) + [0]
  }
}

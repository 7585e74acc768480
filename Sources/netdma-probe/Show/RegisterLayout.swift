// SPDX-License-Identifier: Apache-2.0

import NetDmaVFIO

/// Some bits of a register, under the name that the specification gives them.
struct FieldLayout: Sendable {
  let name: String
  let bits: ClosedRange<Int>
  /// What a value stands for, nil when the number says it all.
  let meaning: @Sendable (UInt64) -> String?

  /// One bit.
  static func flag(_ name: String, _ bit: Int) -> FieldLayout {
    FieldLayout(name: name, bits: bit...bit, meaning: { _ in nil })
  }

  /// A number of several bits.
  static func field(
    _ name: String, _ bits: ClosedRange<Int>,
    _ meaning: @escaping @Sendable (UInt64) -> String? = { _ in nil }
  ) -> FieldLayout {
    FieldLayout(name: name, bits: bits, meaning: meaning)
  }

  /// The field's value in a register's.
  func value(in register: UInt64) -> UInt64 {
    let mask = bits.count >= 64 ? UInt64.max : (1 << UInt64(bits.count)) - 1
    return register >> UInt64(bits.lowerBound) & mask
  }
}

/// A register: where it is, how wide, and what its bits mean.
struct RegisterLayout: Sendable {
  let name: String
  let offset: UInt64
  let width: AccessWidth
  let fields: [FieldLayout]
  /// Why it is not read, nil when reading it changes nothing.
  let sideEffect: String?

  init(
    _ name: String, at offset: UInt64, _ width: AccessWidth, _ fields: [FieldLayout] = [],
    sideEffect: String? = nil
  ) {
    self.name = name
    self.offset = offset
    self.width = width
    self.fields = fields
    self.sideEffect = sideEffect
  }

  /// The register's bits in words; nil stands for a value that was not read.
  func decode(_ value: UInt64?, base: UInt64 = 0, note: String? = nil) -> DecodedRegister {
    DecodedRegister(
      name: name, offset: "0x" + hexDigits(base + offset, 2), width: width.rawValue * 8,
      value: value.map { "0x" + hexDigits($0, width.rawValue * 2) },
      note: value == nil ? note ?? sideEffect : note,
      fields: fields.map { field in
        let bits = field.bits
        let number = value.map(field.value(in:))
        return DecodedRegister.Field(
          name: field.name,
          bits: bits.count == 1 ? "\(bits.lowerBound)" : "\(bits.upperBound):\(bits.lowerBound)",
          value: number, meaning: number.flatMap(field.meaning))
      })
  }
}

/// A register with its value in words.
struct DecodedRegister: Encodable, Sendable {
  struct Field: Encodable, Sendable {
    let name: String
    /// "3", or "13:0" for several.
    let bits: String
    let value: UInt64?
    let meaning: String?

    /// Lines of text show a single bit as NAME+ or NAME-, as lspci does.
    var isFlag: Bool { !bits.contains(":") }
  }

  let name: String
  let offset: String
  let width: Int
  /// nil when it was not read; `note` says why.
  let value: String?
  let note: String?
  let fields: [Field]

  /// The fields in words: "state=HALTED", "SOFT_ERROR-".
  ///
  /// Of a register of many bits that are all clear only that is said, so that what is set stands out.
  var words: [String] {
    if fields.count > 16, fields.allSatisfy({ $0.isFlag && $0.value == 0 }) {
      return ["all", "\(fields.count)", "bits", "clear"]
    }
    return fields.map { field in
      guard let value = field.value else { return "\(field.name)?" }
      if field.isFlag { return field.name + (value == 0 ? "-" : "+") }
      return "\(field.name)=" + (field.meaning ?? "\(value)")
    }
  }
}

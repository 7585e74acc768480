// SPDX-License-Identifier: Apache-2.0

/// One register of configuration space, declared: where it is, what it holds after a reset, and
/// which of its bits software can change and how.
///
/// Bits in none of the masks are read-only.
struct ConfigurationRegister: Sendable {
  /// Bytes from the start of configuration space, a multiple of the width.
  let offset: Int
  /// 1, 2 or 4 bytes.
  let width: Int
  /// The value after a reset.
  var reset: UInt32
  /// Bits that take what is written.
  var writable: UInt32
  /// Bits that a written 1 clears (W1C).
  var clearedByOne: UInt32
  /// Whether the register keeps its value across a function-level reset.
  var isSticky: Bool

  private init(
    _ offset: Int, _ width: Int, _ reset: UInt32, writable: UInt32, clearedByOne: UInt32,
    isSticky: Bool
  ) {
    self.offset = offset
    self.width = width
    self.reset = reset
    self.writable = writable
    self.clearedByOne = clearedByOne
    self.isSticky = isSticky
  }

  static func u8(
    _ offset: Int, _ reset: UInt8 = 0, writable: UInt8 = 0, isSticky: Bool = false
  ) -> Self {
    Self(offset, 1, UInt32(reset), writable: UInt32(writable), clearedByOne: 0, isSticky: isSticky)
  }

  static func u16(
    _ offset: Int, _ reset: UInt16 = 0, writable: UInt16 = 0, clearedByOne: UInt16 = 0
  ) -> Self {
    Self(
      offset, 2, UInt32(reset), writable: UInt32(writable), clearedByOne: UInt32(clearedByOne),
      isSticky: false)
  }

  static func u32(
    _ offset: Int, _ reset: UInt32 = 0, writable: UInt32 = 0, clearedByOne: UInt32 = 0,
    isSticky: Bool = false
  ) -> Self {
    Self(offset, 4, reset, writable: writable, clearedByOne: clearedByOne, isSticky: isSticky)
  }
}

/// 4 KiB of registers that were declared once; what is not declared reads 0 and ignores writes.
///
/// Works in aligned dwords with byte enables, as accesses arrive at a function, so every width and
/// alignment behaves alike.
struct RegisterSet: Sendable {
  static let size = 4096

  private var values = [UInt32](repeating: 0, count: size / 4)
  private var resets = [UInt32](repeating: 0, count: size / 4)
  private var writable = [UInt32](repeating: 0, count: size / 4)
  private var clearedByOne = [UInt32](repeating: 0, count: size / 4)
  private var sticky = [UInt32](repeating: 0, count: size / 4)
  private var declared = [UInt32](repeating: 0, count: size / 4)
  /// Registers that were refused because others are at their place; empty in a correct layout.
  private(set) var conflicts: [Int] = []

  init(_ registers: [ConfigurationRegister]) {
    for register in registers { declare(register) }
    values = resets
  }

  private mutating func declare(_ register: ConfigurationRegister) {
    let dword = register.offset / 4
    let shift = UInt32(8 * (register.offset % 4))
    let mask = Self.mask(register.width) << shift
    guard register.offset % register.width == 0, values.indices.contains(dword),
      declared[dword] & mask == 0
    else {
      conflicts.append(register.offset)
      return
    }
    declared[dword] |= mask
    resets[dword] |= register.reset << shift & mask
    writable[dword] |= register.writable << shift & mask
    clearedByOne[dword] |= register.clearedByOne << shift & mask
    if register.isSticky { sticky[dword] |= mask }
  }

  private static func mask(_ width: Int) -> UInt32 {
    width >= 4 ? .max : 1 << UInt32(8 * width) - 1
  }

  // MARK: - Software's side

  /// The dword at 4 × `dword`.
  func read(dword: Int) -> UInt32 { values[dword] }

  /// Writes the bytes of the dword at 4 × `dword` that `enables` has 0xff for.
  mutating func write(dword: Int, value: UInt32, enables: UInt32) {
    let taken = writable[dword] & enables
    let cleared = clearedByOne[dword] & enables & value
    values[dword] = (values[dword] & ~taken | value & taken) & ~cleared
  }

  // MARK: - Hardware's side

  /// A register's value.
  func value(_ offset: Int, width: Int) -> UInt32 {
    values[offset / 4] >> UInt32(8 * (offset % 4)) & Self.mask(width)
  }

  /// Changes a register whatever its masks are.
  mutating func set(_ offset: Int, width: Int, _ value: UInt32) {
    let shift = UInt32(8 * (offset % 4))
    let mask = Self.mask(width) << shift
    values[offset / 4] = values[offset / 4] & ~mask | value << shift & mask
  }

  /// Reset values everywhere, except in sticky registers unless `includingSticky`.
  mutating func reset(includingSticky: Bool) {
    for index in values.indices {
      let kept = includingSticky ? 0 : sticky[index]
      values[index] = values[index] & kept | resets[index] & ~kept
    }
  }
}

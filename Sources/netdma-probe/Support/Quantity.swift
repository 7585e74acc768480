// SPDX-License-Identifier: Apache-2.0

import Glibc

/// Three significant digits without an exponent: "0.0123", "1.23", "12.3", "1234"; no more than
/// `limit` decimals.
func significant(_ value: Double, limit: Int = 6) -> String {
  guard value.isFinite, value > 0 else { return "0" }
  let magnitude = Int(floor(log10(value)))
  let decimals = min(limit, max(0, 2 - magnitude))
  let scale = pow(10, Double(decimals))
  // Too large for an integer is too large for a measurement.
  guard let scaled = Int(exactly: (value * scale).rounded()) else { return "0" }
  guard decimals > 0 else { return "\(scaled)" }
  let unit = Int(scale)
  let fraction = String(scaled % unit)
  return "\(scaled / unit)." + String(repeating: "0", count: decimals - fraction.count) + fraction
}

/// "850ns", "1.23us", "12.3ms": three significant digits.
func shortDuration(_ nanoseconds: Double, separator: String = "") -> String {
  for (unit, size) in [("s", 1e9), ("ms", 1e6), ("us", 1e3)] where nanoseconds >= size * 0.9995 {
    return significant(nanoseconds / size) + separator + unit
  }
  return significant(nanoseconds, limit: 1) + separator + "ns"
}

/// "9.31 KiB" for a size that need not be whole.
func approximateByteCount(_ bytes: Double) -> String {
  for (unit, size) in [("GiB", 0x1p30), ("MiB", 0x1p20), ("KiB", 0x1p10)]
  where bytes >= size * 0.9995 {
    return significant(bytes / size) + " " + unit
  }
  return "\(Int(bytes.rounded())) bytes"
}

/// "64", "4K", "1M": a size as options take it.
func compactByteCount(_ bytes: Int) -> String {
  for (shift, unit) in [(30, "G"), (20, "M"), (10, "K")]
  where bytes >= 1 << shift && bytes & ((1 << shift) - 1) == 0 {
    return "\(bytes >> shift)\(unit)"
  }
  return "\(bytes)"
}

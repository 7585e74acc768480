// SPDX-License-Identifier: Apache-2.0

import Glibc

/// Three significant digits without an exponent: "0.0123", "1.23", "12.3", "1234"; no more than
/// `limit` decimals.
func significant(_ value: Double, limit: Int = 6) -> String {
  guard value.isFinite, value > 0 else { return "0" }
  var decimals = min(limit, max(0, 2 - Int(floor(log10(value)))))
  func rounded() -> Double { (value * pow(10, Double(decimals))).rounded() }
  // 0.9996 has a digit more when it is rounded.
  if decimals > 0, rounded() >= 1000 { decimals -= 1 }
  // Too large for an integer is too large for a measurement.
  guard let digits = Int(exactly: rounded()) else { return "0" }
  guard decimals > 0 else { return "\(digits)" }
  let unit = Int(pow(10, Double(decimals)))
  let fraction = String(digits % unit)
  return "\(digits / unit)." + String(repeating: "0", count: decimals - fraction.count) + fraction
}

/// "850", "41.7K", "1.40M": three significant digits of a count or rate, in powers of 1000.
func scaled(_ value: Double) -> String {
  for (unit, size) in [("G", 1e9), ("M", 1e6), ("K", 1e3)] where value >= size * 0.9995 {
    return significant(value / size) + unit
  }
  return significant(value, limit: 1)
}

/// The same without zeros at the end: "0.001", "10", "2.5".
func plain(_ value: Double) -> String {
  let text = significant(value)
  guard text.contains(".") else { return text }
  let digits = text.reversed().drop { $0 == "0" }
  return String((digits.first == "." ? digits.dropFirst() : digits).reversed())
}

/// "850ns", "1.23us", "12.3ms": three significant digits.
func shortDuration(
  _ nanoseconds: Double, separator: String = "", number: (Double) -> String = { significant($0) }
) -> String {
  for (unit, size) in [("s", 1e9), ("ms", 1e6), ("us", 1e3)] where nanoseconds >= size * 0.9995 {
    return number(nanoseconds / size) + separator + unit
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

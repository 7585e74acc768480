// SPDX-License-Identifier: Apache-2.0

/// The two sides of an async copy, which are checked before anything begins.
enum CopySides {
  /// - Throws: `NetDmaError.invalidParameter` unless both are equally long.
  static func check(_ source: DMASlice, _ destination: DMASlice) throws(NetDmaError) {
    guard source.count == destination.count else {
      throw .invalidParameter(
        call: "copy",
        detail: "The source has \(source.count) bytes, the destination \(destination.count).")
    }
  }

  /// `range` of `source`, all of it when nil, and as many bytes of `destination` from `offset` on.
  ///
  /// - Throws: `NetDmaError.invalidParameter` when a range does not lie within its buffer.
  static func slices(
    of source: borrowing DMABuffer, _ range: Range<Int>?, to destination: borrowing DMABuffer,
    at offset: Int
  ) throws(NetDmaError) -> (source: DMASlice, destination: DMASlice) {
    let range = range ?? 0..<source.count
    guard range.lowerBound >= 0, range.upperBound <= source.count, offset >= 0,
      range.count <= destination.count, offset <= destination.count - range.count
    else {
      throw .invalidParameter(
        call: "copy",
        detail: "Bytes \(range) of \(source.count) do not go to \(offset) of \(destination.count).")
    }
    return (source.slice(range), destination.slice(offset..<offset + range.count))
  }
}

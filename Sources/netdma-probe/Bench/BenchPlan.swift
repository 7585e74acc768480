// SPDX-License-Identifier: Apache-2.0

/// Which points are measured, and in which rows of figures they are shown.
struct BenchPlan: Sendable {
  /// Points that differ in one respect only.
  struct Series: Sendable {
    let axis: BenchPoint.Axis
    let points: [BenchPoint]
  }

  let series: [Series]
  /// Each point once, in the order in which they are measured.
  let points: [BenchPoint]

  /// What was asked for; nil where nothing was.
  struct Request: Sendable {
    var operations: [BenchPoint.Operation] = [.copy]
    var mode = BenchPoint.Mode.poll
    var sizes: [Int]?
    var depths: [Int]?
    var batches: [Int]?
    var channels: [Int]?

    /// Whether the choice of points is left to the plan.
    var isOpen: Bool { sizes == nil && depths == nil && batches == nil && channels == nil }
  }

  /// Sizes when nothing else is said: 64 bytes to 4 MiB.
  static let standardSizes = ValueList.doublings(from: 64, through: 4 << 20)

  /// Every combination of what was asked for; when nothing was, each axis around a standard point.
  init(_ request: Request, deviceChannels: Int) {
    var start = BenchPoint()
    start.mode = request.mode
    if request.mode == .async { start.channels = deviceChannels }
    let series = request.operations.flatMap { operation in
      start.operation = operation
      return request.isOpen
        ? Self.axes(around: start, request.mode, deviceChannels: deviceChannels)
        : Self.product(request, start)
    }
    self.series = series
    var seen: Set<BenchPoint> = []
    points = series.flatMap(\.points).filter { seen.insert($0).inserted }
  }

  private static func axes(
    around start: BenchPoint, _ mode: BenchPoint.Mode, deviceChannels: Int
  ) -> [Series] {
    var all = [row(.size, standardSizes, start)]
    all.append(row(.depth, ValueList.doublings(from: 1, through: 256), start))
    if mode != .async {
      all.append(row(.batch, ValueList.doublings(from: 1, through: start.depth), start))
      if deviceChannels > 1 {
        var large = start
        large.size = 64 << 10
        all.append(row(.channels, ValueList.doublings(from: 1, through: deviceChannels), large))
      }
    }
    return all
  }

  /// One row for each combination of the other axes.
  private static func product(_ request: Request, _ start: BenchPoint) -> [Series] {
    let values: [BenchPoint.Axis: [Int]] = [
      .size: request.sizes ?? standardSizes, .depth: request.depths ?? [start.depth],
      .batch: request.batches ?? [start.batch], .channels: request.channels ?? [start.channels],
    ]
    let axis = BenchPoint.Axis.allCases.first { (values[$0] ?? []).count > 1 } ?? .size
    var starts = [start]
    for other in BenchPoint.Axis.allCases where other != axis {
      starts = starts.flatMap { point in
        (values[other] ?? []).map { value in
          var next = point
          next[other] = value
          return next
        }
      }
    }
    // A batch is at most the depth, so different requests may mean the same row.
    var seen: Set<[BenchPoint]> = []
    return starts.map { row(axis, values[axis] ?? [], $0) }
      .filter { seen.insert($0.points).inserted }
  }

  private static func row(
    _ axis: BenchPoint.Axis, _ values: [Int], _ start: BenchPoint
  ) -> Series {
    var seen: Set<BenchPoint> = []
    let points = values.map { value in
      var point = start
      point[axis] = value
      point.batch = min(point.batch, point.depth)
      return point
    }
    return Series(axis: axis, points: points.filter { seen.insert($0).inserted })
  }
}

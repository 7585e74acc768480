// SPDX-License-Identifier: Apache-2.0

import Testing

@testable import netdma_probe

@Suite("What bench measures")
struct BenchPlanTests {
  @Test("every combination of what was asked for is measured once, in rows of one axis")
  func product() {
    var request = BenchPlan.Request()
    request.sizes = [64, 4096]
    request.depths = [1, 8]
    request.batches = [1, 4]
    request.channels = [1, 2]
    request.operations = [.copy, .fill]
    let plan = BenchPlan(request, deviceChannels: 2)
    // A batch is at most the depth: with depth 1 both batches are one.
    #expect(plan.points.count == 2 * 2 * 2 * 3)
    #expect(Set(plan.points).count == plan.points.count)
    #expect(plan.points.allSatisfy { $0.batch <= $0.depth })
    #expect(plan.series.allSatisfy { $0.axis == .size && $0.points.count == 2 })
    #expect(plan.series.flatMap(\.points) == plan.points)
  }

  @Test("a row varies the size where there are several, else the next thing that varies")
  func axis() {
    var request = BenchPlan.Request()
    request.sizes = [4096]
    request.channels = [1, 2, 4]
    var plan = BenchPlan(request, deviceChannels: 4)
    #expect(plan.series.map(\.axis) == [.channels])
    #expect(plan.points.map(\.channels) == [1, 2, 4])
    request.depths = [1, 16]
    plan = BenchPlan(request, deviceChannels: 4)
    #expect(plan.series.map(\.axis) == [.depth, .depth, .depth])
  }

  @Test("without a choice each axis is varied around one point; channels where there are several")
  func standard() {
    let one = BenchPlan(BenchPlan.Request(), deviceChannels: 1)
    #expect(one.series.map(\.axis) == [.size, .depth, .batch])
    #expect(one.series.first?.points.map(\.size) == BenchPlan.standardSizes)
    let four = BenchPlan(BenchPlan.Request(), deviceChannels: 4)
    #expect(four.series.map(\.axis) == [.size, .depth, .batch, .channels])
    #expect(four.series.last?.points.map(\.channels) == [1, 2, 4])
    // The standard point belongs to three rows and is measured once.
    #expect(one.points.count == one.series.map(\.points.count).reduce(0, +) - 2)
  }

  @Test("async calls use all channels and ring for each operation")
  func async() {
    var request = BenchPlan.Request()
    request.mode = .async
    let plan = BenchPlan(request, deviceChannels: 4)
    #expect(plan.series.map(\.axis) == [.size, .depth])
    #expect(plan.points.allSatisfy { $0.channels == 4 && $0.batch == 1 && $0.mode == .async })
  }

  @Test("operations that share memory share it only where they would take more than its budget")
  func places() {
    var point = BenchPoint()
    point.size = 4096
    point.depth = 64
    #expect(BenchMemory.placeCount(point, verifies: false) == 64)
    #expect(BenchMemory.placeCount(point, verifies: true) == 256)
    point.size = 4 << 20
    #expect(BenchMemory.placeCount(point, verifies: false) == 4)
    point.channels = 8
    #expect(BenchMemory.placeCount(point, verifies: false) == 1)
    point.size = 1 << 30
    #expect(BenchMemory.placeCount(point, verifies: true) == 1)
  }

  @Test("submissions end in order; one that ends in parts is told in parts")
  func submissions() {
    var queue = SubmissionQueue(capacity: 4)
    var told: [String] = []
    func pop(_ end: Int) { queue.pop(before: end) { told.append("\($1)@\($0)") } }
    queue.push(time: 10, end: 4)
    queue.push(time: 20, end: 5)
    pop(3)
    #expect(told == ["3@10"])
    pop(5)
    #expect(told == ["3@10", "1@10", "1@20"])
    // Around the queue many times.
    for round in 0..<100 {
      queue.push(time: UInt64(round), end: 6 + round)
      pop(6 + round)
      #expect(told.last == "1@\(round)")
    }
  }

  @Test("percentiles and the longest are those of what was recorded, to three digits")
  func latencies() {
    var histogram = LatencyHistogram()
    #expect(histogram.summary == LatencySummary())
    for value in 1...1000 { histogram.record(UInt64(value)) }
    var other = LatencyHistogram()
    other.record(5_000_000_000, count: 1)
    histogram.add(other)
    let summary = histogram.summary
    #expect(summary.p50 == 501)
    #expect(summary.p99 == 991)
    #expect(summary.p999 == 1000)
    #expect(summary.max == 5_000_000_000)
    // Longer than a minute counts, and the longest stays exact.
    histogram.record(100_000_000_000)
    #expect(histogram.summary.max == 100_000_000_000)
  }
}

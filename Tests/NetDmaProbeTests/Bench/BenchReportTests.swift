// SPDX-License-Identifier: Apache-2.0

import Foundation
import FoundationXML
import NetDmaVFIO
import Testing

@testable import netdma_probe

@Suite("bench's report")
struct BenchReportTests {
  private func html(_ summary: BenchSummary, arguments: [String] = ["bench"]) -> String {
    BenchHTML(summary: summary, arguments: arguments).text
  }

  /// What a strict parser finds: the names of all elements, and all text.
  private final class Reader: NSObject, XMLParserDelegate {
    var elements: [String] = []
    var text = ""
    var identifiers: [String] = []
    var references: [String] = []
    func parser(
      _ parser: XMLParser, didStartElement name: String, namespaceURI: String?,
      qualifiedName: String?, attributes: [String: String]
    ) {
      elements.append(name)
      if let id = attributes["id"] { identifiers.append(id) }
      references += (attributes["aria-labelledby"] ?? "").split(separator: " ").map(String.init)
    }
    func parser(_ parser: XMLParser, foundCharacters string: String) { text += string }
  }

  /// Reads the report's body; the head has elements that HTML does not close.
  private func read(_ report: String, sourceLocation: SourceLocation = #_sourceLocation) throws
    -> Reader
  {
    let start = try #require(report.range(of: "<body>"))
    let end = try #require(report.range(of: "</body>"))
    let parser = XMLParser(data: Data(report[start.lowerBound..<end.upperBound].utf8))
    let reader = Reader()
    parser.delegate = reader
    #expect(
      parser.parse(), "\(String(describing: parser.parserError)) in line \(parser.lineNumber)",
      sourceLocation: sourceLocation)
    return reader
  }

  @Test("it is well-formed, names nothing outside itself and has no script")
  func selfContained() throws {
    for mode in BenchPoint.Mode.allCases {
      let report = html(BenchSamples.summary(mode: mode))
      _ = try read(report)
      for outside in ["http:", "https:", "//", "<script", "<link", "<img", "@import", "url("] {
        #expect(!report.lowercased().contains(outside), "\(outside)")
      }
    }
  }

  @Test("each chart has a title, a description and a table, and names are unique")
  func accessible() throws {
    let reader = try read(html(BenchSamples.summary()))
    let count = { (name: String) in reader.elements.count { $0 == name } }
    // Throughput, latency, CPU time, channels, doorbells.
    #expect(count("svg") == 5)
    #expect(count("title") == 5 && count("desc") == 5)
    #expect(count("figure") == 5)
    // One for each chart, and that of all points.
    #expect(count("table") == 6 && count("caption") == 6)
    #expect(Set(reader.identifiers).count == reader.identifiers.count)
    #expect(Set(reader.references) == Set(reader.identifiers))
  }

  @Test("the break-even is told in words and marked in the charts")
  func breakEven() throws {
    let summary = BenchSamples.summary()
    let report = html(summary)
    let size = try #require(summary.comparisons.first?.breakEven.size)
    #expect(report.contains("break-even \(approximateByteCount(size))"))
    for comparison in summary.comparisons {
      #expect(report.contains(Markup.escaped(comparison.sentence)))
    }
    #expect(report.contains("class=\"mark\""))
  }

  @Test("without the CPU there is neither its line nor a break-even")
  func withoutCPU() throws {
    let report = html(BenchSamples.summary(comparesCPU: false))
    _ = try read(report)
    #expect(!report.contains("memcpy") && !report.contains("break-even"))
  }

  @Test("texts of devices, files and command lines stay texts")
  func escaping() throws {
    let hostile = "</title><script>alert('1')</script>&\"\u{0}\u{1b}[31m"
    struct Failure: Error, CustomStringConvertible { let description: String }
    let report = html(
      BenchSamples.summary(
        device: hostile, processor: hostile, failure: Failure(description: hostile)),
      arguments: ["bench", hostile, "it's", ""])
    let reader = try read(report)
    #expect(!report.contains("<script"))
    #expect(!report.unicodeScalars.contains { $0.value < 32 && $0 != "\n" })
    #expect(reader.text.contains("</title><script>alert('1')</script>&\"\u{fffd}\u{fffd}[31m"))
    #expect(reader.text.contains("'it'\\''s' ''"))
  }

  @Test("a run of one point, of none, and one that ended early have reports too")
  func small() throws {
    var request = BenchPlan.Request()
    request.sizes = [4096]
    let one = try read(html(BenchSamples.summary(request: request, deviceChannels: 1)))
    #expect(!one.elements.contains("svg"))
    #expect(one.text.contains("--depths 1..256"))
    request.sizes = []
    _ = try read(html(BenchSamples.summary(request: request)))
    let stopped = try read(html(BenchSamples.summary(wasStopped: true)))
    #expect(stopped.text.contains("stopped before all points"))
  }

  @Test("many depths and both operations: at most four lines for the engine in a chart")
  func manyLines() throws {
    var request = BenchPlan.Request()
    request.depths = [1, 2, 4, 8, 16, 32]
    request.operations = [.copy, .fill]
    let summary = BenchSamples.summary(request: request)
    let charts = BenchCharts(summary: summary)
    #expect(charts.throughput.map { $0.chart.lines.count } == [5, 5])
    #expect(charts.throughput.first?.chart.lines.first?.name == "depth 1")
    #expect(charts.throughput.first?.chart.lines.last?.name == "memcpy")
    #expect(charts.latency.count == 3)
    _ = try read(html(summary))
  }

  @Test(
    "an axis holds all its values and labels few of them",
    arguments: [[1.0, 1.0], [0.003, 470], [64, 4_194_304], [1e-6, 1e6], [5, 5.1]])
  func axes(_ values: [Double]) {
    for axis in [
      AxisScale.decades(values) { plain($0) }, .doublings(values) { plain($0) },
      .linear(values) { plain($0) },
    ] {
      #expect(axis.lower < axis.upper)
      for value in values where value >= 1 || axis.ticks.first?.value ?? 1 < 1 {
        #expect((0...1).contains(axis.position(value)))
        #expect(value <= axis.upper * 1.000_01)
      }
      let labels = axis.ticks.count { $0.label != nil }
      #expect((2...14).contains(labels), "\(axis)")
      #expect(axis.position(axis.lower) == 0 && axis.position(axis.upper) == 1)
    }
  }

  @Test("a file that was written is the whole report")
  func file() throws {
    let directory = try ScratchDirectory()
    let path = directory.path + "/report.html"
    let result = try ProbeProcess.run([
      "bench", "--mock", "--sizes", "64,4K", "--depths", "1,4", "--duration", "0.01", "--report",
      path,
    ])
    #expect(result.status == 0, "\(result.errors)")
    let report = try String(contentsOfFile: path, encoding: .utf8)
    #expect(report.hasPrefix("<!DOCTYPE html>") && report.hasSuffix("</html>\n"))
    let reader = try read(report)
    #expect(reader.elements.contains("svg"))
    #expect(reader.text.contains("netdma-probe bench --mock --sizes 64,4K"))
  }
}

@Suite("bench's text")
struct BenchTextTests {
  private func text(_ summary: BenchSummary, coloured: Bool = false) -> String {
    BenchText(summary: summary, style: TextStyle(isColoured: coloured)).text
  }

  @Test("the figures stand in columns, and the answer below them")
  func golden() {
    var request = BenchPlan.Request()
    request.sizes = [64, 4096, 1 << 20]
    #expect(
      text(BenchSamples.summary(mode: .interrupt, request: request, deviceChannels: 1)) == """
        device:   0000:00:04.0 (vfio), CB 3.3, 1 channel
        machine:  Made-up CPU, 8 CPUs, 32.0 GiB, Linux 6.1.0
        measured: interrupt-driven (MSI-X), 200 ms a point
                  latency from doorbell to completion; CPU time of this process

        copy, depth 32, batch 1, 1 channel                                 memcpy
         size  GB/s  op/s    p50    p99  p99.9    max CPU/op CPU/GB irq/op  GB/s CPU/GB
           64 0.308 4.81M 6.66us 13.3us 20.0us 66.6us  300ns  4.69s   0.25  3.10  323ms
           4K  5.75 1.40M 22.8us 45.6us 68.4us  228us  300ns 73.2ms   0.25  5.91  169ms
           1M  7.99 7.62K 4.20ms 8.40ms 12.6ms 42.0ms  300ns  286us   0.25  6.00  167ms

        break-even of copy, depth 32, batch 1, 1 channel with memcpy on one core
          throughput: DMA is faster than the CPU's memcpy from about 6.51 KiB on.
          CPU time:   DMA is cheaper in CPU time than the CPU's memcpy from about 1.49
                      KiB on.
        """)
  }

  @Test("no line is wider than 80 columns; emphasis is all that a terminal adds")
  func width() {
    for mode in BenchPoint.Mode.allCases {
      let summary = BenchSamples.summary(mode: mode)
      let plain = text(summary)
      for line in plain.split(separator: "\n") { #expect(line.count <= 80, "\(line)") }
      let coloured = text(summary, coloured: true)
      #expect(coloured != plain)
      #expect(coloured.replacing(/\u{1b}\[[0-9]*m/, with: "") == plain)
    }
  }

  @Test("many sets of points have their answers in a table, not in sentences")
  func manyAnswers() {
    var request = BenchPlan.Request()
    request.depths = [1, 8, 64]
    let lines = text(BenchSamples.summary(request: request)).split(separator: "\n").suffix(4)
    #expect(
      lines.map(String.init) == [
        "DMA is ahead of one core            in throughput  in CPU time",
        "copy, depth 1, batch 1, 1 channel   from 4.57 KiB  from 1.70 KiB",
        "copy, depth 8, batch 1, 1 channel   from 4.57 KiB  from 1.70 KiB",
        "copy, depth 64, batch 1, 1 channel  from 4.57 KiB  from 1.70 KiB",
      ])
  }

  @Test("one size tells no break-even, and the text says what does")
  func oneSize() {
    var request = BenchPlan.Request()
    request.sizes = [4096]
    #expect(text(BenchSamples.summary(request: request)).hasSuffix("say --sizes 64..4M."))
  }

  @Test("three digits are shown, without an exponent")
  func numbers() {
    #expect(
      [0, 0.00012, 0.0463, 1, 9.994, 12.34, 123.4, 1234.5].map { significant($0) } == [
        "0", "0.000120", "0.0463", "1.00", "9.99", "12.3", "123", "1235",
      ])
    #expect(significant(.nan) == "0" && significant(.infinity) == "0" && significant(-1) == "0")
    #expect([0.001, 10, 2.5, 100].map { plain($0) } == ["0.001", "10", "2.5", "100"])
    #expect(
      [5, 850, 999.9, 1234, 99_999, 5e9].map { shortDuration($0) } == [
        "5.0ns", "850ns", "1.00us", "1.23us", "100us", "5.00s",
      ])
    #expect([0.999_9, 99.96, 9.996].map { significant($0) } == ["1.00", "100", "10.0"])
    #expect(
      [5, 850, 41_730, 1.4e6, 999_999].map { scaled($0) } == [
        "5.0", "850", "41.7K", "1.40M", "1.00M",
      ])
    #expect(approximateByteCount(1000) == "1000 bytes" && approximateByteCount(9533) == "9.31 KiB")
    #expect(compactByteCount(64) == "64" && compactByteCount(1 << 20) == "1M")
    #expect(compactByteCount(1536) == "1536")
  }

  @Test("a time is written as ISO 8601 has it")
  func time() {
    #expect(UTCTime.text(0) == "1970-01-01T00:00:00Z")
    #expect(UTCTime.text(1_769_860_805) == "2026-01-31T12:00:05Z")
  }
}

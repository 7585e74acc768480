// SPDX-License-Identifier: Apache-2.0

import ArgumentParser
import Testing

@testable import netdma_probe

@Suite("Lists and ranges of bench's options")
struct ValueListTests {
  @Test(
    "sizes take K, M and G, lists and ranges, each value once",
    arguments: [
      ("64", [64]), ("4K", [4096]), ("2m", [2 << 20]), ("1G", [1 << 30]),
      ("64,4K,1M", [64, 4096, 1 << 20]), ("64..512", [64, 128, 256, 512]),
      ("1K..4K", [1024, 2048, 4096]), ("4K,1..4,2", [4096, 1, 2, 4]), ("7..7", [7]),
    ])
  func sizes(text: String, values: [Int]) throws {
    #expect(try ValueList.sizes(text, 1...1 << 30) == values)
  }

  @Test("a range doubles from its first value, and its last value always belongs to it")
  func ends() throws {
    #expect(try ValueList.counts("1..6", 1...8) == [1, 2, 4, 6])
    #expect(try ValueList.counts("3..13", 1...31) == [3, 6, 12, 13])
    #expect(try ValueList.sizes("64..4M", 1...1 << 30) == BenchPlan.standardSizes)
    #expect(BenchPlan.standardSizes.count == 17)
  }

  @Test(
    "what is no list of sizes is refused",
    arguments: [
      "", "x", "64,", ",64", "64..", "..64", "64..128..256", "4K..64", "0", "-1", "1T", "K", "1.5K",
      "2G", "9999999999999999999", "9007199254740992M", "0x40",
    ])
  func refusedSizes(text: String) {
    #expect(throws: ValidationError.self) { try ValueList.sizes(text, 1...1 << 30) }
  }

  @Test("counts have no units, and stay in their range", arguments: ["1K", "0", "32", "1..32"])
  func refusedCounts(text: String) {
    #expect(throws: ValidationError.self) { try ValueList.counts(text, 1...31) }
  }

  @Test("--json with a file's name is --json-to, alone it stays a flag, and only for bench")
  func jsonFile() {
    func changed(_ line: String) -> String {
      BenchArguments.withJSONFile(line.split(separator: " ").map(String.init))
        .joined(separator: " ")
    }
    #expect(changed("bench --mock --json out.json") == "bench --mock --json-to out.json")
    #expect(changed("bench --json out.json --mock") == "bench --json-to out.json --mock")
    #expect(changed("bench --json=out.json --mock") == "bench --json-to out.json --mock")
    #expect(changed("bench --json=-o --mock") == "bench --json-to -o --mock")
    #expect(changed("bench --mock --json -") == "bench --mock --json-to -")
    #expect(changed("bench --json --mock") == "bench --json --mock")
    #expect(changed("bench --mock --json") == "bench --mock --json")
    #expect(changed("verify --json --mock") == "verify --json --mock")
    #expect(changed("list --json x") == "list --json x")
  }
}

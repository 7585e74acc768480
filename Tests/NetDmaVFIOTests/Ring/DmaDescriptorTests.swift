// SPDX-License-Identifier: Apache-2.0

import NetDmaVFIO
import Testing

@Suite struct DmaDescriptorTests {
  @Test func theDescriptorHasTheLayoutOfNetdmaH() {
    #expect(MemoryLayout<DmaDescriptor>.size == 64)
    #expect(MemoryLayout<DmaDescriptor>.stride == 64)
    #expect(MemoryLayout<DmaDescriptor>.offset(of: \.transferSize) == 0x00)
    #expect(MemoryLayout<DmaDescriptor>.offset(of: \.controlFlags) == 0x04)
    #expect(MemoryLayout<DmaDescriptor>.offset(of: \.sourceAddress) == 0x08)
    #expect(MemoryLayout<DmaDescriptor>.offset(of: \.destinationAddress) == 0x10)
    #expect(MemoryLayout<DmaDescriptor>.offset(of: \.nextDescriptor) == 0x18)
    #expect(MemoryLayout<DmaDescriptor>.offset(of: \.nextSourceAddress) == 0x20)
    #expect(MemoryLayout<DmaDescriptor>.offset(of: \.nextDestinationAddress) == 0x28)
    #expect(MemoryLayout<DmaDescriptor>.offset(of: \.userContext1) == 0x30)
    #expect(MemoryLayout<DmaDescriptor>.offset(of: \.userContext2) == 0x38)
  }

  @Test(
    arguments: [
      (DmaControlFlags.interruptOnCompletion, 0x0000_0001),
      (.sourceNoSnoop, 0x0000_0002), (.destinationNoSnoop, 0x0000_0004),
      (.statusUpdateOnCompletion, 0x0000_0008), (.serializeTransfer, 0x0000_0010),
      (.nullTransfer, 0x0000_0020), (.sourcePageBreak, 0x0000_0040),
      (.destinationPageBreak, 0x0000_0080), (.destinationDCAEnable, 0x0000_0200),
      (DmaControlFlags(.contextChange), 0xff00_0000), (DmaControlFlags(.copy), 0),
    ] as [(DmaControlFlags, UInt32)])
  func controlFlagsHaveTheValuesOfNetdmaH(flag: DmaControlFlags, value: UInt32) {
    #expect(flag.rawValue == value)
  }

  @Test func theOperationIsTheTopByte() {
    #expect(DmaControlFlags(.fill, [.statusUpdateOnCompletion]).rawValue == 0x0100_0008)
    #expect(DmaControlFlags(rawValue: 0x8900_0011).operation == .pq)
  }

  @Test func theCompletionWordSplitsIntoAddressAndState() {
    let word = CompletionWord(rawValue: 0x1_2345_6743)
    #expect(word.descriptorAddress == 0x1_2345_6740)
    #expect(word.state == .halted)
    #expect(!word.hasUnaffiliatedError)
    #expect(CompletionWord(rawValue: 0x8).hasUnaffiliatedError)
    #expect(CompletionWord(rawValue: 0x10).hasSoftError)
  }
}

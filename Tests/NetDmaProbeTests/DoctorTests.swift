// SPDX-License-Identifier: Apache-2.0

import ArgumentParser
import Glibc
import Logging
import NetDmaMock
import NetDmaVFIO
import Synchronization
import TestSupport
import Testing

@testable import netdma_probe

@Suite("doctor")
struct DoctorTests {
  private static let address = PCIAddress(Situation.device)

  private func doctor(
    _ tree: SysFSTree, prove: @escaping (PCIAddress) throws -> CopyProof
  ) -> Doctor {
    Doctor(machine: DoctorMachine(root: tree.root), prove: prove)
  }

  /// Copies on the model in place of the device.
  private func proveOnMock(_: PCIAddress) throws -> CopyProof {
    try CopyProof.run(
      on: try MockTransport(), logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
  }

  @Test(
    "each situation: exactly its causes fail, advice is given, a copy is tried only without",
    arguments: Situation.all)
  func situation(_ situation: Situation) throws {
    let tree = try situation.tree()
    let tries = Mutex(0)
    let report = doctor(tree) { address in
      tries.withLock { $0 += 1 }
      #expect(address == Self.address)
      return try proveOnMock(address)
    }.examine(Self.address)
    #expect(report.checks.filter { $0.state == .failed }.map(\.id) == situation.failed)
    for check in report.checks where check.state == .failed {
      #expect(!check.fix.isEmpty, "\(check.id)")
    }
    #expect(tries.withLock { $0 } == (situation.failed.isEmpty ? 1 : 0))
    #expect(report.ok == situation.failed.isEmpty)
    if situation.failed.isEmpty {
      #expect(report.status == .success)
      #expect(report.proof?.copies == 16)
    } else {
      #expect(report.status.rawValue == situation.status)
      #expect(report.proof == nil)
    }
  }

  @Test(
    "from outside: the advice is printed, the exit status is not 0 without a copy",
    arguments: Situation.all)
  func process(_ situation: Situation) throws {
    let tree = try situation.tree()
    let arguments = ["doctor", Situation.device, "--sysroot", tree.root]
    let result = try ProbeProcess.run(arguments)
    #expect(result.status == situation.status, "\(result.errors)")
    #expect(result.output.contains(situation.advice), "\(result.output)")
    // The stand-in's own path means nothing to the reader.
    #expect(!result.output.contains(tree.root))
  }

  @Test("a proof that fails is a failure, with the error's own exit status and remedy")
  func failingProof() throws {
    let tree = try Situation.all[0].tree()
    let error = VFIOError.busy(device: Situation.device, path: "/dev/vfio/7")
    let report = doctor(tree) { _ in throw error }.examine(Self.address)
    #expect(!report.ok)
    #expect(report.status.rawValue == 69)
    let copy = report.checks.last
    #expect(copy?.id == "copy")
    #expect(copy?.state == .failed)
    #expect(copy?.fix == [error.remedy])
  }

  @Test("without a device it takes the engine that is closest to working")
  func choice() throws {
    let tree = try Situation.all[0].tree()
    try tree.add("0000:00:04.1") { $0.group = 8 }
    #expect(doctor(tree, prove: proveOnMock).examine(nil).device == Situation.device)
    tree.setDriver(Situation.device, "ioatdma")
    try tree.add("0000:00:04.2") {
      $0.driver = "vfio-pci"
      $0.group = 9
    }
    try tree.file("dev/vfio/9", "")
    chmod(tree.root + "/dev/vfio/9", 0o666)
    let report = doctor(tree, prove: proveOnMock).examine(nil)
    #expect(report.device == "0000:00:04.2")
    #expect(report.ok)
  }

  @Test("a machine without an engine is told so, and where a copy can be seen")
  func noEngine() throws {
    let tree = try SysFSTree()
    let result = try ProbeProcess.run(["doctor", "--sysroot", tree.root])
    #expect(result.status == 69)
    #expect(result.output.contains("netdma-probe verify --mock"))
  }

  @Test("this machine is examined without harm, whatever it is")
  func realMachine() throws {
    // As a stand-in for itself its engines are left alone.
    let result = try ProbeProcess.run(["doctor", "--json", "--sysroot", ""])
    let object = try jsonObject(result)
    #expect(object["ok"] as? Bool == (result.status == 0))
    #expect((object["checks"] as? [Any])?.isEmpty == false)
  }

  @Test("root needs neither sudo nor permission bits, and CAP_IPC_LOCK no limit")
  func root() throws {
    let tree = try Situation.all[0].tree()
    try tree.file(
      "proc/self/status", "Uid:\t0\t0\t0\t0\nGid:\t0\t0\t0\t0\nCapEff:\t000001ffffffffff\n")
    try tree.file("proc/self/limits", "Max locked memory   65536   65536   bytes\n")
    tree.delete("sys/module/vfio_iommu_type1")
    let report = doctor(tree, prove: proveOnMock).examine(Self.address)
    let failed = report.checks.filter { $0.state == .failed }
    #expect(failed.map(\.id) == ["vfio-modules"])
    #expect(failed.first?.fix.first == "modprobe vfio_iommu_type1")
  }
}

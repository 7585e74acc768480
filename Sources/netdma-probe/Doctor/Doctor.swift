// SPDX-License-Identifier: Apache-2.0

import ArgumentParser
import NetDmaVFIO

/// Examines a machine and one of its engines, and proves by a copy that it works.
struct Doctor {
  let machine: DoctorMachine
  /// Makes the copies; nil where there is nothing to make them on.
  let prove: ((PCIAddress) throws -> CopyProof)?

  /// Examines `requested`, or the engine that is closest to working.
  func examine(_ requested: PCIAddress?) -> DoctorReport {
    let general = MachineChecks(machine: machine).results
    guard let address = requested ?? best else {
      return DoctorReport(device: nil, checks: general, proof: nil, status: ExitStatus.noDevice)
    }
    var checks = general + DeviceChecks(machine: machine, address: address).results
    if requested != nil {
      // The device that was named counts, not whether there are others that are known.
      checks.removeAll { $0.id == "engine" }
    }
    let failed = checks.filter { $0.state == .failed }
    func verdict(_ state: CheckResult.State, _ detail: String, fix: [String] = []) -> CheckResult {
      CheckResult("copy", .proof, "Copy", state, detail, fix: fix)
    }
    guard failed.isEmpty else {
      checks.append(verdict(.unknown, "not tried"))
      let status =
        failed.allSatisfy(\.isPermission) ? ExitStatus.notPermitted : ExitStatus.noDevice
      return DoctorReport(
        device: address.description, checks: checks, proof: nil, status: status)
    }
    guard let prove else {
      checks.append(verdict(.unknown, "not tried: a directory stands in for the machine"))
      return DoctorReport(
        device: address.description, checks: checks, proof: nil, status: ExitStatus.noDevice)
    }
    do {
      let proof = try prove(address)
      checks.append(
        verdict(
          .ok,
          "\(proof.copies) copies, \(proof.bytes) bytes, all correct, "
            + "\(proof.interrupts) interrupt\(proof.interrupts == 1 ? "" : "s")"))
      return DoctorReport(
        device: address.description, checks: checks, proof: proof, status: .success)
    } catch let error as any DiagnosticError {
      checks.append(verdict(.failed, "\(error.what) \(error.why)", fix: [error.remedy]))
      return DoctorReport(
        device: address.description, checks: checks, proof: nil,
        status: ExitStatus.code(for: error))
    } catch {
      checks.append(verdict(.failed, "\(error)"))
      return DoctorReport(
        device: address.description, checks: checks, proof: nil,
        status: ExitStatus.code(for: error))
    }
  }

  /// The engine with the fewest failures, and of those the first.
  private var best: PCIAddress? {
    machine.engines.map(\.address).min {
      let (a, b) = (failures($0), failures($1))
      return a == b ? $0 < $1 : a < b
    }
  }

  private func failures(_ address: PCIAddress) -> Int {
    DeviceChecks(machine: machine, address: address).results.count { $0.state == .failed }
  }
}

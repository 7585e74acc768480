// SPDX-License-Identifier: Apache-2.0

import ArgumentParser
import CNetDma
import Glibc
import NetDmaMock
import NetDmaVFIO
import SystemPackage

/// Exit codes of sysexits.h that the commands use besides 0, 1 and 64 (usage).
enum ExitStatus {
  /// EX_NOUSER: the user that was named does not exist.
  static let noUser = ExitCode(67)
  /// EX_UNAVAILABLE: there is no usable device.
  static let noDevice = ExitCode(69)
  /// EX_CANTCREAT: a file that the user named for output cannot be made.
  static let cannotCreate = ExitCode(73)
  /// EX_IOERR: the output could not be written.
  static let outputFailed = ExitCode(74)
  /// EX_NOPERM: the user may not.
  static let notPermitted = ExitCode(77)

  /// The exit code for an error that ends a command.
  static func code(for error: any Error) -> ExitCode {
    switch error {
    case let error as ExitCode: error
    case NetDmaError.hardware(let error): code(for: error)
    case IOATError.transport(let error): code(for: error)
    case let error as IOATError: code(ioat: error)
    case let error as VFIOError: code(vfio: error)
    case let error as PCIError: code(pci: error)
    case let error as SystemCallError: code(system: error)
    case OutputError.notOpened: cannotCreate
    case is OutputError: outputFailed
    case is ChannelCountError: noDevice
    case BenchError.depthBeyondRing: .validationFailure
    case BenchError.noInterrupt, BenchError.noFill: noDevice
    case VerifyError.noInterrupt: noDevice
    case BindError.noSuchUser: noUser
    case BindError.noNode: noDevice
    case BindError.nodeNotGiven(_, _, let error): code(system: error)
    case VFIOUserServerError.pathInUse: noDevice
    case VFIOUserServerError.notASocket: cannotCreate
    case VFIOUserServerError.noRoomForDoorbells: .validationFailure
    case VFIOUserServerError.system(_, let error): code(system: error)
    default: .failure
    }
  }

  private static func code(system error: SystemCallError) -> ExitCode {
    error.errno == .permissionDenied || error.errno == .notPermitted ? notPermitted : .failure
  }

  private static func code(ioat error: IOATError) -> ExitCode {
    switch error {
    case .notIOAT, .unsupportedVersion, .disabledByFirmware: noDevice
    default: .failure
    }
  }

  private static func code(pci error: PCIError) -> ExitCode {
    switch error {
    case .permissionDenied: notPermitted
    case .system(_, let error): code(system: error)
    case .noPCIBus, .noSuchDevice, .notAnEngine, .deviceVanished, .noIOMMUGroup, .driverNotLoaded,
      .groupShared, .inUse:
      noDevice
    default: .failure
    }
  }

  private static func code(vfio error: VFIOError) -> ExitCode {
    switch error {
    case .permissionDenied, .socketDenied, .lockedMemoryLimit: notPermitted
    case .system(_, let error): code(system: error)
    case .noSuchDevice, .noIOMMUGroup, .vfioMissing, .notBoundToVFIO, .groupNotViable, .busy,
      .unsupportedKernel, .noIOMMUMode, .noServer, .serverBusy, .vectorsExhausted, .timedOut,
      .protocolViolation, .disconnected, .deviceGone:
      noDevice
    default: .failure
    }
  }
}

/// Runs a command's body; an error that ends it is said in its own sentences on standard error.
func reportingErrors(_ body: () throws -> Void) throws {
  do {
    do {
      try body()
    } catch let status as ExitCode {
      try finishOutput()
      throw status
    }
    try finishOutput()
  } catch let error as any DiagnosticError {
    // What was printed comes before what went wrong.
    try? finishOutput()
    let sentences = [error.what, error.why, error.remedy].filter { !$0.isEmpty }
    printError(sentences.joined(separator: "\n       "))
    throw ExitStatus.code(for: error)
  } catch let error as SystemCallError {
    try? finishOutput()
    printError("\(error)")
    throw ExitStatus.code(for: error)
  }
}

private func printError(_ message: String) {
  var text = "error: \(message)\n"
  // The bytes live for the call; nothing can be done when standard error takes none.
  text.withUTF8 { bytes in _ = unsafe Glibc.write(STDERR_FILENO, bytes.baseAddress, bytes.count) }
}

/// Writes out what was printed.
///
/// A reader that went away (a closed pipe) has what it wanted.
private func finishOutput() throws(OutputError) {
  // A null stream means all of them.
  if fflush(nil) != 0 {
    let errno = Errno(rawValue: Glibc.errno)
    if errno != .brokenPipe { throw OutputError.notWritten(errno) }
  } else if netdma_output_failed() != 0, !readerIsGone {
    // Long texts are written past the stream's buffer, when they are printed; the stream remembers that
    // it failed, and not why.
    throw OutputError.notWritten(nil)
  }
}

/// Whether standard output is a pipe that nobody reads any more.
private var readerIsGone: Bool {
  var output = pollfd(fd: STDOUT_FILENO, events: 0, revents: 0)
  // One structure, which lives for the call.
  return unsafe poll(&output, 1, 0) > 0 && output.revents & Int16(POLLERR) != 0
}

/// What was found out but could not be told.
enum OutputError: DiagnosticError {
  case notWritten(Errno?)
  case fileNotWritten(path: String, Errno)
  case notOpened(path: String, Errno)

  var what: String {
    switch self {
    case .notWritten: "The output could not be written."
    case .fileNotWritten(let path, _): "\(path) could not be written."
    case .notOpened(let path, _): "\(path) could not be opened for writing."
    }
  }
  var why: String {
    switch self {
    case .notWritten(nil): "A write failed."
    case .notWritten(let errno?), .fileNotWritten(_, let errno): "The write failed: \(errno)."
    case .notOpened(_, let errno): "The system says: \(errno)."
    }
  }
  var remedy: String {
    switch self {
    case .notWritten(.badFileDescriptor): "Run the command again with its output open."
    case .notWritten, .fileNotWritten: "Make room there, then run the command again."
    case .notOpened: "Name a file in a directory that exists and that you may write to."
    }
  }
}

// SPDX-License-Identifier: Apache-2.0

import CFuzz

/// Hands the process to libFuzzer; returns its exit status when it is done.
public func runFuzzer(
  _ callback: @convention(c) (UnsafePointer<UInt8>?, Int) -> CInt
) -> CInt {
  var count = CommandLine.argc
  var arguments: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?> = CommandLine.unsafeArgv
  return LLVMFuzzerRunDriver(&count, &arguments, callback)
}

// SPDX-License-Identifier: Apache-2.0

import CNetDma
import Glibc
package import SystemPackage

/// A POSIX thread with one owner, who must join it.
///
/// `deinit` joins too, so a body that never ends hangs its owner: give every body a way to stop.
public struct PinnedThread: ~Copyable, Sendable {
  private let handle: pthread_t

  /// What a body learns about the place it got.
  public struct Placement: Sendable {
    /// The CPU that the thread is pinned to, nil when it floats.
    public let cpu: Int?
    /// Why a wanted CPU was refused; the thread then floats.
    package let refusal: Errno?
  }

  private final class Start: Sendable {
    let name: String
    let cpu: Int?
    let body: @Sendable (Placement) -> Void
    init(name: String, cpu: Int?, body: @escaping @Sendable (Placement) -> Void) {
      self.name = name
      self.cpu = cpu
      self.body = body
    }
  }

  /// Starts a thread called `name` (15 bytes are kept), pinned to `cpu` where that is permitted.
  public init(
    name: String, cpu: Int? = nil, body: @escaping @Sendable (Placement) -> Void
  ) throws(SystemCallError) {
    // The box is retained for the new thread, which takes it over as its first act.
    let box = unsafe Unmanaged.passRetained(Start(name: name, cpu: cpu, body: body))
    var thread = pthread_t()
    let code = unsafe pthread_create(
      &thread, nil,
      { argument in
        guard let argument = unsafe argument else { return nil }
        let start = unsafe Unmanaged<Start>.fromOpaque(argument).takeRetainedValue()
        // The name is a NUL-terminated copy that lives for the call.
        unsafe netdma_name_current_thread(start.name)
        var refusal: Errno?
        if let cpu = start.cpu, netdma_pin_current_thread(CInt(clamping: cpu)) != 0 {
          refusal = Errno(rawValue: Glibc.errno)
        }
        start.body(Placement(cpu: refusal == nil ? start.cpu : nil, refusal: refusal))
        return nil
      }, box.toOpaque())
    guard code == 0 else {
      unsafe box.release()
      throw SystemCallError(call: "pthread_create", subject: name, errno: Errno(rawValue: code))
    }
    handle = thread
  }

  /// Gives up the right to join; the body must hold nothing that needs an end.
  public consuming func detach() {
    _ = pthread_detach(handle)
    discard self
  }

  deinit {
    // Joined exactly once: either here or, through `join`, by ending the value here.
    if isCurrent {
      // The last owner ended on the thread itself: nobody is left to join it.
      _ = pthread_detach(handle)
    } else {
      _ = pthread_join(handle, nil)
    }
  }

  /// Whether the caller runs on this thread.
  public var isCurrent: Bool { pthread_equal(handle, pthread_self()) != 0 }

  /// Waits for the body to return.
  public consuming func join() {}
}

/// The CPUs that this process may use.
public enum ProcessorSet {
  /// Numbers of the CPUs that the calling thread may run on, ascending; never empty.
  public static func available() -> [Int] {
    let configured = max(1, Int(sysconf(CInt(_SC_NPROCESSORS_CONF))))
    let allowed = (0..<configured).filter { netdma_may_run_on(CInt($0)) == 1 }
    return allowed.isEmpty ? [0] : allowed
  }
}

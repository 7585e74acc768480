// SPDX-License-Identifier: Apache-2.0

import Glibc

/// A value behind a lock; in place of `Synchronization.Mutex`, whose shape it has.
///
/// That one hands a contended lock over inside the kernel and the standard library, where
/// ThreadSanitizer does not see it and reports a race for every such hand-over. This one is a POSIX
/// mutex, which the sanitizer knows. Nothing on the hot path takes either.
@safe package struct Mutex<Value: ~Copyable>: ~Copyable, @unchecked Sendable {
  // @unchecked: the value is reached only with the lock held. Both pointers are constant and lead to
  // memory that this value owns and never moves, as a POSIX mutex demands.
  private let lock: UnsafeMutablePointer<pthread_mutex_t>
  private let value: UnsafeMutablePointer<Value>

  /// Puts `initialValue` behind a lock.
  package init(_ initialValue: consuming sending Value) {
    unsafe lock = .allocate(capacity: 1)
    unsafe lock.initialize(to: pthread_mutex_t())
    var attributes = pthread_mutexattr_t()
    // Whoever finds it held looks again for a moment before it sleeps: every lock here is held for a few
    // instructions, and to sleep and be woken takes thousands. None of these calls can fail on Linux.
    unsafe pthread_mutexattr_init(&attributes)
    unsafe pthread_mutexattr_settype(&attributes, CInt(PTHREAD_MUTEX_ADAPTIVE_NP))
    unsafe pthread_mutex_init(lock, &attributes)
    unsafe pthread_mutexattr_destroy(&attributes)
    unsafe value = .allocate(capacity: 1)
    unsafe value.initialize(to: initialValue)
  }

  deinit {
    // The owner is the last user, so nobody holds the lock.
    unsafe pthread_mutex_destroy(lock)
    unsafe lock.deallocate()
    unsafe value.deinitialize(count: 1)
    unsafe value.deallocate()
  }

  /// Calls `body` with the value while no other thread has it.
  ///
  /// `body` must not take the same lock.
  package borrowing func withLock<Result: ~Copyable, E: Error>(
    _ body: (inout sending Value) throws(E) -> sending Result
  ) throws(E) -> sending Result {
    // The lock is held for the whole access.
    unsafe pthread_mutex_lock(lock)
    defer { unsafe pthread_mutex_unlock(lock) }
    return unsafe try body(&value.pointee)
  }
}

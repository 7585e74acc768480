// SPDX-License-Identifier: Apache-2.0

import CNetDma
import Glibc
import Synchronization

/// A condition that becomes true once, and threads that wait for it.
@safe package final class Signal: @unchecked Sendable {
  // @unchecked: the mutex and the condition variable live in memory that this object owns and never
  // moves; every access to `isSet` holds the mutex.
  private let mutex: UnsafeMutablePointer<pthread_mutex_t>
  private let condition: UnsafeMutablePointer<pthread_cond_t>
  private var isSet = false

  package init() {
    unsafe mutex = .allocate(capacity: 1)
    unsafe condition = .allocate(capacity: 1)
    unsafe mutex.initialize(to: pthread_mutex_t())
    unsafe condition.initialize(to: pthread_cond_t())
    var attributes = pthread_condattr_t()
    // Default attributes with the monotonic clock: none of these calls can fail on Linux.
    unsafe pthread_condattr_init(&attributes)
    unsafe pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC)
    unsafe pthread_mutex_init(mutex, nil)
    unsafe pthread_cond_init(condition, &attributes)
    unsafe pthread_condattr_destroy(&attributes)
  }

  deinit {
    // No waiter is left: each holds a reference.
    unsafe pthread_cond_destroy(condition)
    unsafe pthread_mutex_destroy(mutex)
    unsafe condition.deallocate()
    unsafe mutex.deallocate()
  }

  /// Makes it true and wakes every waiter.
  package func set() {
    unsafe pthread_mutex_lock(mutex)
    isSet = true
    unsafe pthread_cond_broadcast(condition)
    unsafe pthread_mutex_unlock(mutex)
  }

  /// Makes it false again.
  package func clear() {
    unsafe pthread_mutex_lock(mutex)
    isSet = false
    unsafe pthread_mutex_unlock(mutex)
  }

  /// Waits until it is true or `duration` has passed; tells which.
  @discardableResult
  package func wait(for duration: Duration = .seconds(86_400 * 365)) -> Bool {
    let parts = duration.components
    var until = timespec()
    // The pointers live for the calls.
    _ = unsafe clock_gettime(CLOCK_MONOTONIC, &until)
    until.tv_sec += Int(clamping: max(0, parts.seconds))
    until.tv_nsec += Int(clamping: max(0, parts.attoseconds) / 1_000_000_000)
    if until.tv_nsec >= 1_000_000_000 {
      until.tv_nsec -= 1_000_000_000
      until.tv_sec += 1
    }
    unsafe pthread_mutex_lock(mutex)
    defer { unsafe pthread_mutex_unlock(mutex) }
    while !isSet {
      if unsafe pthread_cond_timedwait(condition, mutex, &until) == ETIMEDOUT { break }
    }
    return isSet
  }
}

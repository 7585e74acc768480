// SPDX-License-Identifier: Apache-2.0

/// A first-in, first-out queue of one thread, which grows and never shrinks.
///
/// Not an array in a class: the executor that uses it is entered again while it takes from it, and
/// pays neither a uniqueness nor an exclusivity check.
@safe struct JobQueue<Element>: ~Copyable {
  private var storage: UnsafeMutablePointer<Element>
  // A power of two, so that free-running positions can be masked.
  private var capacity: Int
  private var head = 0
  private var tail = 0

  /// An empty queue.
  init() {
    capacity = 64
    unsafe storage = .allocate(capacity: capacity)
  }

  deinit {
    // The elements from head to tail are initialized, and this value owns them.
    for position in head..<tail {
      unsafe (storage + (position & (capacity - 1))).deinitialize(count: 1)
    }
    unsafe storage.deallocate()
  }

  var count: Int { tail - head }
  var isEmpty: Bool { tail == head }

  mutating func append(_ element: Element) {
    if count == capacity { grow() }
    // Free, as fewer than `capacity` are in use.
    unsafe (storage + (tail & (capacity - 1))).initialize(to: element)
    tail += 1
  }

  /// The oldest element, which stays; nil when there is none.
  var first: Element? {
    // Initialized, because the queue is not empty.
    isEmpty ? nil : unsafe storage[head & (capacity - 1)]
  }

  mutating func popFirst() -> Element? {
    guard !isEmpty else { return nil }
    // As in `first`; the slot is free afterwards.
    let element = unsafe (storage + (head & (capacity - 1))).move()
    head += 1
    return element
  }

  @inline(never)
  private mutating func grow() {
    let larger = UnsafeMutablePointer<Element>.allocate(capacity: 2 * capacity)
    for position in head..<tail {
      // Each element moves once, from its old slot to its new one.
      unsafe (larger + (position & (2 * capacity - 1))).moveInitialize(
        from: storage + (position & (capacity - 1)), count: 1)
    }
    unsafe storage.deallocate()
    unsafe storage = larger
    capacity *= 2
  }
}

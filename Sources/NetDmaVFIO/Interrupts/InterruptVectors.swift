// SPDX-License-Identifier: Apache-2.0

/// The eventfds of a function's vectors, each connected to an ISR on a CPU's thread.
final class InterruptVectors: Sendable {
  private let eventFDs: [Vector]
  private let dispatcher: InterruptDispatcher

  private final class Vector: Sendable {
    let event: EventFD
    let connection: InterruptDispatcher.Connection
    init(_ event: consuming EventFD, _ connection: InterruptDispatcher.Connection) {
      self.event = event
      self.connection = connection
    }
  }

  /// Makes `count` eventfds; `isr` gets the vector and the number of signals.
  init(
    count: Int, dispatcher: InterruptDispatcher, cpu: (Int) -> Int,
    isr: @escaping @Sendable (_ vector: Int, _ signals: UInt64) -> Void
  ) throws(SystemCallError) {
    var made: [Vector] = []
    do throws(SystemCallError) {
      for index in 0..<count {
        let event = try EventFD()
        let connection = try dispatcher.connect(eventFD: event.rawValue, cpu: cpu(index)) {
          isr(index, $0)
        }
        made.append(Vector(event, connection))
      }
    } catch {
      for vector in made { dispatcher.disconnect(vector.connection) }
      throw error
    }
    eventFDs = made
    self.dispatcher = dispatcher
  }

  /// To hand to the kernel or the server, vector by vector.
  var fileDescriptors: [CInt] { eventFDs.map { $0.event.rawValue } }

  /// No ISR runs afterwards; the eventfds close with the last reference.
  func disconnect() {
    for vector in eventFDs { dispatcher.disconnect(vector.connection) }
  }
}

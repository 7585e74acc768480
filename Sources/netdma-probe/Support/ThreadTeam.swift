// SPDX-License-Identifier: Apache-2.0

import NetDmaVFIO

/// Threads that do the same for a number each, and what each of them returned.
final class ThreadTeam<Output: Sendable>: Sendable {
  private struct State {
    var missing: Int
    var outputs: [Output] = []
    var failure: (any Error)?
  }

  private final class Board: Sendable {
    let state: Mutex<State>
    let isComplete = Signal()
    init(waitingFor count: Int) { state = Mutex(State(missing: count)) }

    func post(_ result: sending Result<Output, any Error>) {
      let missing = state.withLock { state in
        switch result {
        case .success(let output): state.outputs.append(output)
        case .failure(let error): state.failure = state.failure ?? error
        }
        state.missing -= 1
        return state.missing
      }
      if missing == 0 { isComplete.set() }
    }
  }

  /// A thread, joined when the last reference ends.
  private final class Member: Sendable {
    private let thread: PinnedThread
    init(_ name: String, _ body: @escaping @Sendable () -> Void) throws(SystemCallError) {
      thread = try PinnedThread(name: name) { _ in body() }
    }
  }

  private let board: Board
  private let members: [Member]

  /// Starts `count` threads, called `name` and their number; their end is waited for when the team
  /// ends.
  init(
    count: Int, name: String, body: @escaping @Sendable (Int) throws -> Output
  ) throws(SystemCallError) {
    let board = Board(waitingFor: count)
    var members: [Member] = []
    for number in 0..<count {
      members.append(
        try Member("\(name)/\(number)") { board.post(Result { try body(number) }) })
    }
    self.board = board
    self.members = members
  }

  /// Whether all have returned, after at most `duration`.
  func wait(for duration: Duration) -> Bool { board.isComplete.wait(for: duration) }

  /// What they returned, in the order in which they did.
  ///
  /// - Throws: What the first that threw has thrown.
  func outputs() throws -> [Output] {
    try board.state.withLock { state in
      if let failure = state.failure { throw failure }
      return state.outputs
    }
  }
}

// SPDX-License-Identifier: Apache-2.0

import Logging

/// The user's own memory, shown to the device for a time.
///
/// Whole pages are shown, so what else lies in the first and the last page is within the device's
/// reach too.
struct DMARegistration: ~Copyable {
  private let space: DMAAddressSpace
  private let iova: UInt64
  private let size: UInt64
  /// The memory as the device sees it.
  let slice: DMASlice

  /// How long ending it waits for engines; then the IOMMU alone protects the memory.
  private static let patience: Duration = .seconds(10)

  init(
    _ memory: UnsafeMutableRawBufferPointer, permissions: DMAPermissions, in space: DMAAddressSpace
  ) throws(VFIOError) {
    guard let base = memory.baseAddress, memory.count > 0 else {
      throw .invalidMapping(
        device: space.transport.name, iova: 0, size: 0, reason: "There is no memory to register.")
    }
    let page = space.granularity
    let first = UInt64(UInt(bitPattern: base)) / page * page
    let end = (UInt64(UInt(bitPattern: base)) + UInt64(memory.count) + page - 1) / page * page
    let size = end - first
    let iova = try space.reserve(size)
    do throws(VFIOError) {
      try space.transport.mapDMA(
        DMARegion(address: UInt(first), size: size), at: iova, permissions: permissions)
    } catch {
      space.release(iova, size: size)
      throw error
    }
    self.space = space
    self.iova = iova
    self.size = size
    slice = DMASlice(
      iova: iova &+ (UInt64(UInt(bitPattern: base)) - first), count: memory.count)
  }

  deinit {
    // Afterwards the memory is its owner's alone: either the engines have passed it, or the IOMMU
    // refuses them.
    _ = space.settle(until: Deadline(after: Self.patience))
    do throws(VFIOError) {
      try space.transport.unmapDMA(iova: iova, size: size)
      space.release(iova, size: size)
    } catch .disconnected, .deviceGone {
      // Nobody is left who could reach it; the address is not needed any more either.
    } catch {
      // The memory goes back to its owner all the same, who cannot be stopped from using it. What can
      // be kept is the address: nothing else is ever mapped where the device still sees this.
      space.logger.error(
        "memory that its owner has back stays mapped for the device",
        metadata: [
          "device": "\(space.transport.name)", "iova": "\(hex(iova))", "bytes": "\(size)",
          "reason": "\(error)",
        ])
    }
  }
}

extension DMAAddressSpace {
  /// Shows memory of the caller's to the device while `body` runs.
  ///
  /// Returns when no engine works on what was submitted meanwhile; operations that were enqueued and
  /// not submitted fail when they are. Where the kernel does not remove the mapping, so that the device
  /// may still reach the memory, an error is logged.
  /// - Parameters:
  ///   - memory: Stays allocated, and in place, during the call. Whole pages are shown.
  ///   - permissions: What the device may do with it.
  ///   - body: Gets the memory as the device sees it; it is shown until this returns.
  /// - Throws: What `body` throws, or `VFIOError` in `RegistrationError` when it cannot be shown: the
  ///   memory lock limit, no addresses left, or a vfio-user server, which reaches only memory that
  ///   has a file.
  @unsafe public func withRegisteredMemory<R: ~Copyable, E: Error>(
    _ memory: UnsafeMutableRawBufferPointer, permissions: DMAPermissions = .readWrite,
    _ body: (DMASlice) throws(E) -> R
  ) throws(RegistrationError<E>) -> R {
    let registration: DMARegistration
    do throws(VFIOError) {
      registration = unsafe try DMARegistration(memory, permissions: permissions, in: self)
    } catch { throw .registration(error) }
    do throws(E) { return try body(registration.slice) } catch { throw .body(error) }
  }

  /// `withRegisteredMemory` for a body that suspends.
  @unsafe public func withRegisteredMemory<R: Sendable>(
    _ memory: UnsafeMutableRawBufferPointer, permissions: DMAPermissions = .readWrite,
    isolation: isolated (any Actor)? = #isolation,
    _ body: (DMASlice) async throws -> R
  ) async throws -> R {
    let registration = unsafe try DMARegistration(memory, permissions: permissions, in: self)
    return try await body(registration.slice)
  }
}

/// Why `withRegisteredMemory` did not return a result.
public enum RegistrationError<Body: Error>: Error {
  /// The memory could not be shown to the device.
  case registration(VFIOError)
  /// The body threw.
  case body(Body)
}

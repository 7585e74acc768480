// SPDX-License-Identifier: Apache-2.0

public import Logging
import Synchronization

/// The NetDMA interface: it owns channels, descriptors and the choice of CPU; providers register
/// with it, clients allocate channels from it.
///
/// Thread-safe. One interface serves any number of providers. It keeps a provider alive while that
/// is registered.
public final class NetDmaInterface: Sendable {
  /// What can be set for all providers and channels.
  public struct Options: Sendable {
    /// Most channels that are allocated at a time, 1 to 65,536.
    public var maximumChannels = 256
    /// An operation without progress for this long makes the watchdog recover its channel; at least
    /// `shortestWatchdog`, what is less counts as that.
    public var watchdog: Duration = .seconds(2)
    /// How long `stopProvider` and freeing a channel wait for what is outstanding.
    public var drain: Duration = .seconds(5)
    /// How long a new channel may take for its first (null) descriptor.
    public var firstDescriptor: Duration = .seconds(1)
    /// CPUs that channels are spread over; empty, every CPU that the process may use.
    public var cpus: [Int] = []
    /// The defaults.
    public init() {}

    /// The lower bound of `watchdog`: the thread that looks at channels sleeps that long in between.
    public static let shortestWatchdog: Duration = .milliseconds(1)
  }

  let options: Options
  let logger: Logger
  let channels: ChannelTable
  let providers = Mutex(ProviderTable())
  let maintenance: MaintenanceThread
  let pnp = NetDmaPnPHub()
  /// What channels that are gone have done.
  let ended = Mutex(NetDmaChannelStatistics())
  /// Held while a device is reset, with the gates of its channels.
  let deviceResets = Mutex<Void>(())
  let watchdogNanoseconds: UInt64

  /// An interface without providers.
  ///
  /// - Throws: `NetDmaError.resources` when its maintenance thread cannot be made.
  public init(options: Options = Options(), logger: Logger) throws(NetDmaError) {
    var options = options
    options.watchdog = max(options.watchdog, Options.shortestWatchdog)
    self.options = options
    self.logger = logger
    channels = ChannelTable(capacity: min(max(1, options.maximumChannels), 65536))
    watchdogNanoseconds = options.watchdog.wholeNanoseconds
    do throws(SystemCallError) {
      maintenance = try MaintenanceThread(watchdog: options.watchdog)
    } catch {
      throw .resources(call: "NetDmaInterface", detail: "\(error).")
    }
    maintenance.serve(self)
  }

  deinit {
    maintenance.stop()
    pnp.finish()
  }

  /// NetDmaGetVersion: major in the high, minor in the low 16 bits.
  public static func getVersion() -> NetDmaVersion { .current }

  /// Where the buffers of started providers live.
  var addressSpaces: [DMAAddressSpace] {
    providers.withLock { $0.entries.values.compactMap { $0.state.attributes?.addressSpace } }
  }

  /// The CPUs that channels are spread over.
  var cpus: [Int] { options.cpus.isEmpty ? ProcessorSet.available() : options.cpus }
}

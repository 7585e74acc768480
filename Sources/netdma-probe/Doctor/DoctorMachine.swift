// SPDX-License-Identifier: Apache-2.0

import Glibc
import NetDmaVFIO

/// The machine that is examined, and how commands for it are written.
struct DoctorMachine {
  let host: VFIOHost
  /// What comes before every absolute path; empty for this machine.
  let root: String
  let process: ProcessFacts

  init(root: String?, files: any SystemFiles = HostFiles()) {
    let root = root ?? ""
    self.root = root
    host = VFIOHost(
      paths: HostPaths(
        sysfs: root + "/sys", procfs: root + "/proc", devices: root + "/dev", run: root + "/run"),
      files: files, calls: HostKernel())
    process = ProcessFacts(host)
  }

  // MARK: - Looking

  /// A file's text, without white space at its ends; `path` is absolute on the machine.
  func text(_ path: String) -> String? { host.files.text(root + path) }
  func exists(_ path: String) -> Bool { host.files.exists(root + path) }
  func entries(_ path: String) -> [String] { (try? host.files.entries(of: root + path)) ?? [] }
  /// A path as it is on the machine.
  func shown(_ path: String) -> String {
    path.hasPrefix(root) ? String(path.dropFirst(root.count)) : path
  }

  /// Whether the calling user may read and write what a path leads to.
  func mayOpen(_ path: String) -> Bool {
    guard let status = host.files.status(of: root + path) else { return false }
    if process.mayReadAndWrite(status) { return true }
    // The kernel knows more than the permission bits do (access control lists), but only of itself.
    return process.user == geteuid() && host.files.isReadableAndWritable(root + path)
  }

  /// Engines, by address.
  var engines: [(address: PCIAddress, id: IOATDeviceID)] {
    entries("/sys/bus/pci/devices").compactMap { PCIAddress($0) }.sorted().compactMap { address in
      engine(at: address).map { (address, $0) }
    }
  }

  /// What kind of engine a function is, nil when it is none.
  func engine(at address: PCIAddress) -> IOATDeviceID? {
    host.node(address).vendorAndDevice.flatMap {
      IOATDeviceID(vendor: $0.vendor, device: $0.device)
    }
  }

  /// IOMMUs that the kernel drives.
  var iommus: [String] { entries("/sys/class/iommu") }

  /// Whether the machine is a guest itself.
  var isGuest: Bool {
    (text("/proc/cpuinfo") ?? "").split(separator: "\n").contains {
      $0.hasPrefix("flags") && $0.split(separator: " ").contains("hypervisor")
    }
  }

  /// The kind of container that this is, nil when it is none.
  var container: String? {
    if exists("/.dockerenv") { return "docker" }
    if exists("/run/.containerenv") { return "podman" }
    if let kind = text("/run/systemd/container"), !kind.isEmpty { return kind }
    return exists("/proc/vz") && !exists("/proc/bc") ? "openvz" : nil
  }

  // MARK: - Commands

  /// In front of what is to be done outside of a container.
  var onHost: String { container == nil ? "" : "(host) " }

  /// A command line for root on the host.
  func asHostRoot(_ command: String) -> String { onHost + asRoot(command) }

  /// A command line for root.
  func asRoot(_ command: String) -> String { process.isRoot ? command : "sudo " + command }

  /// Writes a line to a file of root's.
  func writing(_ text: String, to path: String, appending: Bool = false) -> String {
    process.isRoot
      ? "echo \(text) >\(appending ? ">" : "") \(path)"
      : "echo \(text) | sudo tee \(appending ? "-a " : "")\(path)"
  }

  /// Who the calling user is, for commands.
  var userName: String {
    guard let user = process.user else { return "USER" }
    for line in (text("/etc/passwd") ?? "").split(separator: "\n") {
      let fields = line.split(separator: ":", omittingEmptySubsequences: false)
      if fields.count > 2, UInt32(fields[2]) == user { return String(fields[0]) }
    }
    return String(user)
  }

  /// How this machine's kernel command line gets `options`.
  func addingToKernelCommandLine(_ options: String) -> [String] {
    if exists("/usr/sbin/grubby") || exists("/sbin/grubby") {
      return [asHostRoot("grubby --update-kernel=ALL --args=\"\(options)\""), asHostRoot("reboot")]
    }
    if exists("/etc/default/grub") {
      let update =
        exists("/usr/sbin/update-grub")
        ? "update-grub" : "grub2-mkconfig -o /boot/grub2/grub.cfg"
      return [
        asHostRoot("sed -i 's/^GRUB_CMDLINE_LINUX=\"/&\(options) /' /etc/default/grub"),
        asHostRoot(update), asHostRoot("reboot"),
      ]
    }
    if exists("/etc/kernel/cmdline") {
      return [
        asHostRoot("sed -i '1s/$/ \(options)/' /etc/kernel/cmdline"),
        asHostRoot("kernel-install add-all"), asHostRoot("reboot"),
      ]
    }
    return ["(boot loader) add to the kernel's command line: \(options)", asHostRoot("reboot")]
  }
}

// SPDX-License-Identifier: Apache-2.0

/// What the manual page tells beside the commands.
enum ManualSections {
  /// A section: terms with their meanings, then text.
  struct Section {
    let title: String
    var entries: [(term: String, text: String)] = []
    var text = ""
  }

  static let description = """
    netdma-probe finds the IOAT DMA engines of a machine (also called QuickData, CBDMA or Crystal \
    Beach DMA: the copy engines of Intel Xeons from Nehalem to Ice Lake), says what keeps them from \
    being used, hands them from kernel drivers to vfio-pci and back, and copies through them, \
    comparing every byte. Without such hardware it does the same on a model of it, in this process or \
    behind a vfio-user socket.

    Devices are named by their PCI address, like 0000:00:04.0; the domain may be left out.
    """

  static let all: [Section] = [
    Section(
      title: "EXIT STATUS",
      entries: [
        ("0", "Done; for doctor: copies were made, and were correct."),
        (
          "1",
          "It was done and the result is wrong: a copy differs, a rule is broken; or an error "
            + "without a status of its own."
        ),
        ("64", "The command line is wrong (EX_USAGE)."),
        ("67", "The user that --user names does not exist (EX_NOUSER)."),
        (
          "69",
          "No usable device: missing, with the wrong driver, busy, or gone (EX_UNAVAILABLE)."
        ),
        ("73", "A file that was named for output cannot be made (EX_CANTCREAT)."),
        ("74", "The output could not be written (EX_IOERR)."),
        ("77", "This user may not (EX_NOPERM)."),
        ("130", "Stopped by SIGINT or SIGTERM before the end."),
      ]),
    Section(
      title: "ENVIRONMENT",
      entries: [
        ("NO_COLOR", "When it is set to something, nothing is coloured on a terminal."),
        ("TERM", "With dumb nothing is coloured either."),
        (
          "COLUMNS",
          "How wide the output may be where it is no terminal; without it list cuts nothing there."
        ),
        (
          "NETDMA_SYSROOT",
          "A directory with sys, proc, dev and run that stands in for this machine's; for tests."
        ),
      ]),
    Section(
      title: "FILES",
      entries: [
        ("/dev/vfio/vfio", "VFIO's container; grants nothing by itself."),
        (
          "/dev/vfio/GROUP",
          "The node of an IOMMU group: who may open it controls every device of the group."
        ),
        ("/run/netdma-vfio", "What bind remembers for unbind, until the machine boots again."),
        (
          "/etc/udev/rules.d/90-netdma.rules",
          "Where a rule belongs that gives nodes to users who are not root. An example is installed "
            + "below share/doc/netdma-probe."
        ),
        (
          "/etc/security/limits.d/90-netdma.conf",
          "Where an ordinary user's limit of locked memory is raised."
        ),
      ]),
    Section(
      title: "EXAMPLES",
      text: """
        A copy on the built-in model, on any machine:

          netdma-probe verify --mock

        From a fresh server to a copy as an ordinary user:

          netdma-probe list
          netdma-probe doctor 0000:00:04.0
          sudo netdma-probe bind 0000:00:04.0 --user $USER
          netdma-probe doctor 0000:00:04.0
          netdma-probe verify --device 0000:00:04.0 --count 10000
          sudo netdma-probe unbind 0000:00:04.0

        An emulated engine for another driver, and this one's copies on it:

          netdma-probe emulate --socket /tmp/ioat.sock &
          netdma-probe verify --vfio-user /tmp/ioat.sock

        How fast a device is, and from which size on it pays, with charts:

          netdma-probe bench --device 0000:00:04.0 --report report.html

        What a script needs:

          netdma-probe list --json
        """),
    Section(
      title: "SEE ALSO",
      text: "lspci(8), setpci(8), driverctl(8), udev(7), limits.conf(5), qemu(1)"),
  ]
}

#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Makes sure that what a build needs is there: a Swift toolchain, a C compiler, libpci's headers.
# Says how to get what it cannot install. Prints nothing when all is there.
#
#   prepare.sh [PROGRAM...]    these programs too; each comes with the package of its name
set -euo pipefail

needed=6.2

if ! command -v swift >/dev/null; then
  cat >&2 <<TEXT
error: There is no Swift toolchain on PATH.
       This package needs Swift $needed or later.
       Install it as https://www.swift.org/install/linux says (swiftly, a tarball or a container
       image), put its usr/bin on PATH, and run this again.
TEXT
  exit 69
fi
version=$(swift --version 2>/dev/null | sed -n 's/.*Swift version \([0-9][0-9.]*\).*/\1/p' | head -n 1)
if [ "$(printf '%s\n%s\n' "$needed" "${version:-0}" | sort -V | head -n 1)" != "$needed" ]; then
  cat >&2 <<TEXT
error: Swift ${version:-(of an unknown version)} is too old.
       This package needs Swift $needed or later; the one found is $(command -v swift).
       Install a newer one as https://www.swift.org/install/linux says.
TEXT
  exit 69
fi

missing=()
pkg-config --exists libpci 2>/dev/null || missing+=(libpci-dev pkg-config)
for program in "$@"; do
  command -v "$program" >/dev/null || missing+=("$program")
done
[ ${#missing[@]} -gt 0 ] || exit 0

if ! command -v apt-get >/dev/null; then
  cat >&2 <<TEXT
error: ${missing[*]} must be installed, and this is no Debian or Ubuntu system.
       The driver finds PCI functions through libpci; benchmarks count instructions with valgrind.
       Install what is missing (libpci's headers are in pciutils-devel on Fedora, in pciutils on Arch),
       and run this again.
TEXT
  exit 69
fi
as_root=()
if [ "$(id -u)" != 0 ]; then
  if ! command -v sudo >/dev/null; then
    cat >&2 <<TEXT
error: ${missing[*]} must be installed.
       This user is not root, and there is no sudo.
       Run this as root: apt-get install -y ${missing[*]}
TEXT
    exit 77
  fi
  as_root=(sudo)
fi
echo "Installing ${missing[*]} ..." >&2
log=$(mktemp)
trap 'rm -f "$log"' EXIT
install() {
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y --no-install-recommends "${missing[@]}" >"$log" 2>&1
}
# The package lists may be missing or old; then fetch them and try once more.
if ! install && ! { "${as_root[@]}" apt-get update >>"$log" 2>&1 && install; }; then
  tail -n 20 "$log" >&2
  cat >&2 <<TEXT
error: ${missing[*]} could not be installed.
       apt-get said what stands above.
       Mend that, or install them by hand, and run this again.
TEXT
  exit 69
fi

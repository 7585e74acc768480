#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Builds .build/release/netdma-probe: one binary without the Swift runtime beside it, so that it can
# be copied to a server or into a guest. Shows the compiler's progress on a terminal, and in a pipe
# nothing unless it fails.
set -uo pipefail
cd "$(dirname "$0")/.." || exit

build=(swift build --configuration release --static-swift-stdlib --product netdma-probe)
if [ -t 1 ]; then
  "${build[@]}"
  exit
fi
log=$(mktemp)
trap 'rm -f "$log"' EXIT
"${build[@]}" >"$log" 2>&1 && exit
status=$?
cat "$log"
exit $status

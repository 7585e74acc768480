#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# What `make bench` does: builds the benchmarks, measures every row of docs/performance.md, prints the
# table and writes bench-results.json. Exit status 1 when a row misses its target.
#
#   bench.sh [--only NAME]    only the measurements with that in their name
set -uo pipefail
cd "$(dirname "$0")/.." || exit

# Without debug information: valgrind does not read what Swift writes.
build=(swift build --configuration release --package-path Benchmarks -debug-info-format none)
if [ -t 1 ]; then
  "${build[@]}" || exit
else
  log=$(mktemp)
  trap 'rm -f "$log"' EXIT
  "${build[@]}" >"$log" 2>&1 || { status=$?; cat "$log"; exit $status; }
fi
Benchmarks/.build/release/bench-table --probe .build/release/netdma-probe \
  --json bench-results.json "$@"

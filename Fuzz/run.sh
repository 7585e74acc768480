#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# run.sh SECONDS [TARGET...]: builds the fuzz targets and runs each for that long; fails on any finding.
# Inputs that reach something new are kept in Work/, findings in Work/TARGET-*.
set -euo pipefail
cd "$(dirname "$0")"
seconds=${1:?usage: run.sh SECONDS [fuzz-messages|fuzz-engine|fuzz-client ...]}
shift
targets=("$@")
[ ${#targets[@]} -gt 0 ] || targets=(fuzz-messages fuzz-engine fuzz-client)
# -sanitize=fuzzer for every module, so that the library below is instrumented; address finds what reads or
# writes outside its memory.
flags=(-c release -Xswiftc -sanitize=fuzzer,address)
status=0
# libFuzzer ends the process without the rigs' ends.
trap 'rm -f netdma-fuzz-*.sock' EXIT
for target in "${targets[@]}"; do
  swift build "${flags[@]}" --product "$target" >&2
  mkdir -p "Work/$target"
  echo "== $target"
  # Leaks are looked for by the tests: the rigs keep their servers to the end of the process.
  ASAN_OPTIONS=detect_leaks=0 ".build/release/$target" -max_total_time="$seconds" -max_len=1024 \
    -timeout=30 -rss_limit_mb=4096 -print_final_stats=1 -artifact_prefix="Work/$target-" \
    "Work/$target" "Corpus/${target#fuzz-}" >"Work/$target.log" 2>&1 || status=1
  grep -E "stat::number_of_executed_units|stat::average|SUMMARY|Fatal error|ERROR" "Work/$target.log" || true
done
exit $status

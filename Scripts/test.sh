#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# What `make test` does: every check of the project, one line each; the output of a check that
# fails follows its line.
#
#   test.sh [STEP...]    all steps, or only the named ones: format release unit hotpath docs setup
#                        guests fuzz thread address
#
# Warnings are errors here. Guests (QEMU) are set up below ~/.cache/netdma-vfio; where they cannot
# run, their tests are skipped with the reason, and in CI (CI=true) that is a failure.
set -uo pipefail
cd "$(dirname "$0")/.." || exit
export NETDMA_WERROR=1

log=$(mktemp)
child=''
cleanup() {
  [ -z "$child" ] || kill "$child" 2>/dev/null
  rm -f "$log"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

failed=0
# step NAME COMMAND...: a line when it ends; a running clock on a terminal.
step() {
  local name=$1 start=$SECONDS status
  shift
  "$@" >"$log" 2>&1 &
  child=$!
  while kill -0 "$child" 2>/dev/null; do
    [ ! -t 1 ] || printf '\r...  %s (%d s)' "$name" $((SECONDS - start))
    sleep 0.2
  done
  wait "$child"
  status=$?
  child=''
  [ ! -t 1 ] || printf '\r\033[K'
  if [ $status = 0 ]; then
    printf 'ok   %s (%d s)%s\n' "$name" $((SECONDS - start)) "$(summary)"
    grep -E '^SKIPPED' "$log" || true
  else
    printf 'FAIL %s (%d s), exit status %d:\n' "$name" $((SECONDS - start)) $status
    report
    failed=1
  fi
}

# The count of tests, where the log tells one.
summary() {
  sed -n 's/.*Test run with \([0-9]* tests*\).*passed.*/: \1/p' "$log" | tail -n 1
  awk '/number_of_executed_units/ { n += $2 } END { if (n) printf ": %d inputs", n }' "$log"
}

# What a person needs of a failed step's log: what failed first, then the end of it all.
report() {
  grep -E '✘|error:' "$log" | head -n 60
  echo '--- the end of the log:'
  tail -n 60 "$log"
}

probe=$PWD/.build/release/netdma-probe
format() { swift format lint --strict --recursive Sources Tests Examples Benchmarks/Sources Package.swift Benchmarks/Package.swift; }
release() { Scripts/build.sh; }
unit() { swift build --build-tests && swift test --skip-build --skip VMTests; }
# The machines that the guests are, so that the next step's time is that of the tests. The test kernel is
# built here the first time.
setup() {
  local text status=0
  text=$(Tests/VM/setup.sh test-kernel dpdk) || status=$?
  [ $status != 77 ] || [ -n "${CI:-}" ] || { echo "SKIPPED: guests cannot run here: $text"; return 0; }
  [ $status = 0 ] || printf '%s\n' "$text"
  return $status
}
guests() { NETDMA_PROBE=$probe swift test --skip-build --filter VMTests; }

fuzz() { Fuzz/run.sh 40; }

# The tests of what threads share, and of what is reached through pointers, with a sanitizer in a build
# of its own. Tests that start the program run it from there, too.
sanitized() { # sanitizer, suites to leave out...
  local sanitizer=$1 scratch=.build-$1
  shift
  export NETDMA_STRESS_OPERATIONS=20000
  export TSAN_OPTIONS=suppressions=$PWD/Tests/Sanitizers/thread.supp ASAN_OPTIONS=detect_leaks=0
  swift build --build-tests --sanitize="$sanitizer" --scratch-path "$scratch" &&
    swift test --skip-build --sanitize="$sanitizer" --scratch-path "$scratch" \
      "${@/#/--skip=}" --skip=VMTests --skip=NetDmaProbeTests --skip=FaultMatrixTests \
      --skip=NetDmaConformanceTests
}
hotpath() { Benchmarks/check-hotpath.sh; }
docs() { Scripts/docs.sh; }
# Its shadow memory takes the address space that those tests bound.
thread() { sanitized thread HostileMemoryTests; }
address() { sanitized address; }

steps=("$@")
[ ${#steps[@]} -gt 0 ] || steps=(format release unit hotpath docs setup guests fuzz thread address)
for name in "${steps[@]}"; do
  case $name in
  format) step 'format' format ;;
  release) step 'release build' release ;;
  unit) step 'unit tests' unit ;;
  hotpath) step 'hot path: instructions, and calls that it must not make' hotpath ;;
  docs) step 'documentation of the library' docs ;;
  setup) step 'guests: QEMU, kernels, DPDK' setup ;;
  guests) step 'guests: our driver on /dev/vfio, Linux and DPDK on our device' guests ;;
  fuzz) step 'fuzzing, 40 s each target' fuzz ;;
  thread) step 'unit tests under ThreadSanitizer' thread ;;
  address) step 'unit tests under AddressSanitizer' address ;;
  *) echo "test.sh: there is no step $name" >&2; exit 64 ;;
  esac
done
exit $failed

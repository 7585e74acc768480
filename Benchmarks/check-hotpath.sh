#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Checks what the polled hot path costs, by counting; no time is measured.
#
#   check-hotpath.sh             exit status 1 when it calls what it must not, misses its target, or
#                                takes 10 % more instructions than hotpath-baseline.txt says
#   check-hotpath.sh --record    writes hotpath-baseline.txt
set -euo pipefail
cd "$(dirname "$0")/.."
Scripts/prepare.sh valgrind

baseline=Benchmarks/hotpath-baseline.txt
copies=64000
for product in bench-hotpath check-hotpath; do
  swift build --configuration release --package-path Benchmarks --product $product
done
programs=$(swift build --configuration release --package-path Benchmarks --show-bin-path)

# Allocations, reference counts, exclusivity checks, locks and system calls: none.
"$programs/check-hotpath"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# Without what a debugger needs, of which valgrind understands only what is old.
strip --strip-debug -o "$work/bench-hotpath" "$programs/bench-hotpath"
count() { # side, batch
  valgrind --tool=callgrind --collect-atstart=no --callgrind-out-file=/dev/null \
    "$work/bench-hotpath" --side "$1" --batch "$2" --copies $copies 2>"$work/log" || {
    cat "$work/log" >&2
    return 1
  }
  sed -n 's/.*Collected : *//p' "$work/log"
}

{
  echo "# Instructions for each copy: batch, ours, the C floor. Made by check-hotpath.sh --record ($(uname -m))."
  for batch in 32 1; do
    ours=$(count ours $batch)
    floor=$(count floor $batch)
    awk -v b=$batch -v o="$ours" -v f="$floor" -v n=$copies \
      'BEGIN { if (f < n) exit 1; printf "%d %.2f %.2f\n", b, o / n, f / n }' || {
      echo "error: callgrind counted nothing: the benchmarks were built before valgrind was installed." >&2
      echo "       Remove Benchmarks/.build and run this again." >&2
      exit 1
    }
  done
} >"$work/now"
if [ "${1:-}" = --record ]; then
  cp "$work/now" $baseline
  cat $baseline
  exit
fi
# Another architecture has other instructions; there the ratio alone is checked.
grep -q "($(uname -m))" $baseline && known=$baseline || known=/dev/null
awk '
  /^#/ { next }
  FILENAME == ARGV[1] { before[$1] = $2; next }
  {
    target = $1 == 1 ? 1.5 : 1.25
    printf "batch %d: %.2f instructions for each copy, the C floor %.2f, ratio %.3f (at most %.2f)", \
      $1, $2, $3, $2 / $3, target
    if ($1 in before) printf ", before %.2f", before[$1]
    print ""
    if ($2 / $3 > target) { print "error: The ratio is too high."; failed = 1 }
    if ($1 in before && $2 > 1.1 * before[$1]) {
      print "error: These are more than 10 % more than before."
      print "       Look at what the loop does with: objdump -d --no-show-raw-insn bench-hotpath"
      failed = 1
    }
  }
  END { exit failed }' $known "$work/now"

#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# What `make vm` does after the build: boots a guest with a virtual IOMMU and the emulated engine on
# its PCI bus, and shows what a person would type there to get from ioatdma to a copy over the real
# /dev/vfio, and what is printed. The first time it sets the guest up (Tests/VM/setup.sh).
#
#   vm.sh PROBE
set -uo pipefail
cd "$(dirname "$0")/.." || exit
probe=$1

work=$(mktemp -d "${TMPDIR:-/tmp}/netdma-vm.XXXXXX")
emulator='' guest=''
cleanup() {
  [ -z "$guest" ] || kill "$guest" 2>/dev/null
  [ -z "$emulator" ] || kill "$emulator" 2>/dev/null
  wait 2>/dev/null
  rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

setup=$(Tests/VM/setup.sh) || {
  status=$?
  cat >&2 <<TEXT
error: A guest cannot run here.
       $setup
       Everything but the guests works without: make run
TEXT
  exit $([ $status = 77 ] && echo 69 || echo $status)
}

"$probe" emulate --socket "$work/ioat.sock" >"$work/emulator" 2>&1 &
emulator=$!
for _ in {1..300}; do
  [ ! -S "$work/ioat.sock" ] || break
  sleep 0.1
done

Tests/VM/run-guest.sh --probe "$probe" --scenario Tests/VM/scenarios/tour.sh \
  --socket "$work/ioat.sock" --timeout 300 --log "$work/console" >"$work/runner" 2>&1 &
guest=$!
start=$SECONDS
while kill -0 "$guest" 2>/dev/null; do
  [ ! -t 1 ] || printf '\r...  a guest boots and copies (%d s)' $((SECONDS - start))
  sleep 0.2
done
wait "$guest"
status=$?
guest=''
[ ! -t 1 ] || printf '\r\033[K'

# What the guest showed, without what the kernel says on the console.
sed -n 's/^TOUR //p' "$work/console"
if [ $status = 0 ]; then
  echo "Summary: in a guest, through the kernel's VFIO, every byte was copied correctly."
else
  cat "$work/runner" "$work/console" "$work/emulator" >&2
  echo "Summary: the guest did NOT pass (exit status $status)."
fi
exit $status
